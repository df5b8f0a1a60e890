"""Comparisons of models on splits of a data set."""
