"""chDB, the ClickHouse engine in the process, and how it is shared."""
