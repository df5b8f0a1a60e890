"""Dense float64 loops, the oracle of every other backend."""
