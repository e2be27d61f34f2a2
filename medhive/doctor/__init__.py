"""Checks before a study: each finds one thing in order, or names the fault and the next step."""
