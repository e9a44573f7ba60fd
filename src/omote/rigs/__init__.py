"""Controls and identity to vertices."""
