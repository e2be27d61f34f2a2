"""A federation without machines: in one process, or on Flower's simulation engine."""
