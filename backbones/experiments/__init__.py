"""Published tables, computed again: declared tables, systems, and one loop that runs them."""
