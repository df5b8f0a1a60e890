"""Documents with a value of another kind somewhere."""

ODD = [None, True, -1, 0.5, 10**18, "x", [], [[]], {}, {"x": {}}]


def places(document, path=()):
    """Where values stand in a document, tables and lists too; of a list its first two."""
    entries = document.items() if isinstance(document, dict) else list(enumerate(document))[:2]
    for key, value in entries:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))
