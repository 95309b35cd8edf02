"""What the commands do: export, erasure, backup, dead letters."""
