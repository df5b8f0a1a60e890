"""Cases of the proximal kernels: groups, shapes, strides, special values."""

import itertools
import os
from dataclasses import dataclass
from functools import cached_property

import torch
from hypothesis import settings
from hypothesis import strategies as st

from proxmtl.kernels import GroupIndex

# Triton's kernels run where there is a GPU, or in its interpreter: see test_triton_interpreter.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
BACKENDS = ("torch", "numba", "triton") if INTERPRETED else ("torch", "numba")
# one in the interpreter takes as long as several others
EXAMPLES = settings.default.max_examples // (6 if INTERPRETED else 1)
NUMBA_DTYPES = (torch.float32, torch.float64)
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 2e-6,
    torch.bfloat16: 2e-2,
    torch.float16: 2e-3,
}


@dataclass
class Groups:
    """Groups as the kernels take them."""

    indptr: torch.Tensor
    indices: torch.Tensor
    n_items: int

    @property
    def n_groups(self):
        return self.indptr.numel() - 1

    @property
    def n_members(self):
        return self.indices.numel()

    @property
    def both(self):
        return self.indptr, self.indices

    @cached_property
    def index(self):
        return GroupIndex(*self.both)

    def __iter__(self):
        bounds, members = self.indptr.tolist(), self.indices.tolist()
        return iter(members[a:b] for a, b in itertools.pairwise(bounds))


def from_lists(lists, n_items):
    sizes = torch.tensor([0] + [len(group) for group in lists])
    flat = [item for group in lists for item in group]
    return Groups(sizes.cumsum(0), torch.tensor(flat, dtype=torch.int64), n_items)


def tiles(sizes):
    total = sum(sizes)
    return Groups(torch.tensor([0, *sizes]).cumsum(0), torch.arange(total), total)


@st.composite
def disjoint_groups(draw, max_items=40):
    kind = draw(st.sampled_from(["uniform", "ragged", "scattered", "none"]))
    if kind == "uniform":
        size, count = draw(st.integers(1, 19)), draw(st.integers(1, 5))
        return tiles([size] * count)
    if kind == "ragged":
        return tiles(draw(st.lists(st.integers(0, 35), min_size=1, max_size=6)))
    n_items = draw(st.integers(0, max_items))
    if kind == "none":
        return from_lists([], n_items)
    order = draw(st.permutations(range(n_items)))
    kept = draw(st.integers(0, n_items))
    edges = sorted(draw(st.lists(st.integers(0, kept), max_size=5)))
    edges = [0, *edges, kept]
    lists = [order[a:b] for a, b in itertools.pairwise(edges)]
    return from_lists(lists, n_items)


@st.composite
def overlapping_groups(draw, max_items=12):
    n_items = draw(st.integers(1, max_items))
    one = st.lists(st.integers(0, n_items - 1), unique=True, max_size=n_items)
    return from_lists(draw(st.lists(one, max_size=6)), n_items)


@st.composite
def tensors(draw, n_items, dtypes=tuple(TOLERANCE)):
    """A tensor and the axis of length ``n_items``: any layout, with zeros, ties and huge ratios."""
    dtype = draw(st.sampled_from(dtypes))
    n_dims = draw(st.integers(1, 3))
    axis = draw(st.integers(0, n_dims - 1))
    shape = [draw(st.sampled_from([0, 1, 2, 3, 5])) for _ in range(n_dims)]
    shape[axis] = n_items
    values = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))))
    values *= draw(st.sampled_from([1.0, 1e-3, 30.0]))
    special = draw(st.sampled_from(["plain", "zeros", "ties"]))
    if special == "zeros":
        values[values < 0.3] = 0
    elif special == "ties":
        values = values.sign()
    return strided(values.to(dtype), draw(st.sampled_from(STRIDES))), axis


STRIDES = ("contiguous", "transposed", "sliced", "expanded")


def strided(values, kind):
    """The same values with other strides."""
    if kind == "transposed":
        return values.mT.contiguous().mT if values.dim() > 1 else values
    if kind == "sliced":
        wide = values.new_full((*values.shape[:-1], 2 * values.shape[-1]), float("nan"))
        wide[..., ::2] = values
        return wide[..., ::2]
    if kind == "expanded" and values.dim() > 1 and values.shape[0]:
        return values[:1].expand_as(values)
    return values


def weights_for(draw, count, dtype=torch.float64):
    """Group weights: a number, one for all, or one each with zeros among them, some strided."""
    kind = draw(st.sampled_from(["number", "scalar", "one", "each", "sliced"]))
    number = st.sampled_from([0.0, 0.3, 1.0, 7.0])
    if kind == "number":
        return draw(number)
    if kind == "scalar":
        return torch.tensor(draw(number), dtype=dtype)
    if kind == "one":
        return torch.tensor([draw(number)], dtype=dtype)
    each = torch.tensor([draw(number) for _ in range(count)], dtype=dtype)
    return strided(each, kind)


def sums_close(seen, wanted, dtype, scale=None):
    """Equal up to the rounding of sums over storage of a dtype, relative to ``scale`` or itself."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    close(seen, wanted, wide, wanted.abs().max().item() if scale is None else scale)


def close(seen, wanted, dtype, scale=1.0):
    """Equal up to the rounding of a dtype, relative to the size of the problem."""
    tolerance = TOLERANCE[dtype] * max(scale, 1e-3)
    torch.testing.assert_close(
        seen.double(), wanted.double(), rtol=4 * TOLERANCE[dtype], atol=tolerance, equal_nan=True
    )
