"""The model: events, positions, histories and pages. No I/O."""
