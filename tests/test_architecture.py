"""The rules that a machine can hold: imports and their cost, sizes, packages, docstrings."""

import ast
import importlib
import inspect
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"proxmtl": "proxmtl", "kernels": "proxmtl.kernels", "backbones": "proxmtl.backbones"}

# what each room may import of the others; a room may always import itself
GROUND = {
    "groups",
    "kernels",
    "machine",
    "numerics",
    "documents",
    "limits",
    "naming",
    "row_sources",
    "shown",
    "sources",
    "threads",
    "wording",
}
MATERIAL = {
    "losses",
    "regularizers",
    "data_term",
    "designs",
    "stored_labels",
    "targets",
    "arrays",
    "label_arrays",
    "label_coding",
    "ranks",
} | GROUND
ENGINE = {
    "certified",
    "counts",
    "posing",
    "problem",
    "stopping",
    "result",
    "state",
    "solvers",
    "minimization",
} | MATERIAL
MODEL = {"latent", "baselines"} | ENGINE
CLIENTS = {"estimators", "experiments", "io", "nn", "selection"}
MAY_IMPORT = {
    "kernels": set(),
    "machine": set(),
    "numerics": {"kernels"},
    "groups": {"group_files", "kernels", "naming", "shown"},
    "naming": set(),
    "group_files": {"documents", "naming", "sources", "text_tables"},
    "documents": {"encodings", "limits"},
    "encodings": set(),
    "limits": set(),
    "row_sources": {"ranks"},
    "shown": set(),
    "wording": set(),
    "sources": set(),
    "stubs": set(),
    "threads": set(),
    "text_tables": {"encodings", "sources"},
    "label_coding": set(),
    "arrays": set(),
    "launch": set(),
    "ranks": {"launch"},
    "label_arrays": {"arrays"},
    "stored_labels": {"arrays", "label_arrays", "label_coding", "numerics"},
    "targets": {"arrays", "label_arrays", "label_coding", "ranks", "shown", "stored_labels"},
    "losses": GROUND | {"ranks", "targets"},
    "regularizers": GROUND,
    "data_term": {"label_arrays", "losses", "numerics", "ranks", "stored_labels", "targets"},
    "designs": GROUND | {"arrays", "data_term", "ranks", "targets"},
    "state": set(),
    "result": {"shown", "state"},
    "stopping": {"result"},
    "counts": MATERIAL,
    "certified": {"counts"} | MATERIAL | {"result"},
    "posing": MATERIAL,
    "problem": {"certified", "counts", "posing"} | MATERIAL,
    "solvers": MATERIAL | {"counts", "problem", "result", "state", "stopping"},
    "minimization": ENGINE,
    "latent": ENGINE,
    "baselines": {"latent"} | ENGINE,
    "io": {
        "stubs",
        "documents",
        "limits",
        "machine",
        "naming",
        "ranks",
        "row_sources",
        "sources",
        "text_tables",
        "wording",
    },
    "experiments": {"arrays", "groups", "label_arrays", "label_coding", "numerics"},
    "selection": MODEL | {"adjoints", "experiments", "io"},
    "estimators": MODEL | {"experiments", "io", "selection"},
    "nn": MODEL | {"adjoints"},
    "report": MODEL | {"experiments", "io"},
    "__main__": {"cli"},
    "cli": MODEL | CLIENTS | {"report", "backbones", "group_files", "text_tables"},
    "backbones": MODEL | CLIENTS | {"stubs", "text_tables"},
    "adjoints": MODEL,
}
HEAVY = ["triton", "numba", "sklearn", "pandas", "matplotlib", "typer", "rich", "pyarrow"]


def sources(*folders):
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


def room_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] != "proxmtl" else parts[1]


def imports_of(path):
    """Module of every absolute or relative import, those for types only included."""
    folder, *rest = path.relative_to(ROOT).parent.parts
    package = [*FOLDERS[folder].split("."), *rest]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                up = package[: len(package) - node.level + 1]
                base = ".".join([*up, *filter(None, [base])])
            if base == "proxmtl":
                yield from (f"proxmtl.{alias.name}" for alias in node.names)
            else:
                yield base


def test_every_room_is_in_the_table():
    rooms = {room_of(path) for path in sources(*FOLDERS)} - {"__init__"}
    assert rooms <= set(MAY_IMPORT), f"new rooms: {rooms - set(MAY_IMPORT)}"


@pytest.mark.parametrize("path", sources(*FOLDERS), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_in_the_allowed_directions(path):
    room = room_of(path)
    if room == "__init__":
        return
    for module in imports_of(path):
        top, *rest = module.split(".")
        if top != "proxmtl" or not rest:
            continue
        other = rest[0]
        if other == room or other[0].isupper() or other.startswith("__"):
            assert not other[0].isupper(), f"{path.name}: import {other} from its own module"
            continue
        assert other in MAY_IMPORT[room], f"{room} must not import {other} ({module})"


def contributing():
    return (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_contributing_gives_the_order_of_imports():
    block = re.search(r"^(?: {4}.*\n)+(?=\n\| room)", contributing(), re.MULTILINE).group()
    levels = [re.findall(r"\w+", level) for level in block.split("->")]
    place = {room: number for number, level in enumerate(levels) for room in level}
    assert sum(map(len, levels)) == len(place)
    assert set(place) == set(MAY_IMPORT) - {"__main__"}
    for room, others in MAY_IMPORT.items():
        for other in others - {room} if room != "__main__" else ():
            assert place[room] < place[other], f"{room} may import {other}"


def test_contributing_names_every_room():
    named = re.findall(r"^\| (`.*?) \|", contributing(), re.MULTILINE)
    paths = [path for cell in named for path in re.findall(r"`(.+?)`", cell)]
    assert len(paths) == len(set(paths))
    assert all((ROOT / path).exists() for path in paths)
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "proxmtl").glob("*.py")}
    packages = {
        str(marker.parent.relative_to(ROOT))
        for folder in FOLDERS
        for marker in (ROOT / folder).rglob("__init__.py")
    }
    rooms = modules | packages | {"proxmtl/__init__.pyi", "bench", "tests"}
    assert set(paths) == rooms - {"proxmtl", "proxmtl/__init__.py"}


def test_the_import_test_can_fail(tmp_path, monkeypatch):
    bad = tmp_path / "kernels" / "torch" / "bad.py"
    bad.parent.mkdir(parents=True)
    bad.write_text("from proxmtl import Groups\nfrom ..ops import x\nfrom . import y\n")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    found = list(imports_of(bad))
    assert found == ["proxmtl.Groups", "proxmtl.kernels.ops", "proxmtl.kernels.torch"]
    with pytest.raises(AssertionError):
        test_imports_run_in_the_allowed_directions(bad)


@pytest.mark.parametrize("folder", [*FOLDERS, "tests", "bench"])
def test_no_file_is_over_400_lines(folder):
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources(folder)
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long


def test_every_package_is_installed():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = set(settings["tool"]["setuptools"]["packages"])
    found = set()
    for folder, name in FOLDERS.items():
        for marker in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([name, *marker.parent.relative_to(ROOT / folder).parts]))
        for path in sources(folder):
            assert (path.parent / "__init__.py").exists(), f"{path.parent} is no package"
    assert packages == found
    assert (ROOT / "proxmtl" / "py.typed").exists()


NEWLY_LOADED = """
import json, sys
import torch
loaded = [set(sys.modules)]
import proxmtl
loaded.append(set(sys.modules))
for name in ("LatentMTL", "Problem", "Groups", "minimize"):  # public names are imported when used
    getattr(proxmtl, name)
loaded.append(set(sys.modules))
print(json.dumps([sorted(now - before) for before, now in zip(loaded, loaded[1:])]))
"""


def test_import_is_light():
    """Counted in modules, which no machine changes; torch, which all need, is left out."""
    out = subprocess.run(
        [sys.executable, "-c", NEWLY_LOADED], capture_output=True, text=True, check=True
    )
    alone, with_names = json.loads(out.stdout.splitlines()[-1])
    assert alone == ["proxmtl", "proxmtl.stubs"]
    roots = {module.partition(".")[0] for module in with_names} - set(sys.stdlib_module_names)
    assert not roots & set(HEAVY)
    named = {root for root in roots if not root.startswith(("_", "cython"))}
    # numpy.f2py imports charset_normalizer where it is installed
    assert named <= {"proxmtl", "numpy", "scipy", "charset_normalizer"}
    assert len(with_names) < 700  # some 510 now; scikit-learn would bring as many again


def test_public_names_live_where_checkers_are_told():
    import proxmtl

    stub = ast.parse((ROOT / "proxmtl" / "__init__.pyi").read_text(encoding="utf-8"))
    told = {
        alias.asname: node.module
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    # a checker that saw it would take any name for public
    assert not any(getattr(node, "name", "") == "__getattr__" for node in stub.body)
    assert sorted([*told, "__version__"]) == proxmtl.__all__
    assert isinstance(proxmtl.__version__, str)
    for name, module in told.items():
        assert getattr(proxmtl, name) is getattr(importlib.import_module(module), name)
    assert not set(told) & {path.stem for path in (ROOT / "proxmtl").iterdir()}
    assert proxmtl.regularizers.L1 is proxmtl.L1
    assert {"minimize", "LatentMTLHead"} <= set(dir(proxmtl))
    with pytest.raises(AttributeError, match="no attribute 'FISTAA'"):
        proxmtl.FISTAA  # noqa: B018


WITHOUT = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
def find_others(name, path=None, target=None):
    return None if name.split(".")[0] in ("triton", "numba") else find(name, path, target)
PathFinder.find_spec = find_others
import torch
import proxmtl
X, Y = torch.randn(20, 3), torch.tensor([[1.0], [-1.0]]).repeat(10, 1)
groups = proxmtl.Groups.single(1)
design, targets = proxmtl.SharedDesign(X), proxmtl.Targets.from_labels(Y)
for penalty in (proxmtl.GroupL2(groups, 0.1), proxmtl.OverlappingGroupL2(groups, 0.1)):
    result = proxmtl.minimize(proxmtl.Problem(proxmtl.SquaredHinge(), design, targets, penalty))
    print(result.status.name)
"""


def test_works_without_triton_and_numba():
    out = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False
    )
    assert out.returncode == 0, out.stderr
    assert out.stdout.split() == ["CONVERGED", "CONVERGED"]


def public_names():
    import proxmtl

    return [name for name in proxmtl.__all__ if not name.startswith("_")]


@pytest.mark.parametrize("name", public_names())
def test_public_api_is_documented(name):
    import proxmtl
    from proxmtl.solvers.blocks import BlockProblem

    thing = getattr(proxmtl, name)
    assert inspect.getdoc(thing), f"{name} has no docstring"
    assert len(inspect.getdoc(thing).splitlines()[0]) > 10
    if not inspect.isclass(thing):
        return
    for attribute, member in vars(thing).items():
        if attribute.startswith("_") or not callable(getattr(thing, attribute)):
            continue
        if inspect.isfunction(member) or isinstance(member, (classmethod, staticmethod)):
            # a method of a protocol is documented there
            documented = getattr(BlockProblem, attribute, getattr(thing, attribute))
            assert inspect.getdoc(documented), f"{name}.{attribute}: no docstring"


@pytest.mark.parametrize(
    "module",
    [
        "losses",
        "regularizers",
        "designs",
        "solvers",
        "latent",
        "stopping",
        "result",
        "kernels",
        "selection",
    ],
)
def test_every_room_says_what_it_offers(module):
    room = importlib.import_module(f"proxmtl.{module}")
    assert room.__doc__
    assert room.__all__ == sorted(room.__all__, key=lambda n: (not n.isupper(), n[0].islower(), n))
    assert all(hasattr(room, name) for name in room.__all__)


@pytest.mark.parametrize("path", sources(*FOLDERS), ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_exits_or_prints(path):
    talks = {"cli", "backbones"}
    forbidden = {"exit", "quit"} | (set() if room_of(path) in talks else {"print"})
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in forbidden, f"{path.name}, line {node.lineno}"
