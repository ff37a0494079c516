"""What everything stands on: errors, atomic writes, randomness, the machine, where commands write."""
