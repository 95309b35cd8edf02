"""Stanzalake: the library that the services share, and the command line."""
