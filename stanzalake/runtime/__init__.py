"""Process entry points of the services."""
