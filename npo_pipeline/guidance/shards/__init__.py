"""The guide stage's work: shards made, gathered into signal.parquet, and read again; demonstrations likewise."""
