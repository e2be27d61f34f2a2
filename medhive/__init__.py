"""MedHive: hospitals fit one statistical model together; no row leaves any hospital."""
