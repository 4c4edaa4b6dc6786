"""Files: layout, atomic writes, manifests, Parquet shards, checkpoints. One owner for each kind of I/O."""
