"""Ingest: appends batches of events from Prosody to the log, and acknowledges them after."""
