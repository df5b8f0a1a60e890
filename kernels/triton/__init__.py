"""GPU backend."""
