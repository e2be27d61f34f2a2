"""What protects a patient in the sums that leave."""
