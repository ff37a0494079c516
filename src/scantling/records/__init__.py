"""What is written beside data and results, and how it is read back."""
