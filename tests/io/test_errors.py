"""Sentences about files fit on a page, whatever they quote, and errors name their file."""

import errno
import re
from pathlib import Path

import numpy as np
import pytest

from proxmtl.backbones.feature_file import FeatureFile
from proxmtl.io import InputError, atomic_path
from proxmtl.io.errors import naming

SHORT = "1000 requested and 200 written"
"""As NumPy says of a write that was cut off: an OSError without a number."""


def test_the_middle_of_a_sentence_that_quotes_a_whole_file_is_left_out():
    error = InputError("y.csv", f"column 'a' has {'x' * 10**6!r}; a label is 1 or 0.", line=2)
    assert str(error).startswith("y.csv, line 2: column 'a' has 'xxx")
    assert str(error).endswith("xxx'; a label is 1 or 0.")
    assert len(str(error)) < 3200
    assert " characters ...]" in str(error)


def test_other_sentences_are_whole():
    assert str(InputError("y.csv", "no such file.")) == "y.csv: no such file."


def test_a_file_is_named_in_an_error_of_the_system():
    with pytest.raises(OSError, match="No space left") as caught, naming(Path("x.npy")):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "x.npy")
    with pytest.raises(FileNotFoundError) as other, naming(Path("x.npy")):
        Path("no-such-file").read_bytes()
    assert other.value.filename == "no-such-file"


def test_an_error_without_a_number_keeps_its_message_beside_the_name():
    with pytest.raises(OSError, match=f"^/x/y.npy: {SHORT}.$"), naming(Path("/x/y.npy")):
        raise OSError(SHORT)


def test_a_short_write_keeps_its_message_beside_the_name(tmp_path):
    path = tmp_path / "y.npy"
    with pytest.raises(OSError, match=f"^{re.escape(str(path))}: {SHORT}.$"), atomic_path(path):
        raise OSError(SHORT)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "said"),
    [(OSError(SHORT), SHORT), (OSError(errno.EIO, "it broke"), "[Errno 5] it broke: ")],
)
def test_what_ends_an_extraction_keeps_its_message(error, said, tmp_path):
    out = tmp_path / "f.npy"
    file = FeatureFile(out, (4, 3), {"network": "n"})
    file.append(np.ones((2, 3), np.float32), images=2, seen="two")
    with pytest.raises(OSError, match=re.escape(said)) as caught, file:
        raise error
    assert caught.value is error
    assert "Features of 2 images are kept" in error.__notes__[0]
    assert error.filename == (None if error.errno is None else f"{out}.partial")
