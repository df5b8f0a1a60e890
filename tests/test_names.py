"""Names in tables and figures: shortened, escaped, never two rows alike."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from strategies import examples

from proxmtl.report import names as names_module
from proxmtl.report import plot_attribute_scores, plot_latents, save_figure
from proxmtl.report.names import distinct_names, printable
from proxmtl.report.tables import attribute_table, class_table, comparison_table, group_table

AWKWARD = ["größe", "grüße", "[red]", "a\\", "new\nline", "new\\nline", "\x1b[31m", "$x_{$", "中文"]
LONG = [f"{'a' * 50}{i}{'b' * 50}" for i in range(12)]
TEXTS = st.text(st.sampled_from("abcü中\n\\…1"), max_size=30)


@given(
    names=st.lists(TEXTS, max_size=12, unique=True),
    width=st.integers(12, 25),
    encoding=st.sampled_from(["utf-8", "ascii", "cp1252"]),
)
@examples(300)
def test_names_that_differ_look_different_in_any_width(names, width, encoding):
    shown = distinct_names(names, width, encoding)
    assert len(set(shown)) == len(names)
    assert all(cell_len(text) <= width for text in shown)
    for text in shown:
        assert text.isprintable()
        text.encode(encoding)


def test_names_that_fit_are_left_as_they_are():
    assert distinct_names(["black", "grün", "black"], 12) == ["black", "grün", "black"]
    assert printable("grün\n", "ascii") == "gr\\xfcn\\n"
    names = ["left side of it", "left side at it"]
    assert distinct_names(names, 12) == ["left s…of it", "left s…at it"]
    assert distinct_names(names, 8) == ["lef…1…it", "lef…2…it"]
    assert distinct_names(["a" * 20 + "b" * 20], 12, "ascii") == ["aaaaa..bbbbb"]


def test_names_are_shortened_a_few_times_each_however_many_are_alike(monkeypatch):
    calls = []
    shorten = names_module._without_middle
    monkeypatch.setattr(
        names_module,
        "_without_middle",
        lambda *given, **options: calls.append(given) or shorten(*given, **options),
    )
    for n in (100, 1000):
        calls.clear()
        names = [f"{'a' * 20}{i:04}{'b' * 20}" for i in range(n)]
        assert len(set(distinct_names(names, 20))) == n
        assert len(calls) <= 2 * n


def _printed(table, *, width, encoding="utf-8"):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=stream, width=width, highlight=False).print(table)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


METRICS = ("ap", "auc", "f1", "accuracy", "majority")
TABLES = {
    "attributes": lambda names: attribute_table(
        pd.DataFrame(
            dict.fromkeys(METRICS, 0.5) | {"prevalence": 0.5, "n_observed": 0.5},
            index=names,
        )
    ),
    "groups": lambda names: group_table(
        pd.DataFrame(dict.fromkeys((*METRICS, "n_attributes"), 0.5), index=names)
    ),
    "classes": lambda names: class_table(
        pd.DataFrame(dict.fromkeys(("accuracy", "images", "tied"), 0.5), index=names)
    ),
    "lines": lambda names: comparison_table({"one": dict.fromkeys(names, 1), "two": {}}),
}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [72, 200])
def test_tables_have_a_line_for_each_name_and_figures_are_whole(kind, encoding, width):
    names = [*AWKWARD, *LONG]
    lines = _printed(TABLES[kind](names), width=width, encoding=encoding).splitlines()
    figure = "50.0" if kind != "lines" else " 1 "
    found = [line for line in lines if figure in line]
    rows = [line.split("  ")[1] if encoding == "utf-8" else line for line in found]
    total = kind == "classes"
    assert len(set(rows)) == len(names) + total
    assert all(cell_len(line.rstrip()) <= width for line in lines)


def test_figures_take_any_name(tmp_path, recwarn):
    names = [*AWKWARD, *LONG]
    groups = {"$a_{$ [x]": [0, 1, 2], "g" * 200: [3, 4, 5]}
    S = np.random.default_rng(0).standard_normal((4, len(names)))
    save_figure(plot_latents(S, groups, names), tmp_path / "s.png")
    scores = {"model": np.linspace(0, 1, len(names))}
    save_figure(plot_attribute_scores(scores, groups, names), tmp_path / "a.png")
    assert not [str(warning.message) for warning in recwarn]
    assert (tmp_path / "s.png").stat().st_size > 1000
