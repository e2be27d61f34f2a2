"""The only place that touches Flower's internals, pinned to one release of Flower."""

import os

# Flower reads this when it is imported; a hospital's software does not report to third parties
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
