"""Ingest: takes batches of events from Prosody and acknowledges them once the log has them."""
