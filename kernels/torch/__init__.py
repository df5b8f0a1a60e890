"""Plain torch backend."""
