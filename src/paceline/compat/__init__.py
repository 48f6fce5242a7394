"""Drop-in replacements for other libraries, where a change of one import suffices: one module a library."""
