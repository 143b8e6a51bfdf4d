"""Tables of the store: immutable Parquet shards under a Delta log (D2)."""
