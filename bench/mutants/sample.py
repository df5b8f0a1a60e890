"""A sample of mutants: sources in which one operator was changed by cosmic-ray.

    PYTHONPATH=build/mutation python bench/mutants/sample.py --size 400 --seed 0

Places are drawn by a hash of the seed, the file, the names around and the line itself: the same in
every run, and an edit elsewhere leaves the others in the sample. Of the changes that cosmic-ray has
for a place, those are taken that a slip of the pen could make. Writes build/mutants/sample.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from places import Surroundings

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "build" / "mutants" / "sample.json"
FOLDERS = {"proxmtl": "proxmtl", "kernels": "proxmtl.kernels", "backbones": "proxmtl.backbones"}
# What becomes machine code: its text is not run. Triton's needs a GPU besides.
LEFT_OUT = (
    "kernels/triton/",
    *(f"kernels/numba/{name}.py" for name in ("extremes", "memory")),
)
# Numbers are half of all places, and most of them sizes and shares that no result depends on: of
# these places one in so many is in the draw.
NUMBERS = 4

BINARY = [
    *("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_FloorDiv", "Pow_Mul"),
    *("LShift_RShift", "RShift_LShift", "BitAnd_BitOr", "BitOr_BitAnd", "BitXor_BitAnd"),
]
COMPARISONS = [
    *("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is"),
    *("Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt"),
]
SWAPS = [
    *(f"ReplaceBinaryOperator_{pair}" for pair in BINARY),
    *(f"ReplaceComparisonOperator_{pair}" for pair in COMPARISONS),
    *(f"ReplaceUnaryOperator_{pair}" for pair in ("USub_UAdd", "Delete_Not", "Delete_Invert")),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ExceptionReplacer", "AddNot"),
    *("NumberReplacer", "RemoveDecorator", "ZeroIterationForLoop"),
]


def files() -> list[Path]:
    """Sources that are mutated."""
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    names = [str(path.relative_to(ROOT)) for path in found]
    return [p for p, name in zip(found, names, strict=True) if not name.startswith(LEFT_OUT)]


def module_of(name: str) -> str:
    """Dotted name under which a file is imported."""
    folder, *rest = Path(name).with_suffix("").parts
    return ".".join([FOLDERS[folder], *rest]).removesuffix(".__init__")


def mutants_of(path: Path, seed: int) -> list[dict[str, Any]]:
    """Every change of a file, without the changed text."""
    source = path.read_text(encoding="utf-8")
    name, lines = str(path.relative_to(ROOT)), source.splitlines()
    around, tree = Surroundings.of(source), get_ast(source)
    nodes = list(ast_nodes(tree))
    found, twins = [], Counter[str]()
    for swap in SWAPS:
        operator = get_operator(f"core/{swap}")()
        positions = [
            (start, node) for node in nodes for start, _ in operator.mutation_positions(node)
        ]
        for occurrence, (start, node) in enumerate(positions):
            if around.spares(start) or _marks_parameters(node):
                continue
            scope, text = around.scope(start[0]), lines[start[0] - 1].strip()
            identity = f"{name}|{scope}|{text}|{swap}"
            twins[identity] += 1
            key = f"{identity}|{twins[identity]}"
            draw = hashlib.sha256(f"{seed}|{key}".encode()).hexdigest()
            entry = {"id": hashlib.sha256(key.encode()).hexdigest()[:12], "file": name}
            entry |= {"line": start[0], "column": start[1], "operator": swap, "scope": scope}
            found.append({**entry, "code": text, "occurrence": occurrence, "draw": draw})
    return found


def _marks_parameters(node: Any) -> bool:
    """Whether a star or slash stands by itself among the parameters of a function."""
    return node.type == "operator" and node.parent.type in ("parameters", "lambdef")


def one_per_place(mutants: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of several changes at a place the one that is drawn: places are equally likely.

    But for numbers: see `NUMBERS`.
    """
    chosen: dict[tuple[Any, ...], dict[str, Any]] = {}
    for mutant in sorted(mutants, key=lambda each: each["draw"]):
        if mutant["operator"] != "NumberReplacer" or int(mutant["draw"], 16) % NUMBERS == 0:
            chosen.setdefault((mutant["file"], mutant["line"], mutant["column"]), mutant)
    return sorted(chosen.values(), key=lambda each: each["draw"])


def changed(mutant: dict[str, Any]) -> dict[str, Any]:
    """The mutant with its module, its source, and the line as it was changed to."""
    source = (ROOT / mutant["file"]).read_text(encoding="utf-8")
    operator = get_operator(f"core/{mutant['operator']}")()
    text = mutate_code(source, operator, mutant["occurrence"])
    assert text is not None
    assert text != source
    after = text.splitlines()[mutant["line"] - 1].strip()
    kept = {key: value for key, value in mutant.items() if key not in ("draw", "occurrence")}
    return {**kept, "after": after, "module": module_of(mutant["file"]), "source": text}


def main() -> None:
    """Draw the sample and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    everything = one_per_place([m for path in files() for m in mutants_of(path, given.seed)])
    sample = [changed(mutant) for mutant in everything[: given.size]]
    SAMPLE.parent.mkdir(parents=True, exist_ok=True)
    content = {"seed": given.seed, "places": len(everything), "mutants": sample}
    SAMPLE.write_text(json.dumps(content), encoding="utf-8")
    print(f"{len(sample)} mutants of {len(everything)} places in {len(files())} files: {SAMPLE}")


if __name__ == "__main__":
    main()
