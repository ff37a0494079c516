"""What runs many trainings or holds many against each other: comparisons with statistics."""
