"""What a method is, and all that training and inference know of it."""
