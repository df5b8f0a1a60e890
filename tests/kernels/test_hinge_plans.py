"""What the hinge kernels are launched with: chunks of rows, products, configurations."""

import pytest
import torch
from arithmetic import assert_same_sums
from hypothesis import given
from hypothesis import strategies as st

from proxmtl.kernels.chunks import balanced_length, split
from proxmtl.kernels.torch import products
from proxmtl.kernels.triton.hinge_config import rows_config

ROWS = st.lists(st.integers(0, 400), max_size=6).map(tuple)


@given(rows=ROWS, length=st.integers(1, 500))
def test_chunks_cover_each_row_once(rows, length):
    items, first = split(rows, length)
    assert len(first) == len(rows) + 1
    packed = 0
    for m, n in enumerate(rows):
        mine = items[first[m] : first[m + 1]]
        assert (mine[:, 0] == m).all()
        assert [i for _, start, count, _ in mine.tolist() for i in range(start, start + count)] == (
            list(range(n))
        )
        assert (mine[:, 3] == packed + mine[:, 1]).all()
        packed += n
    if len(items):
        assert items[:, 2].min() > 0
        assert items[:, 2].max() <= max(4, length + 3)


@given(rows=ROWS, slots=st.integers(1, 200))
def test_balanced_length_is_near_the_ideal(rows, slots):
    length = balanced_length(rows, slots, overhead=8)
    chunks = sum(-(-n // length) for n in rows)
    waves = -(-chunks // slots)
    ideal = sum(rows) / slots
    # One wave of ideal chunks, each task rounded up to whole ones, is always within reach.
    assert waves * (length + 8) <= max(4, max(rows, default=0)) + 8 + 4 * ideal


def test_chunks_of_the_papers_shape_fill_the_chip():
    rows = (1856,) * 23
    length = balanced_length(rows, 132, overhead=8)
    waves = -(-len(split(rows, length).items) // 132)
    assert sum(rows) / 132 / (waves * length) > 0.94


@given(st.integers(0, 1000))
def test_three_bfloat16_terms_are_the_float32_number(seed):
    generator = torch.Generator().manual_seed(seed)
    t = torch.randn(3, 5, generator=generator) * 10.0 ** (seed % 60 - 30)
    high, middle, low = products.split_bfloat16(t).double().view(3, 3, 5)
    assert torch.equal((high + middle + low).float(), t)


def test_special_values_stay_in_the_first_term():
    t = torch.tensor([[float("inf"), -float("inf"), float("nan"), 0.0]])
    high, middle, low = products.split_bfloat16(t).float()
    assert torch.equal(high.nan_to_num(7), t[0].nan_to_num(7))
    assert (middle == 0).all()
    assert (low == 0).all()


def test_split_products_have_float32_accuracy(monkeypatch):
    """The library's mixed product exists on GPUs only: here its definition stands in for it."""
    monkeypatch.setattr(products, "_splits", lambda x: x.dtype == torch.bfloat16)
    monkeypatch.setattr(
        torch, "mm", lambda a, b, *, out_dtype: (a.double() @ b.double()).to(out_dtype)
    )
    x = torch.randn(40, 30).bfloat16()
    weights, residual = torch.randn(5, 30), torch.randn(5, 40)
    scores = products.shared_scores(weights, x)
    grad = products.shared_grad(residual, x)
    wide = x.double()
    for seen, left, right in ((scores, weights, wide.T), (grad, residual, wide)):
        wanted, sizes = left.double() @ right, left.double().abs() @ right.abs()
        # three pieces of each number: the sums of their products are rounded when added up
        assert_same_sums(seen, wanted, sizes=sizes, length=3)
    assert (scores.dtype, grad.dtype) == (torch.float32, torch.float32)


@pytest.mark.parametrize("capability", [75, 80, 86, 90, 100, 120])
@pytest.mark.parametrize(("storage", "accumulation"), [(2, 4), (4, 4), (4, 8), (8, 8)])
def test_configurations_fit_the_chip(capability, storage, accumulation):
    limit = {75: 48, 80: 163, 86: 99, 90: 227, 100: 227, 120: 99}[capability] * 1024
    for n_features in (0, 1, 100, 128, 129, 512, 2048, 4096, 8192, 8193, 100_000):
        config = rows_config(n_features, storage, accumulation, capability)
        assert config.wide or config.block >= n_features
        assert config.wide == (n_features > 32768 // accumulation)
        assert all((v & (v - 1)) == 0 for v in (config.block, config.rows, config.warps))
        tiles = (config.stages - 1) * config.rows * config.block * storage
        assert config.programs * (tiles + 1024) <= limit
