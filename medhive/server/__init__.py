"""The study's end: rounds, the model, its evaluation."""
