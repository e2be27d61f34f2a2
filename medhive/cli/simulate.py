def simulate() -> None:
    """Run a study in one process."""
