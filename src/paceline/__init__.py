"""HTTP data pipelines at the full speed an API allows, never over it, losing nothing."""

__version__ = "0.1.0"
