"""Names in several files: either form of Unicode, and the nearest where there is none."""

from proxmtl.naming import NameIndex, name_key, no_such

COMPOSED, DECOMPOSED = "gr\u00fcn", "gru\u0308n"


def test_names_are_found_in_either_form():
    assert COMPOSED != DECOMPOSED
    assert name_key(COMPOSED) == name_key(f" {DECOMPOSED} ") == COMPOSED
    index = NameIndex(["blau", DECOMPOSED, " rot"])
    assert [index.place(name) for name in ("blau", COMPOSED, DECOMPOSED, "rot")] == [0, 1, 1, 2]
    assert index.place("gelb") is None


def test_names_that_differ_in_their_form_only_are_told_apart():
    index = NameIndex([COMPOSED, DECOMPOSED])
    assert (index.place(COMPOSED), index.place(DECOMPOSED)) == (0, 1)
    assert index.place(f" {COMPOSED}") is None


def test_the_nearest_name_is_suggested():
    index = NameIndex(["black", "white"])
    assert index.advice("White") == "check the spelling: is it 'white'?"
    assert index.advice("blakc") == "check the spelling: is it 'black'?"
    assert index.advice("zebra") == "check the spelling."
    assert NameIndex(["FISTA", "LBFGS"]).nearest("fistaa") == "FISTA"


def test_a_word_that_is_none_of_those_known():
    known = ["squared", "logistic"]
    assert no_such("x", known) == "got 'x'; use 'squared' or 'logistic'."
    assert no_such("logistc", known).endswith(" Did you mean 'logistic'?")
    assert no_such(3, ["one"]) == "got 3; use 'one'."
