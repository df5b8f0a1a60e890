"""Packages that import their public names on first use: names, rooms, and errors of a stub."""

import sys

import pytest

from proxmtl.stubs import names_of_stub


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "slowly"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from proxmtl.stubs import names_of_stub\n"
        "__getattr__, __dir__, __all__ = names_of_stub(\n"
        "    __name__, __file__, rooms=('room',), own=('VERSION',)\n"
        ")\n"
        "VERSION = '1'\n"
    )
    (folder / "__init__.pyi").write_text("from slowly.work import answer as answer\nVERSION: str\n")
    (folder / "work.py").write_text("answer = [42]\n")
    (folder / "room.py").write_text("chair = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("slowly")
    for name in [name for name in sys.modules if name.split(".")[0] == "slowly"]:
        del sys.modules[name]


def test_a_name_is_imported_when_it_is_first_used(package):
    assert "slowly.work" not in sys.modules
    assert package.answer == [42]
    assert "slowly.work" in sys.modules
    assert vars(package)["answer"] is package.answer  # no further look-up


def test_rooms_and_own_names(package):
    assert package.room.chair == 1
    assert package.work.answer is package.answer
    assert package.__all__ == ["VERSION", "answer"]
    assert {"VERSION", "answer"} <= set(dir(package))


def test_a_name_that_the_stub_lacks_raises(package):
    with pytest.raises(AttributeError, match="module 'slowly' has no attribute 'anser'"):
        _ = package.anser


def test_the_package_itself_is_made_so():
    import proxmtl

    _, _, names = names_of_stub("proxmtl", proxmtl.__file__)
    assert "minimize" in names
    assert set(names) <= set(proxmtl.__all__)
