"""Feature extractors and image data: thin clients of the engine."""
