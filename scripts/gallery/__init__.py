"""The parts of `scripts/make_gallery.py`: images made by rule, what each method does with them, and how it is drawn."""
