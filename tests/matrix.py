"""Core tests on several Pythons, and on the lowest supported version of each dependency.

    python tests/matrix.py                          # what is found of all
    python tests/matrix.py --only 3.12,lowest
    python tests/matrix.py --only lowest -- tests/nn

Environments are kept under build/matrix, and made anew where requirements have changed. ``lowest``
takes the oldest Python and the lower bounds that pyproject.toml gives. A Python that isn't on the
machine is said, and is no failure.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / "build" / "matrix"
PYTHONS = ("3.11", "3.12", "3.13")
LOWEST = "lowest"
TOOLS = ("pytest", "pytest-timeout", "hypothesis")
CORE = (
    "tests/test_groups.py",
    "tests/test_targets.py",
    "tests/losses/test_registered.py",
    "tests/kernels/test_dispatch.py",
    "tests/estimators/test_scikit_learn.py",
    "tests/estimators/test_routing.py",
    "tests/nn/test_convex_head.py",
    "tests/nn/test_to_linear.py",
    "tests/io/test_features.py",
    "tests/cli/test_commands.py",
)


def interpreter(version: str) -> str | None:
    """Path of a Python of a version, on the path or of pyenv; None: there is none."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [shutil.which(f"python{version}"), *kept.glob(f"{version}.*/bin/python")]
    for path in filter(None, found):
        out = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        if out.stdout.startswith(f"Python {version}."):  # pyenv's shims may stand for nothing
            return str(path)
    return None


def lower_bounds(settings: dict) -> list[str]:
    """Dependencies, and parquet's, each at the lowest version that the package allows."""
    project = settings["project"]
    given = project["dependencies"] + project["optional-dependencies"]["parquet"]
    return [re.sub(r">=([\d.]+).*", r"==\1", requirement) for requirement in given]


def pinned() -> list[str]:
    """Packages of the development environment."""
    lines = (ROOT / "requirements" / "dev.lock").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def requirements(case: str, settings: dict) -> list[str]:
    """Packages to install for a case: those of the package, and what its core tests need."""
    if case != LOWEST:
        return pinned()
    # pinned releases of the tools would need newer dependencies themselves
    tools = settings["project"]["optional-dependencies"]["test"]
    needed = [line for line in tools if line.partition(">=")[0] in TOOLS]
    return [*lower_bounds(settings), *needed]


def environment(case: str, python: str, wanted: list[str]) -> str:
    """Path of the Python of an environment with these packages and the package itself."""
    folder = WORK / case
    binary, ready = str(folder / "bin" / "python"), folder / ".ready"
    digest = hashlib.sha256("\n".join([python, *wanted]).encode()).hexdigest()
    if not (ready.is_file() and ready.read_text() == digest):
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        pip = [binary, "-m", "pip", "install", "--disable-pip-version-check", "-q"]
        subprocess.run([*pip, "--progress-bar", "off", *wanted], check=True)
        subprocess.run([*pip, "--no-deps", "-e", str(ROOT)], check=True)
        ready.write_text(digest)
    return binary


def main() -> None:
    """Run the cases; exit with 1 if one fails, or if none could be run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join([*PYTHONS, LOWEST]), help="cases, by comma")
    parser.add_argument("tests", nargs="*", default=CORE)
    options = parser.parse_args()
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = []
    for case in options.only.split(","):
        python = interpreter(PYTHONS[0] if case == LOWEST else case)
        if python is None:
            lines.append((case, "not on this machine"))
            continue
        try:
            binary = environment(case, python, requirements(case, settings))
        except subprocess.CalledProcessError as error:
            lines.append((case, f"FAILED to install: {' '.join(error.cmd[:4])} ..."))
            continue
        # what the releases of other packages deprecate among each other is not in question
        command = [binary, "-m", "pytest", "-q", "-W", "default::DeprecationWarning"]
        command += options.tests
        ended = subprocess.run(command, cwd=ROOT, check=False)
        lines.append((case, "passed" if ended.returncode == 0 else "FAILED"))
    for case, outcome in lines:
        sys.stdout.write(f"{case:>7}  {outcome}\n")
    outcomes = [outcome for _, outcome in lines]
    sys.exit("passed" not in outcomes or any(each.startswith("FAILED") for each in outcomes))


if __name__ == "__main__":
    main()
