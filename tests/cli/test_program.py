"""The program as a whole: help, version, the demo."""

import json
import os
import subprocess
import sys

import pytest

from proxmtl.io import InputError
from proxmtl.io.names import NEXT_FOLDER

COMMANDS = ["demo", "extract", "fit", "train", "tune", "predict", "evaluate", "inspect", "report"]
COMMANDS += ["zeroshot", "compare", "rerun", "doctor", "reproduce"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_by_example(program, command):
    code, out, _ = program(command, "--help")
    assert code == 0
    assert f"proxmtl {command}" in out.split("Usage:")[1].split("\n", 1)[1]


def test_help_lists_the_commands(program):
    code, out, _ = program("--help")
    assert code == 0
    for command in COMMANDS:
        assert f"proxmtl {command}" in out


def test_unknown_options_end_with_code_2(program):
    code, _, err = program("fit", "x.npy", "--label", "y.csv")
    assert code == 2
    assert "--label" in err


def test_the_program_starts_as_a_module():
    command = [sys.executable, "-m", "proxmtl", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("proxmtl ")


@pytest.mark.parametrize(
    ("line", "offered"),
    [("proxmtl re", "report\nrerun\nreproduce\n"), ("proxmtl fit --lab", "--labels\n")],
)
def test_the_shell_completes_commands_and_options(line, offered):
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    env = {**os.environ, "_PROXMTL_COMPLETE": "complete_bash", **words}
    program = "from proxmtl.cli import main; main()"  # as installed: named proxmtl
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert done.stdout == offered


QUICK = """
import sys
from typer.testing import CliRunner
from proxmtl.cli.app import app
for command in sys.argv[1:]:
    for arguments in ([command, "--help"], [command, "--nonsense"], ["no-command"]):
        code = CliRunner().invoke(app, arguments).exit_code
        assert code == (0 if "--help" in arguments else 2), (command, code)
for line in (
    "train nowhere -l no.csv -o run",
    "train . -l no.csv -o run",
    "fit no.npy -l no.csv -o run",
    "fit . -l no.csv -o run",
    "tune no.npy -l no.csv -o run",
    "extract nowhere -o x.npy",
    "predict nowhere no.npy -o p.csv",
    "predict . . -o folder/p.csv",
    "evaluate nowhere no.npy -l no.csv",
    "inspect nowhere",
    "report . nowhere",
    "compare . nowhere",
    "rerun nowhere -o run",
    "zeroshot nowhere no.npy -m m.csv -c c.csv --held-out h --held-out-labels l.csv",
):
    result = CliRunner().invoke(app, line.split())
    said = "does not exist" if "predict ." in line else "no such"
    assert result.exit_code == 2 and said in result.stderr, (line, result.stderr)
heavy = ("torch", "numpy", "pandas", "sklearn", "scipy", "matplotlib", "numba", "PIL")
print([name for name in heavy if name in sys.modules])
"""


def test_help_and_errors_of_usage_import_nothing_heavy():
    command = [sys.executable, "-c", QUICK, *COMMANDS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


FINISHED = """
import sys
from typer.testing import CliRunner
from proxmtl.cli.app import app
for command in ("fit", "tune"):
    result = CliRunner().invoke(app, [command, "x.npy", "-l", "y.csv", "-o", "run"])
    assert result.exit_code == 2 and "already holds a run" in result.stderr, result
heavy = ("torch", "sklearn", "pandas", "matplotlib", "numba")
print([name for name in heavy if name in sys.modules])
"""


def test_a_finished_run_is_said_before_what_is_heavy_is_imported(program, files):
    fitted = program("fit", "x.npy", "-l", "y.csv", "-o", "run", "--single-task", "1")
    assert fitted[0] == 0
    command = [sys.executable, "-c", FINISHED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=files)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_small_demo(program, files):
    size = ("--n-train", "150", "--observed", "0.5", "--n-splits", "1", "--max-passes", "10")
    code, out, _ = program("demo", *size, "--out", "demo")
    assert code == 0
    for part in ("single task", "latent, groups", "AP topology", "relative gap", "proxmtl fit"):
        assert part in out
    folder = files / "demo"
    assert {path.name for path in (folder / "plots").iterdir()} == {
        "latents.png",
        "convergence.png",
        "attributes.png",
    }
    metrics = json.loads((folder / "metrics.json").read_text())
    total = {row["row"]: row["ap"] for row in metrics["per_group"] if row["group"] == "Total"}
    assert len(total) == 3
    assert all(0.6 < ap < 1 for ap in total.values())
    # The scores are those of all labels of the test images, by the saved model.
    code, out, _ = program("evaluate", "demo", "demo/data/test.npy", "-l", "demo/data/test.csv")
    assert code == 0
    assert f"{100 * total['latent, groups']:.1f}" in out
    # Half of the labels of the training images are blank, and they are inputs of a fit.
    text = (folder / "data" / "train.csv").read_text().splitlines()[1:]
    cells = [cell for line in text for cell in line.split(",")]
    assert len(text) == 150
    assert abs(cells.count("") / len(cells) - 0.5) < 0.05
    inputs = ("demo/data/train.npy", "-l", "demo/data/train.csv", "-g", "demo/data/groups.toml")
    code, out, _ = program("fit", *inputs, "-o", "run", "--max-passes", "20")
    assert code == 0
    assert "arithmetic" in out


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:LatentMTLClassifier. W = 0 is lower")
def test_the_smallest_demo(program, files):
    least = ("--n-train", "60", "--observed", "0.05", "--n-splits", "1", "--max-passes", "1")
    code, out, _ = program("demo", *least, "--out", "demo")
    assert code == 0
    assert "A strength marked * is the lowest or the highest of those tried" in out
    labels = (files / "demo" / "data" / "train.csv").read_text().splitlines()
    assert len(labels) == 61
    by_attribute = zip(*(line.split(",") for line in labels[1:]), strict=True)
    assert all(min(column.count("0"), column.count("1")) >= 2 for column in by_attribute)


def test_a_demo_killed_while_it_replaces_another_may_be_given_again(tmp_path):
    from proxmtl.cli.digits_demo import demo_folder

    def write(command):
        with demo_folder(tmp_path / "demo", force=False) as staging:
            (staging / "config.json").write_text(json.dumps({"command": command}))
            (staging / "model.json").write_text("x")

    write("demo")
    new = tmp_path / "demo" / NEXT_FOLDER
    new.mkdir()
    for name in ("config.json", "manifest.json"):
        (tmp_path / "demo" / name).rename(new / name)
    write("fit")
    assert not new.exists()
    with pytest.raises(InputError, match="already holds a run"):
        write("demo")


def test_the_demo_needs_images_to_test_on(program):
    code, _, err = program("demo", "--n-train", "1797")
    assert code == 2
    assert "leave some for the test" in err


@pytest.mark.parametrize(
    "options", [("--cnn", "--n-splits", "2"), ("--epochs", "2")], ids=lambda options: options[-2]
)
def test_options_of_the_other_demo_are_refused(program, files, options):
    code, _, err = program("demo", *options)
    assert code == 2
    assert f"{options[-2]}: this is" in err
    assert "--cnn" in err
    assert not list(files.glob("proxmtl-demo*"))


def test_defaults_of_fit_are_those_of_the_estimator():
    import inspect

    from proxmtl.cli.fit import fit
    from proxmtl.estimators import LatentMTLClassifier

    ours = {name: item.default for name, item in inspect.signature(fit).parameters.items()}
    theirs = LatentMTLClassifier().get_params()
    shared = (ours.keys() & theirs.keys()) - {"groups", "tol"}  # each model has its own tol
    strengths = {"group_strength", "l1_strength", "frobenius_strength"}
    assert strengths | {"shared_strength", "own_strength", "max_passes"} <= shared
    assert ours["standardize"] is None  # which depends on --auto
    ours["standardize"] = True
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_terminal_without_umlauts_gets_a_table_and_no_error(program, files):
    text = (files / "y.csv").read_text()
    for name, other in (
        ("white", "wei\u00df"),
        ("spots", "p" * 99 + "1"),
        ("black", "p" * 99 + "2"),
    ):
        text = text.replace(name, other)
    (files / "y.csv").write_text(text, encoding="utf-8")
    assert program("fit", "x.npy", "-l", "y.csv", "-o", "l\u00e4ufe", "--max-passes", "5")[0] == 0
    done = subprocess.run(
        [sys.executable, "-m", "proxmtl", "evaluate", "l\u00e4ufe", "x.npy", "-l", "y.csv", "-a"],
        cwd=files,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.decode("ascii").splitlines()
    assert any("wei\\xdf" in line for line in lines)
    assert len({line.split("|")[1] for line in lines if "ppp" in line}) == 2
    assert max(map(len, lines)) <= 80
