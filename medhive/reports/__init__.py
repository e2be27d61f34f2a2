"""What people look at when a run is over: results, models, tracking."""
