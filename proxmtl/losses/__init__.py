"""Losses on scores: one loss a file."""
