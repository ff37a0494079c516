"""Methods that register, and segmenters that learn by registration."""
