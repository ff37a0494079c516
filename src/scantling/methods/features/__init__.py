"""Methods that stand on what a diffusion model has learned from images without labels."""
