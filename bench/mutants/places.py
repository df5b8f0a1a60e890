"""Where a change of the source is one of behaviour, and what stands around it."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Bodies of these become machine code, from sources that are cached on disk: not Python's to run.
COMPILED = {"compiled", "inlined", "njit", "jit", "register_jitable"}


@dataclass
class Surroundings:
    """What is left alone in a file, and the names around each line."""

    spared: list[tuple[tuple[int, int], tuple[int, int]]] = field(default_factory=list)
    scopes: list[tuple[int, int, str]] = field(default_factory=list)

    @classmethod
    def of(cls, source: str) -> Surroundings:
        """Read a file.

        Spared are annotations, aliases of types, imports for types, compiled bodies, and numbers in
        the wording of errors, such as how many names are shown.
        """
        tree = ast.parse(source)
        found = cls()
        compiled_by_call = {
            argument.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and _name(node.func).startswith("compiled")
            for argument in node.args
            if isinstance(argument, ast.Name)
        }
        for node in ast.walk(tree):
            found.spared.extend(map(_span, _spared(node)))
            found.spared.extend(_dull_decorators(node))
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.scopes.append((node.lineno, node.end_lineno or 0, node.name))
                decorators = {_name(each) for each in node.decorator_list}
                if decorators & COMPILED or node.name in compiled_by_call:
                    found.spared.append(_span(node))
        found.spared.extend(map(_span, _aliases(tree)))
        return found

    def spares(self, start: tuple[int, int]) -> bool:
        """Whether a place, (line, column), is one to leave alone."""
        return any(first <= start < last for first, last in self.spared)

    def scope(self, line: int) -> str:
        """Dotted name of the classes and functions around a line."""
        around = sorted(scope for scope in self.scopes if scope[0] <= line <= scope[1])
        return ".".join(name for *_, name in around)


def _span(node: ast.AST) -> tuple[tuple[int, int], tuple[int, int]]:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(each.lineno for each in decorators)])  # type: ignore[attr-defined]
    column = 0 if decorators else node.col_offset  # type: ignore[attr-defined]
    return (first, column), (node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]


def _spared(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation is not None:
        yield node.annotation
    if isinstance(node, ast.FunctionDef) and node.returns is not None:
        yield node.returns
    if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
        yield node
    if isinstance(node, ast.Raise):
        yield from (part for part in ast.walk(node) if isinstance(part, ast.JoinedStr))


def _dull_decorators(node: ast.AST) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Spans of the decorators that say something to readers and checkers only, their @ included."""
    dull = {"overload", "abstractmethod", "override"}
    for each in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
        if _name(each) in dull:
            (line, column), last = _span(each)
            yield (line, column - 1), last


def _aliases(tree: ast.Module) -> Iterator[ast.AST]:
    """Assignments like ``Array = Tensor | Sequence[float]`` of a module."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.BinOp):
            operands = (ast.Name, ast.Attribute, ast.Subscript, ast.Constant)
            left, right = node.value.left, node.value.right
            plain = isinstance(left, (ast.BinOp, *operands)) and isinstance(right, operands)
            if isinstance(node.value.op, ast.BitOr) and plain:
                yield node


def _name(node: ast.AST) -> str:
    """Last part of a dotted name, of a call too."""
    if isinstance(node, ast.Call):
        node = node.func
    return getattr(node, "attr", getattr(node, "id", ""))
