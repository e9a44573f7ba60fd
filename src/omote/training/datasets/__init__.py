"""Training data: what is rendered here, and how it is stored and read."""
