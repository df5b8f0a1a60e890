"""Parallel CPU backend."""
