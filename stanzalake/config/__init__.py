"""Settings and the data directory."""
