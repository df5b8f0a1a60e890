"""The paper's model, W = L S."""
