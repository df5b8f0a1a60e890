"""Designs map parameters to scores."""
