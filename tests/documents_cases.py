"""Values of wrong types for every place of a document, and what a page of the docs names."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ODD = [None, True, -1, 0.5, 10**18, "x", [], [[]], {}, {"x": {}}]


def places(document, path=()):
    """Where values stand in a document, tables and lists too; of a list its first two."""
    entries = document.items() if isinstance(document, dict) else list(enumerate(document))[:2]
    for key, value in entries:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def check_names(page, folders):
    """Check that files and functions that a page names exist; return how many of each."""
    text = page.read_text(encoding="utf-8")
    files = set(re.findall(rf"`((?:{folders})(?:/[\w.]+)*)`", text))
    assert all((ROOT / path).exists() for path in files)
    found = re.findall(r"`(\w+)` in `(\S+\.py)`", text)
    for name, path in found:
        code = (ROOT / path).read_text(encoding="utf-8")
        assert re.search(rf"^(?:def {name}\(|{name} = )", code, re.MULTILINE), f"{name} in {path}"
    return len(files), len(found)
