"""Regularizers: one a file, value, prox and certificate of each."""
