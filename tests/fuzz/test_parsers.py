"""Every parser on valid files, on damaged ones, and on those that once were read wrongly."""

import gc
import os
import warnings

import pytest

from tests.fuzz.inputs import REGRESSIONS, damaged
from tests.fuzz.targets import TARGETS, check

DAMAGED = 2000 if os.environ.get("HYPOTHESIS_PROFILE") == "deep" else 60


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, about files that are then found damaged
        yield
        gc.collect()  # files that libraries left open, in tracebacks of their errors


@pytest.mark.parametrize("name", TARGETS)
def test_valid_files_are_read_and_damaged_ones_too_or_an_error_names_them(name, tmp_path):
    target = TARGETS[name]
    for number, content in enumerate(target.seeds()):
        assert not check(target, tmp_path, content), number
    for number, content in enumerate(target.strays()):
        assert check(target, tmp_path, content), number
    for content in damaged(target, DAMAGED):
        check(target, tmp_path, content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param(name, content, id=f"{name}-{number}")
        for name, contents in REGRESSIONS.items()
        for number, content in enumerate(contents)
    ],
)
def test_what_once_was_read_wrongly_is_an_error(name, content, tmp_path):
    assert check(TARGETS[name], tmp_path, content)
