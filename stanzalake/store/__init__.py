"""The store: ClickHouse tables and every SQL statement on them."""
