"""One small file for each family of image files: its header is judged first, its pixels are decoded only then."""
