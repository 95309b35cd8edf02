"""The stream processor: decode, exclude, decide, insert, commit."""
