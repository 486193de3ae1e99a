"""The paper: pure functions of one point. No batching, no files, no clocks."""
