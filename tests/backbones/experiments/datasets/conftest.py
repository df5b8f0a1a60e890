"""The text files that both versions of Animals with Attributes have in common."""

import pytest


@pytest.fixture
def animals(tmp_path):
    """Three classes and four attributes in the distributed layout."""
    (tmp_path / "classes.txt").write_text("    1\tcat\n    2\tkiller+whale\n    3\tox\n")
    (tmp_path / "predicates.txt").write_text("    1\tblack\n    2\tbig\n    3\tswims\n    4\tfur\n")
    (tmp_path / "predicate-matrix-binary.txt").write_text("1 0 0 1\n1 1 1 0\n0 1 0 1\n")
    (tmp_path / "trainclasses.txt").write_text("cat\nox\n")
    (tmp_path / "testclasses.txt").write_text("killer+whale\n")
    return tmp_path
