"""The federated algorithms, as pure functions on arrays."""
