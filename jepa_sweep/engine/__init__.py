"""Equations to numbers: diffrax solves, batched on devices. No files."""
