"""What can be swept: one module a system, each of which makes one `System`."""
