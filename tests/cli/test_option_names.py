"""What the library says of its parameters is said of options; help and usage errors are whole."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from typer.main import get_command

from proxmtl.cli.app import app
from proxmtl.cli.option_names import in_options, running
from proxmtl.result import Status

COMMANDS = get_command(app).commands
FIT = COMMANDS["fit"]

SENTENCES = {
    "head": ("tol: got -1; use a number.", "--tol: got -1; use a number."),
    "heads": ("groups, n-latents: leave them out.", "--groups, --n-latents: leave them out."),
    "inside": ("lower group_strength or l1_strength.", "lower --group-strength or --l1-strength."),
    "brackets": (
        "Raise the limit (max_passes), (tol).",
        "Raise the limit (--max-passes), (--tol).",
    ),
    "one of several": (
        "Raise it (max_passes), do less (tol), or wait.",
        "Raise it (--max-passes), do less (--tol), or wait.",
    ),
    "value": ("test_fraction=0.2 of n=2 rows", "--holdout 0.2 of n=2 rows"),
    "other name": ("l2_strength: got -3.0.", "--single-task: got -3.0."),
    "Python": ("say --key NAME (in Python: key=...).", "say --key NAME."),
    "call": ("leave it (in Python call f(x) again) be.", "leave it be."),
    "both": ("Start over (--force, in Python fresh=True).", "Start over (--force)."),
    "words": ("the groups of a seed: in tol.", "the groups of a seed: in tol."),
    "quotes": ("column 'group_strength' is no label.", "column 'group_strength' is no label."),
    "path": ("runs/n_latents/x.npy and n_latents.csv", "runs/n_latents/x.npy and n_latents.csv"),
    "no option": ("learning_rate: got -1.", "learning_rate: got -1."),
    "no parameter": ("y.csv: no such file.", "y.csv: no such file."),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_parameters_are_named_as_the_options_of_the_command(case):
    given, expected = SENTENCES[case]
    assert in_options(given, FIT) == expected
    assert in_options(given) == given  # no command runs
    with running(FIT):
        assert in_options(given) == expected


def test_advice_that_no_option_follows_is_left_out():
    advice = Status.BUDGET.advice()
    both = "Raise the limit (--max-passes), or lower the accuracy (--tol)."
    assert in_options(advice, FIT).endswith(both)
    assert in_options(advice, COMMANDS["tune"]).endswith("Raise the limit (--max-passes).")


def test_a_folder_that_is_called_as_an_option_is_not_taken_for_one(program, files):
    (files / "groups").mkdir()
    (files / "groups" / "other.txt").write_text("x")
    code, _, err = program("fit", "x.npy", "-l", "y.csv", "-o", "groups", "--force")
    assert code == 2
    assert "Error: groups: the folder is not empty" in err


@pytest.mark.filterwarnings("always")
def test_warnings_and_reports_name_options(program, files):
    call = ("fit", "x.npy", "-l", "y.csv", "-o", "run", "--group-strength", "100")
    code, out, err = program(*call, "--max-passes", "300")
    assert code == 0
    said = "lower --group-strength, --l1-strength or --frobenius-strength."
    for text in (out, err, program("inspect", "run")[1]):
        assert said in " ".join(text.split())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--group-strength", "0,01"), "got '0,01'; write it with a decimal point, 0.01."),
        (("--tol=1,5",), "got '1,5'; write it with a decimal point, 1.5."),
        (("--max-passes", "many"), "got 'many'."),
        (("--seed", "0,5"), "got '0,5'. Input should be a valid integer"),
        (("--holdout", "20"), "got '20'."),
        (("--holdout", "20"), "It is a share: for 20 % give 0.2."),
    ],
)
def test_errors_of_usage_say_what_was_given(program, options, said):
    code, _, err = program("fit", "x.npy", "-l", "y.csv", "-o", "run", *options)
    assert code == 2
    assert said in err


def _bracketed(parameter):
    return re.findall(r"\\?\[[a-z]+\]", getattr(parameter, "help", None) or "")


@pytest.mark.parametrize("name", COMMANDS)
def test_what_stands_in_brackets_in_a_help_text_is_shown(program, name):
    shown = "".join(program(name, "--help")[1].split())
    for parameter in COMMANDS[name].params:
        for text in _bracketed(parameter):
            assert text.lstrip("\\") in shown, (
                f"{name}: escape {text} in the help of {parameter.name}"
            )


def test_some_help_text_has_brackets():
    assert any(map(_bracketed, COMMANDS["train"].params))
    assert _bracketed(SimpleNamespace(help="[logs]")) == ["[logs]"]


def test_float64_is_advised_only_where_it_was_not_used(program, files):
    """A tolerance of 0 ends where the iterate no longer changes."""
    call = ("-l", "y.csv", "-o", "run", "--tol", "0", "--max-passes", "4000", "--seed", "2")
    np.save(files / "x64.npy", np.load(files / "x.npy").astype(np.float64))
    stalled = {}
    for name in ("x.npy", "x64.npy"):
        code, out, _ = program("fit", name, *call, "--force")
        assert code == 0
        stalled[name] = " ".join(out.split())
    assert "Features in float64 (these were in float32) go further." in stalled["x.npy"]
    assert "float64" not in stalled["x64.npy"]
    assert "No further progress" in stalled["x64.npy"]


ON_PURPOSE = {
    *("labels", "out", "groups", "n_latents", "max_passes", "force", "id_column"),
    *("network", "weights", "device", "batch_size", "workers"),  # frozen in fit, trained in train
}
"""Options of one name whose help says what a command does with them."""


@pytest.mark.parametrize("other", ["tune", "train", "demo"])
def test_options_that_commands_share_are_the_same(other):
    ours, theirs = ({p.name: p for p in COMMANDS[name].params} for name in ("fit", other))
    shared = (ours.keys() & theirs.keys()) - ON_PURPOSE - {"help"}
    assert {"seed"} <= shared
    for name in shared:
        for part in ("help", "default", "opts", "rich_help_panel"):
            mine, its = (getattr(options[name], part, None) for options in (ours, theirs))
            assert mine == its, f"--{name} of {other}: {part}"
