"""The front of the Python package: what `import scantling` offers, on arrays and objects in memory.

The rooms below know files, cases and batches; here a call takes what a notebook holds (paths, arrays, images of other
packages) and gives it back in the same form.
"""
