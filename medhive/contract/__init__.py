"""Drafting a study file, explaining it, and saying what would leave a site."""
