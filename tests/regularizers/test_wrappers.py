"""Regularizers made of others forward the whole contract; sums and stacks are what they declare."""

import itertools

import pytest
import torch
from regularizer_cases import NORMS, OURS, example, normal

from proxmtl import L1, L21, Groups, LInf, Nuclear, WeightedL1
from proxmtl.regularizers import (
    COMBINATIONS,
    Bounded,
    Box,
    Conjugate,
    GroupL2,
    Masked,
    NonNegative,
    OverlappingGroupL2,
    Regularizer,
    Scaled,
    Separable,
    SharedPlusOwn,
    Shifted,
    Sum,
    Thresholded,
    TotalVariation,
)
from proxmtl.regularizers.wrapper import Wrapper

CHAIN = Groups.from_lists([[0, 1, 2], [2, 3], [1, 3, 4]], weights=[1.0, 2.0, 0.7])
HALF = torch.tensor([True, False, True, True, True])

CONTRACT = {n for n in vars(Regularizer) if not n.startswith("_")} | set(
    Regularizer.__annotations__
)
# Rules of the base that hold for every wrapper: three follow from what is forwarded, a wrapper has
# no smoothing and is not split, it is the best form of itself, and none is recognised as an elastic
# net or as norms of rows.
BY_RULE = {
    "active_gradient",
    "as_elastic_net",
    "as_row_norms",
    "for_parameter",
    "is_smoothable",
    "ridged_conjugate",
    "smoothed",
    "splitting",
    "stacks",
}

MADE_OF = {
    "Scaled": lambda inner: Scaled(inner, -2.0),
    "Shifted": lambda inner: Shifted(inner, torch.full((5,), 0.3, dtype=torch.float64)),
    "Masked": lambda inner: Masked(inner, HALF),
    "Bounded": lambda inner: Bounded(inner, NonNegative()),
    "Thresholded": lambda inner: Thresholded(inner, L1(0.2)),
    "Separable": lambda inner: Separable((((0, 1, 2, 3, 4), inner),)),
    "Sum": lambda inner: Sum((Nuclear(0.3), inner)),
    "Conjugate": Conjugate,
}
WRAPPERS = {n: c for n, c in OURS.items() if issubclass(c, Wrapper)}


def test_every_wrapper_is_held_to_the_contract():
    assert set(WRAPPERS) == set(MADE_OF)


@pytest.mark.parametrize("name", sorted(MADE_OF))
@pytest.mark.parametrize("member", sorted(CONTRACT - BY_RULE))
def test_no_method_or_flag_is_left_to_the_defaults_of_the_base(name, member):
    """A method added to the contract and forgotten in a wrapper fails here."""
    owner = next(c for c in WRAPPERS[name].__mro__ if member in vars(c))
    assert owner is not Regularizer


class Recorder(OverlappingGroupL2):
    """A norm that notes the warm starts of its prox."""

    seen = ()

    def prox(self, W, step, *, warm_start=None):
        type(self).seen += (warm_start,)
        return super().prox(W, step, warm_start=warm_start)


@pytest.mark.parametrize("name", sorted(MADE_OF))
def test_a_warm_start_reaches_the_inner_prox_and_changes_the_result_by_rounding_only(name):
    r, v, step = MADE_OF[name](Recorder(CHAIN, 0.4)), normal(3, 5), 0.3
    cold, value = r.prox(v, step)
    Recorder.seen = ()
    warm, warm_value = r.prox(v, step, warm_start=cold)
    assert Recorder.seen
    assert all(start is not None and start.shape == v.shape for start in Recorder.seen)
    torch.testing.assert_close(warm, cold, rtol=0, atol=1e-6)
    torch.testing.assert_close(warm_value, value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["Scaled", "Shifted", "Masked"])
def test_a_warm_start_takes_part_in_the_change_of_argument(name):
    """It ends where the inner prox ends: at the inner image of the result."""
    r, v, step = MADE_OF[name](Recorder(CHAIN, 0.4)), normal(3, 5), 0.3
    out, _ = r.prox(v, step)
    Recorder.seen = ()
    r.prox(v, step, warm_start=out)
    image = {"Scaled": -2.0 * out, "Shifted": out - 0.3, "Masked": torch.where(HALF, out, 0.0)}
    torch.testing.assert_close(Recorder.seen[0], image[name])


def test_the_gap_of_an_inexact_prox_reaches_the_wrapper():
    inner = OverlappingGroupL2(CHAIN, 0.4, gap=1e-3, max_sweeps=1)
    W, step = 3 * normal(3, 5), 0.5
    assert Conjugate(inner).prox_gap(W, step) == inner.prox_gap(W, 1.0) > 0
    assert Scaled(inner, 2.0).prox_gap(W, step) == inner.prox_gap(2 * W, 4 * step) / 4
    assert Conjugate(L1(1.0)).prox_gap(W, step) == 0


def test_the_limit_of_a_conjugate_reaches_the_wrapper():
    inner, U = SharedPlusOwn(0.7, 0.4), normal(6, 4)
    limit = inner.conjugate_limit(U)
    assert Scaled(inner, 2.0).conjugate_limit(U) == pytest.approx(2 * limit)
    assert Shifted(inner, torch.ones(4)).conjugate_limit(U) == limit
    free = Masked(L1(0.5), HALF)
    assert free.conjugate_limit(normal(3, 5)) == 0
    assert free.conjugate_limit(normal(3, 5) * HALF) == float("inf")


@pytest.mark.parametrize("named", [True, False])
def test_at_most_one_rule_of_a_kind_applies_to_a_pair(named):
    """So that sums don't depend on the order in which modules are imported."""
    examples = [example(name) for name in sorted(OURS)]
    for a, b in itertools.product(examples, repeat=2):
        made = [
            rule
            for first, second, rule in COMBINATIONS
            if isinstance(a, first)
            and isinstance(b, second)
            and (Regularizer not in {first, second}) == named
            and rule(a, b) is not None
        ]
        assert len(made) <= 1, (a, b)


def test_rules_for_named_classes_are_tried_first():
    general = [Regularizer in entry[:2] for entry in COMBINATIONS]
    assert general == sorted(general)


# ------------------------------------------------------------------ stacks of matrices

PAIRS = Groups.from_lists([[0, 1], [2, 3]], 5)
STACKS = {name: example(name) for name in sorted(OURS)} | {
    "rows": L21(1.0, 0),
    "last but one": L21(1.0, -2),
    "second": GroupL2(PAIRS, 1.0, 1),
    "first": GroupL2(Groups.from_lists([[0, 1], [2, 3]], 6), 1.0, 0),
    "whole": LInf(1.0),
    "chain": TotalVariation(1.0, 0),
    "second chain": TotalVariation(1.0, 1),
    "weights of rows": WeightedL1(torch.rand(6, 1), 1.0),
    "weights": WeightedL1(torch.rand(1, 5), 1.0),
    "mask of all": Masked(L1(1.0), torch.rand(6, 5) > 0.5),
    "blocks of rows": Separable((((0, 1), L1(1.0)),), 0),
    "thresholded": Thresholded(OverlappingGroupL2(CHAIN, 1.0), L1(0.3)),
    "bounded": Bounded(OverlappingGroupL2(CHAIN, 1.0), NonNegative()),
    "boxed": Bounded(L1(1.0), Box(-1, 0.5)),
    "sum": Sum((GroupL2(PAIRS, 1.0), L21(1.0, 0))),
    "sum with the trace norm": Sum((GroupL2(PAIRS, 1.0), Nuclear(1.0))),
}


@pytest.mark.parametrize("name", STACKS)
def test_what_a_regularizer_declares_of_stacks_holds(name):
    r, V = STACKS[name], normal(6, 2, 5)
    V[:, 1] *= 0.3
    if r.stacks:
        together = r.prox(V, 1.0)[0]
        alone = torch.stack([r.prox(v.contiguous(), 1.0)[0] for v in V.unbind(1)], dim=1)
        tolerance = 1e-12 if r.exact_prox else 1e-6
        torch.testing.assert_close(together, alone, rtol=tolerance, atol=tolerance)
    if r.stacks and r.value_vmaps:  # warnings are errors: no fallback to a loop
        together = torch.vmap(r.value, in_dims=1)(V)
        alone = torch.stack([r.value(v.contiguous()) for v in V.unbind(1)])
        torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)


def test_norms_stack_but_for_the_trace_norm():
    """Batches of problems are solved by one prox for all of them."""
    assert {name for name in NORMS if not example(name).stacks} == {"Nuclear"}
    for name in ("last but one", "second", "whole", "second chain", "weights of rows"):
        assert not STACKS[name].stacks
