"""Options of ``fit`` are checked before its files are read, which may take long."""

import pytest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--own-strength", "weak"), "--own-strength: got weak; give a positive number, or auto."),
        (("--shared-strength", "-1"), "--shared-strength: got -1; give a positive number"),
        (("--shared-strength", "nan"), "--shared-strength: got nan; give a positive number"),
        (
            ("--shared-strength", "0.5", "--group-strength", "0.1"),
            "--shared-strength: this is in place of the paper's three strengths; leave one",
        ),
        (("--algorithm", "magic"), "algorithm: got 'magic'"),
        (("--tol", "-1"), "--tol: got -1.0"),
        (("--auto", "--threshold", "f2"), "--threshold: got 'f2'"),
    ],
)
def test_options_are_checked_before_a_file_is_read(program, files, options, said):
    for name in ("none.npy", "none.csv"):  # nothing that could be read
        (files / name).touch()
    code, _, err = program("fit", "none.npy", "-l", "none.csv", "-o", "run", *options)
    assert code == 2
    assert said in err
    assert not (files / "run").exists()
