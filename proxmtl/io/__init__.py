"""Reading inputs and writing models, atomically."""
