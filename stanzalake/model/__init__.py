"""The model: events, positions, histories and pages, without I/O."""
