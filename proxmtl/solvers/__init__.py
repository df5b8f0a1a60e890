"""Solvers: one a file, all driven by one shared loop."""
