"""Groups: constructors, what they know of themselves, files."""

import copy
import json
import pickle
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import disjoint_groups, examples, overlapping_groups, tree_groups

from proxmtl import GroupL2, Groups, OverlappingGroupL2

ITEMS = ["red", "blue", "round", "square"]
TABLE = {"colour": ["red", "blue"], "shape": ["square", "round"]}


def lists(groups):
    return [groups.members(g) for g in range(len(groups))]


@given(groups=overlapping_groups(6))
@examples(60)
def test_csr_describes_the_members(groups):
    assert groups.indptr.dtype == groups.indices.dtype == torch.int64
    assert groups.weights.dtype == torch.float64
    assert groups.indptr.tolist() == np.cumsum([0, *map(len, lists(groups))]).tolist()
    assert groups.indices.tolist() == [i for members in lists(groups) for i in members]
    assert all(members == sorted(set(members)) for members in lists(groups))
    assert groups.sizes.tolist() == [len(members) for members in lists(groups)]
    expected = [g for g, members in enumerate(lists(groups)) for _ in members]
    assert groups.group_of.tolist() == expected
    assert len(groups) == groups.n_groups == len(groups.names)


@given(groups=overlapping_groups(6))
@examples(60)
def test_properties_are_those_of_the_definition(groups):
    sets = [set(members) for members in lists(groups)]
    holders = [sum(i in s for s in sets) for i in range(6)]
    assert groups.coverage.tolist() == holders
    assert groups.max_overlap == max(holders)
    assert groups.is_disjoint == (max(holders) <= 1)
    assert groups.uncovered == [i for i, n in enumerate(holders) if n == 0]
    assert groups.is_contiguous == all(max(s) - min(s) + 1 == len(s) for s in sets)
    pairs = [(a, b) for a in sets for b in sets]
    assert groups.is_tree == all(not a & b or a <= b or b <= a for a, b in pairs)


@given(groups=tree_groups(7))
@examples(30)
def test_halves_of_halves_are_a_tree(groups):
    assert groups.is_tree
    assert not groups.uncovered


@given(groups=disjoint_groups(6))
@examples(60)
def test_covering_adds_singletons_and_nothing_else(groups):
    covering = groups.covering()
    assert covering.uncovered == []
    assert covering.is_disjoint
    assert lists(covering)[: len(groups)] == lists(groups)
    assert lists(covering)[len(groups) :] == [[i] for i in groups.uncovered]
    assert covering.weights.tolist() == [*groups.weights.tolist(), *[1.0] * len(groups.uncovered)]
    assert len(set(covering.names)) == len(covering)
    assert covering.covering() is covering


def test_a_group_of_all_items_lies_on_top_once():
    groups = Groups.from_lists([[0, 2], [1]], 4, ["a", "b"], [2.0, 3.0])
    whole = groups.with_global(0.5)
    assert lists(whole) == [[0, 2], [1], [0, 1, 2, 3]]
    assert (whole.names, whole.weights.tolist()) == (("a", "b", "all"), [2.0, 3.0, 0.5])
    assert whole.is_tree
    assert whole.with_global(7.0) is whole
    assert groups.with_global(name="top").names == ("a", "b", "top")
    assert whole.with_global(7.0, name="top") is whole


@pytest.mark.parametrize(
    "options",
    [{"weight": -1.0}, {"weight": float("nan")}, {"name": "b"}, {"name": " "}],
    ids=str,
)
def test_a_group_of_all_items_is_checked_also_where_there_is_one(options):
    groups = Groups.from_lists([[0, 2], [1]], 4, ["a", "b"])
    for each in (groups, groups.with_global()):
        with pytest.raises(ValueError, match="groups: "):
            each.with_global(**options)


def test_constructors_agree():
    expected = [[0, 1], [2, 3]]
    for groups in (
        Groups.from_lists([[1, 0], [3, 2]]),
        Groups.from_lists((np.array([0, 1]), torch.tensor([2, 3]))),
        Groups.from_labels(["a", "a", "b", "b"]),
        Groups.from_names(TABLE, ITEMS),
    ):
        assert lists(groups) == expected
        assert groups.n_items == 4
        assert groups.weights.tolist() == [1.0, 1.0]
    assert lists(Groups.singletons(3)) == [[0], [1], [2]]
    assert lists(Groups.single(3)) == [[0, 1, 2]]
    assert Groups.from_labels([7, None, 7]).names == ("7", "None")
    assert Groups.from_lists([[0]], n_items=3).uncovered == [1, 2]
    assert Groups.from_lists([[0, 1, 2, 3], [0]], weights="sqrt_size").weights.tolist() == [
        2.0,
        1.0,
    ]


def test_caller_data_is_copied():
    weights = torch.ones(2, dtype=torch.float64)
    groups = Groups.from_lists([[0], [1]], weights=weights)
    weights[0] = 5
    assert groups.weights.tolist() == [1.0, 1.0]


def test_groups_are_not_changed_in_place():
    groups = Groups.from_lists([[0], [1]])
    with pytest.raises(FrozenInstanceError):
        groups.weights = torch.zeros(2)


def test_to_dict_is_fit_for_json_and_comes_back(tmp_path):
    groups = Groups.from_names(TABLE, ITEMS, weights=[1.0, 2.5])
    path = tmp_path / "groups.json"
    path.write_text(json.dumps(groups.to_dict(ITEMS)))
    again = Groups.from_file(path, ITEMS)
    assert lists(again) == lists(groups)
    assert again.names == groups.names
    assert again.weights.tolist() == [1.0, 2.5]
    assert groups.to_dict()["groups"] == {"colour": [0, 1], "shape": [2, 3]}
    assert repr(groups) == "Groups(2 groups on 4 items, disjoint)"


FILES = {
    "plain.toml": 'colour = ["red", "blue"]\nshape = ["square", "round"]\n',
    "nested.toml": '[groups]\ncolour = ["red", "blue"]\nshape = ["square", "round"]\n',
    "plain.json": json.dumps(TABLE),
    "plain.csv": "group,item\ncolour,red\nshape,square\n\ncolour, blue\nshape,round\n",
    "excel.csv": "group;item;\r\ncolour;red;\r\n;;\r\ncolour;blue;\r\nshape;round\r\nshape;square",
    "tabs.csv": "group\titem\ncolour\tred\ncolour\tblue\nshape\tsquare\nshape\tround\n",
    "bom.csv": "\ufeffgroup,item\ncolour,red\ncolour,blue\nshape,square\nshape,round\n",
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_all_kinds(tmp_path, name):
    path = tmp_path / name
    path.write_text(FILES[name], encoding="utf-8")
    groups = Groups.from_file(str(path), ITEMS)
    assert lists(groups) == [[0, 1], [2, 3]]
    assert groups.names == ("colour", "shape")


BAD_FILES = {
    "groups.txt": ("", "this name ends in '.txt'; write the groups as one of these"),
    "broken.toml": ("colour = [", "groups cannot be parsed"),
    "broken.json": ("{", "groups cannot be parsed"),
    "list.json": ("[1, 2]", "this is [1, 2]; write it as in"),
    "numbers.json": ('{"a": [0, 1]}', "groups must be a table of group name -> list of item names"),
    "text.json": ('{"a": "red"}', "'a' is 'red'; write it as in {"),
    "unknown.toml": ('a = ["green"]', "'a' names ['green'], which is not among the 4 items"),
    "case.toml": ('a = ["Red"]', "check the spelling: is it 'red'?"),
    "letter.toml": ('a = ["squore"]', "check the spelling: is it 'square'?"),
    "stray.toml": ('[groups]\na = ["red"]\n[weights]\nb = 1.0', "weights of ['b'], and no such"),
    "text.toml": (
        '[groups]\na = ["red"]\n[weights]\na = "two"',
        "weights must be a table of group",
    ),
    "weight.toml": ('[groups]\na = ["red"]\n[weight]\na = 2', "is it 'weights'?"),
    "Weights.json": (
        '{"groups": {"a": ["red"]}, "Weights": {"a": 2}}',
        "'Weights' stands beside the table 'groups', where only 'weights' may; is it 'weights'?",
    ),
    "other.toml": (
        'b = ["blue"]\n[groups]\na = ["red"]',
        "'b' stands beside the table 'groups', where only 'weights' may; take it out, or",
    ),
    "top.toml": (
        'a = ["red"]\n[weights]\na = 2',
        "'weights' is a table where groups are lists of item names; write all groups under [gro",
    ),
    "top.json": ('{"a": ["red"], "weights": {"a": 2}}', 'under "groups": {...}, beside which'),
    "Groups.toml": ('[Groups]\na = ["red"]', "'Groups' is a table"),
    "minus.toml": ('[groups]\na = ["red"]\n[weights]\na = -1', "finite and non-negative"),
    "nameless.toml": ('"" = ["red"]', "a name in '' = ['red'] is blank; fill it in"),
    "blank.json": ('{"a": ["red", " "]}', "a name in 'a' = ['red', ' '] is blank"),
    "wide.csv": ("group,item\na,red,1\n", "line 2: groups have one membership a line"),
    "headless.csv": ("colour,red\ncolour,blue\n", "line 1: groups begin with a header"),
    "headless excel.csv": ("colour;red;\r\ncolour;blue;\r\n", "looks like a membership"),
    "swapped.csv": (
        "item,group\nred,colour\nblue,colour\n",
        "the first column has attributes (['r",
    ),
    "columns.csv": ("colour;shape\nred;square\nblue;round\n", "line 2: the first column has att"),
    "narrow.csv": ("group;item\na\n", "line 2: groups have one membership a line"),
    "merged.csv": ("group;item\na;red\n;blue\n", "line 3: there is no group beside 'blue'; groups"),
    "gap.csv": ("group;item\na;red\nb;\n", "line 3: there is no attribute beside 'b'; groups need"),
    "quote.csv": ('group,item\n"a,red\n', "line 2: groups: not readable as CSV: a quote is opened"),
    "workbook.csv": ("PK\x03\x04", "an Excel workbook"),
    "empty.csv": ("", "there is no group in it; write one, as in the lines group,attribute"),
    "empty.toml": ("", 'there is no group in it; write one, as in colors = ["black", "white"]'),
    "header.csv": ("group,item\n", "or leave the file of groups out"),
    "twice.csv": (
        "group,item\na,blue\na,red\na,blue\n",
        "group 'a' holds an item twice: 'blue'; leave it there once",
    ),
    "twice.toml": ('a = ["red", "blue", " red"]', "group 'a' holds an item twice: 'red'; leave"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_named_with_what_is_wrong(tmp_path, name):
    content, sentence = BAD_FILES[name]
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match="group") as caught:
        Groups.from_file(path, ITEMS)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).endswith((".", "?"))


def test_a_group_may_be_called_as_one_of_its_members(tmp_path):
    (tmp_path / "own.csv").write_text("group,item\nred,red\nred,blue\n")
    assert Groups.from_file(tmp_path / "own.csv", ITEMS).names == ("red",)


def test_a_group_without_a_name_is_an_error_however_it_is_made():
    with pytest.raises(ValueError, match="group 2 of 2 has no name"):
        Groups.from_lists([[0], [1]], names=["a", " "])


@given(groups=overlapping_groups(6), kept=st.permutations(range(6)), n=st.integers(1, 6))
@examples(60)
def test_restricted_groups_are_those_of_the_kept_items(groups, kept, n):
    kept = kept[:n]
    expected = {
        name: sorted(kept.index(i) for i in members if i in kept)
        for name, members in zip(groups.names, lists(groups), strict=True)
        if set(members) & set(kept)
    }
    if not expected:
        with pytest.raises(ValueError, match="there is no group"):
            groups.restricted(kept)
        return
    part = groups.restricted(kept)
    assert dict(zip(part.names, lists(part), strict=True)) == expected
    assert part.n_items == n
    weights = dict(zip(groups.names, groups.weights.tolist(), strict=True))
    assert part.weights.tolist() == [weights[name] for name in part.names]


def test_names_are_resolved_or_refused():
    with pytest.raises(ValueError, match="'colour' is the string 'red'; give a list"):
        Groups.from_names({"colour": "red"}, ITEMS)
    with pytest.raises(ValueError, match=r"items: names repeat: \['red'\]"):
        Groups.from_names(TABLE, [*ITEMS, "red"])
    with pytest.raises(ValueError, match=r"'zygote'\], which is not among .*; check the spelling"):
        Groups.from_names({"a": ["zygote"]}, ITEMS)  # no other member to say anything of
    for known in ("zebra", "Red"):  # one that is like an item is a matter of spelling
        with pytest.raises(ValueError, match=r"'zygote'\], which is not among") as caught:
            Groups.from_names({"a": ["zygote"], "b": [known]}, ITEMS)
        other = "check the spelling." if known == "Red" else "are these the groups of other items?"
        assert str(caught.value).endswith(other)


@pytest.mark.parametrize(
    ("indptr", "indices", "message"),
    [
        ([0, 2], [1, 0], "not in ascending order"),
        ([0, 2], [2, 0], "holds item 2, outside 0..1"),
        ([0, 1], [0, 1], "indptr must rise from 0 to the 2 memberships"),
        ([1, 2], [0, 1], "indptr must rise from 0"),
        ([0, 2, 1], [0], "indptr must rise from 0"),
    ],
)
def test_direct_construction_is_checked_too(indptr, indices, message):
    n = len(indptr) - 1
    with pytest.raises(ValueError, match=message):
        Groups(
            torch.tensor(indptr),
            torch.tensor(indices),
            torch.ones(n, dtype=torch.float64),
            2,
            tuple(f"g{i}" for i in range(n)),
        )


def test_bounds_whose_differences_overflow_raise():
    bounds = torch.tensor([0, 2**63 - 1, -2, 2])
    with pytest.raises(ValueError, match="indptr must rise"):
        Groups(bounds, torch.tensor([0, 1]), torch.ones(3).double(), 2, ("a", "b", "c"))


@pytest.mark.parametrize(
    ("groups", "made"),
    [
        ([[0, 1], [2]], lambda groups: groups),
        ([[0, 1], [2]], lambda groups: pickle.loads(pickle.dumps(groups))),
        ([[0, 1], [2]], copy.deepcopy),
        ([[0, 1], [1, 2]], copy.deepcopy),  # the compiler takes seconds for its prox
    ],
    ids=["disjoint", "pickled", "copied", "chain"],
)
def test_the_first_use_may_be_in_a_compiled_function(groups, made):
    groups = made(Groups.from_lists(groups))
    term = (GroupL2 if groups.is_disjoint else OverlappingGroupL2)(groups, 1.0)
    W = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    compiled = torch.compile(lambda W: term.prox(W, 0.1)[0], backend="eager")
    torch.testing.assert_close(compiled(W), term.prox(W, 0.1)[0])
    torch._dynamo.reset()


def test_use_changes_nothing_that_is_pickled(tmp_path):
    groups = Groups.from_lists([[0, 1], [1, 2]])
    fresh = pickle.dumps(groups)
    OverlappingGroupL2(groups, 1.0).prox(torch.ones(2, 3), 0.1)
    _ = groups.coverage, groups.group_of
    assert pickle.dumps(groups) == fresh
    again = pickle.loads(fresh)
    assert again.to_dict() == groups.to_dict()
    assert again.n_items == 3
    torch.save(groups, tmp_path / "g.pt", _use_new_zipfile_serialization=False)
    for place in (None, "meta"):
        again = torch.load(tmp_path / "g.pt", map_location=place, weights_only=False)
        assert again.to_dict() == groups.to_dict()


@pytest.mark.parametrize(
    ("groups", "items", "said"),
    [
        (["a", "b"], {"g": ["a"]}, "a list of groups and a dict of items; .*, in this order"),
        ([["a"]], ["a"], "a list of groups and a list of items; give a mapping"),
        ({"g": ["a"]}, "a", "a str of items"),
    ],
)
def test_groups_by_name_are_a_mapping(groups, items, said):
    with pytest.raises(TypeError, match=said):
        Groups.from_names(groups, items)
