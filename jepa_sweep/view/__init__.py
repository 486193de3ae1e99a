"""Pictures of stored tables: figures, the explorer page, and what a figure claims. Everything is drawn from a store."""
