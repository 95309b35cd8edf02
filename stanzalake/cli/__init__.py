"""The commands that are more than a line: one module each, which holds its `command`."""
