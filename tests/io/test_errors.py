"""Sentences about files fit on a page, whatever they quote."""

from proxmtl.io import InputError


def test_the_middle_of_a_sentence_that_quotes_a_whole_file_is_left_out():
    error = InputError("y.csv", f"column 'a' has {'x' * 10**6!r}; a label is 1 or 0.", line=2)
    assert str(error).startswith("y.csv, line 2: column 'a' has 'xxx")
    assert str(error).endswith("xxx'; a label is 1 or 0.")
    assert len(str(error)) < 3200
    assert " characters ...]" in str(error)


def test_other_sentences_are_whole():
    assert str(InputError("y.csv", "no such file.")) == "y.csv: no such file."
