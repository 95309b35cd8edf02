"""What the three services share: events, positions, the log, the store, settings."""
