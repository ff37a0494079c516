"""The published systems, one file each; `contract` says what a method is, `catalogue` lists them without torch."""
