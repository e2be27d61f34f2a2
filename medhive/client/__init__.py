"""The hospital's end: data stay here, sums leave."""
