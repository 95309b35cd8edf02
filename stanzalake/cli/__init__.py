"""The commands; each module defines its own as `command`."""
