"""Making and reading training data, and training the networks of `omote.models`."""
