"""``python -m medhive``."""

from medhive.cli.main import run

if __name__ == "__main__":
    run()
