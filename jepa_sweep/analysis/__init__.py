"""What is read out of stores: queries, comparisons, overlaps; and a user's own pairs of data."""
