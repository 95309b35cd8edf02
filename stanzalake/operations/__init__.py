"""The work behind the commands: export, erasure, backup, dead letters."""
