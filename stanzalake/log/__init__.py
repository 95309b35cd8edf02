"""The log: ordered, durable, at least once; an SQLite file or Kafka."""
