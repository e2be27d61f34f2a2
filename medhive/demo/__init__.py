"""A whole federation on one machine, to see what MedHive does."""
