"""Where the state of scopes lives."""
