"""Tables of Parquet in folders and buckets, and what proves them. Knows no physics and does not import JAX."""
