"""Counts in sentences."""

import re

import pytest
from test_architecture import FOLDERS, ROOT, sources

from proxmtl.wording import agree, counted


def test_words_agree_with_their_number():
    assert [counted(n, "image") for n in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert counted(1, "class", "classes") == "1 class"
    assert counted(3, "unseen class", "unseen classes") == "3 unseen classes"
    assert [agree(n, "is", "are") for n in (0, 1, 2)] == ["are", "is", "are"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_there_is_one_helper_for_plurals(folder):
    """Not an ``s`` here, a ``(s)`` there, each with its own condition."""
    own = re.compile(r"""\{["']s["'] if |else ["']s["']\}|["']rows["'] if """)
    for path in sources(folder):
        if path.name != "wording.py":
            found = own.search(path.read_text(encoding="utf-8"))
            assert found is None, f"{path.relative_to(ROOT)}: {found}: use proxmtl.wording"
