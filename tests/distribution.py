"""The sdist and the wheel: built one of the other, and tried where there is nothing else.

    python tests/distribution.py                # the wheel's dependencies from the index
    python tests/distribution.py --wheel X.whl  # a wheel that is there

The wheel is installed into an empty environment outside of the checkout, with the pinned versions
of requirements/dev.lock. There the program says its version, and the README's examples run. Both
archives stay in build/dist.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "build" / "dist"
BUILD_SDIST = "import setuptools.build_meta as backend; backend.build_sdist({!r})"
STUBS = {
    f"{folder}/__init__.pyi" for folder in ("proxmtl", "proxmtl/io", "backbones", "backbones/data")
}
NEEDED = {"pyproject.toml", "README.md", "LICENSE", "proxmtl/py.typed", *STUBS}
EXAMPLES = 2
"""Of the README: estimators, and an optimisation problem."""


def build() -> Path:
    """Build the sdist of the checkout, and the wheel of nothing but the sdist."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir(parents=True)
    command = [sys.executable, "-c", BUILD_SDIST.format(str(DIST))]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    (sdist,) = DIST.glob("*.tar.gz")
    check_sdist(sdist)
    pip = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "-q"]
    with tempfile.TemporaryDirectory() as empty:
        command = [*pip, "--no-deps", "--no-build-isolation", "-w", str(DIST), str(sdist)]
        subprocess.run(command, cwd=empty, check=True)
    (wheel,) = DIST.glob("*.whl")
    return wheel


def check_sdist(path: Path) -> None:
    """Check that an sdist holds every source file of the package."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = (NEEDED | sources()) - names
    assert not missing, f"the sdist lacks {sorted(missing)}"


def check_wheel(path: Path) -> None:
    """Check that a wheel holds all of the package, and nothing beside it."""
    with zipfile.ZipFile(path) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {
        re.sub(r"^(kernels|backbones)/", r"proxmtl/\1/", name)
        for name in sources() | {"proxmtl/py.typed", *STUBS}
    }
    assert wanted <= names, f"the wheel lacks {sorted(wanted - names)}"
    assert not names - wanted, f"the wheel holds {sorted(names - wanted)}"


def sources() -> set[str]:
    """Python files of the package and templates of its pages, relative to the checkout."""
    folders = ("proxmtl", "kernels", "backbones")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    found += (ROOT / "proxmtl" / "report" / "templates").iterdir()
    return {path.relative_to(ROOT).as_posix() for path in found}


def try_out(wheel: Path, home: Path) -> None:
    """Install a wheel into an empty environment, and use it as the README does."""
    python = home / "env" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(home / "env")], check=True)
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    lock = str(ROOT / "requirements" / "dev.lock")
    subprocess.run([*pip, "--progress-bar", "off", "-c", lock, str(wheel)], check=True)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    where = home / "work"
    where.mkdir()
    program = [str(python.with_name("proxmtl")), "--version"]
    said = subprocess.run(program, cwd=where, capture_output=True, text=True, check=True).stdout
    assert said == f"proxmtl {version}\n", said
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    for example in ("import proxmtl; print(proxmtl.__file__)", *examples[:EXAMPLES]):
        command = [str(python), "-W", "error::DeprecationWarning:proxmtl", "-c", example]
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        sys.stdout.write(done.stdout)
        assert done.stdout.strip()
        assert str(ROOT) not in done.stdout


def main() -> None:
    """Build, check and try."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wheel", type=Path)
    wheel = parser.parse_args().wheel or build()
    check_wheel(wheel)
    with tempfile.TemporaryDirectory() as home:
        try_out(wheel.resolve(), Path(home))
    sys.stdout.write(f"{wheel.name}: built, installed and tried\n")


if __name__ == "__main__":
    main()
