"""sampled_product and sampled_adjoint: every backend against plain loops and dense products."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from prox_cases import BACKENDS, EXAMPLES, INTERPRETED

from proxmtl import kernels
from proxmtl.kernels import SampledEntries, sampled_adjoint, sampled_product

ALL = ["naive", *BACKENDS]
EPS = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}


@st.composite
def tables(draw):
    """Matrices X (n, D) and W (M, D), and some places of their product, in any order."""
    n, M, D = draw(st.integers(1, 7)), draw(st.integers(1, 6)), draw(st.integers(1, 40))
    every = [(i, m) for i in range(n) for m in range(M)]
    chosen = draw(st.lists(st.sampled_from(every), unique=True, max_size=len(every)))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    X, W = (torch.randn(size, D, generator=generator, dtype=dtype) for size in (n, M))
    places = torch.tensor(chosen, dtype=torch.int64).reshape(-1, 2)
    values = torch.randn(len(chosen), generator=generator, dtype=dtype)
    return X, W, places[:, 0], places[:, 1], values


def close(found, wanted, sizes, terms):
    """Within the rounding of sums of so many terms, whose magnitudes add up to the sizes."""
    bound = (terms + 2) * EPS[found.dtype if found.dtype in EPS else torch.float64] * sizes
    assert bool(((found.double() - wanted).abs() <= bound).all())


@pytest.mark.parametrize("backend", ALL)
@given(table=tables())
@settings(deadline=None, max_examples=EXAMPLES)
def test_are_entries_of_the_dense_product_and_its_adjoint(backend, table):
    X, W, rows, tasks, values = table
    entries = SampledEntries.of(rows, tasks)
    found = sampled_product(X, W, entries, backend=backend)
    wide = X.double(), W.double()
    sizes = (wide[0].abs() @ wide[1].abs().T)[rows, tasks]
    close(found, (wide[0] @ wide[1].T)[rows, tasks], sizes, X.shape[1])
    assert (found.dtype, found.shape) == (X.dtype, values.shape)

    start = torch.ones(W.shape, dtype=torch.float64)
    out = start.clone()
    assert sampled_adjoint(X, values, entries, out, backend=backend) is out
    table = torch.zeros(len(X), len(W), dtype=torch.float64)
    table[rows, tasks] = values.double()
    sizes = table.abs().T @ wide[0].abs() + 1
    bound = (len(X) + 2) * EPS[X.dtype] * sizes
    assert bool(((out - (start + table.T @ wide[0])).abs() <= bound).all())


def large(n=3000, M=50, D=64, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    kept = torch.rand(n, M, generator=generator) < 0.2
    rows, tasks = torch.nonzero(kept, as_tuple=True)
    X, W = (torch.randn(size, D, generator=generator, dtype=dtype) for size in (n, M))
    values = torch.randn(len(rows), generator=generator, dtype=dtype)
    return X, W, SampledEntries.of(rows, tasks), values


@pytest.mark.skipif(INTERPRETED, reason="the interpreter takes minutes")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_bits_do_not_depend_on_the_threads(threads):
    X, W, entries, values = large()
    before = torch.get_num_threads()
    found = []
    try:
        for number in (threads, 4):
            torch.set_num_threads(number)
            out = torch.zeros(W.shape, dtype=torch.float64)
            sampled_adjoint(X, values, entries, out)
            found.append((sampled_product(X, W, entries), out))
    finally:
        torch.set_num_threads(before)
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("backend", ALL)
def test_strides_and_64_bit_indices(backend):
    X, W = torch.randn(9, 6, dtype=torch.float64).T, torch.randn(9, 4, dtype=torch.float64).T
    rows, tasks = torch.tensor([5, 0, 3]), torch.tensor([3, 3, 1])
    entries = SampledEntries.of(rows, tasks)
    assert entries.rows.dtype == torch.int32
    long = SampledEntries(*(each.to(torch.int64) for each in entries))
    for given_entries in (entries, long):
        found = sampled_product(X, W, given_entries, backend=backend)
        torch.testing.assert_close(found, (X @ W.T)[rows, tasks], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("backend", ALL)
def test_nan_and_infinity_stay_where_they_belong(backend):
    X, W = torch.ones(3, 2), torch.ones(2, 2)
    X[1, 0], X[2, 1] = torch.nan, torch.inf
    entries = SampledEntries.of(torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]))
    found = sampled_product(X, W, entries, backend=backend)
    assert found[0] == 2
    assert found[1].isnan()
    assert found[2] == torch.inf
    out = torch.zeros(2, 2, dtype=torch.float64)
    sampled_adjoint(X, torch.ones(3), entries, out, backend=backend)
    assert out[0, 0].isnan()
    assert out[0, 1] == 2
    assert (out[1] == torch.tensor([1, torch.inf])).all()


def test_what_does_not_fit_raises():
    X, W, rows = torch.ones(3, 2), torch.ones(4, 2), torch.tensor([0, 2])
    entries = SampledEntries.of(rows, torch.tensor([3, 1]))
    out = torch.zeros(4, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"expected \(n, D\) and \(M, D\)"):
        sampled_product(X, W[:, :1], entries)
    with pytest.raises(TypeError, match="pass one of float32 and float64"):
        sampled_product(X.half(), W.half(), entries)
    with pytest.raises(ValueError, match="rows must lie between 0 and 1"):
        sampled_product(X[:2], W, entries)
    with pytest.raises(ValueError, match="tasks must lie between 0 and 2"):
        sampled_product(X, W[:3], entries)
    with pytest.raises(ValueError, match="give one for each of 2 places"):
        sampled_adjoint(X, torch.ones(3), entries, out)
    with pytest.raises(ValueError, match="in float64"):
        sampled_adjoint(X, torch.ones(2), entries, out.float())
    with pytest.raises(ValueError, match="starts must ascend"):
        sampled_product(X, W, entries._replace(starts=torch.tensor([0, 2, 1])))
    with pytest.raises(ValueError, match="W requires grad"):
        sampled_product(X, W.requires_grad_(), entries)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter takes the compiler's place")
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("kind", ["fp32", "fp64"])
@pytest.mark.parametrize("name", ["product_kernel", "adjoint_kernel"])
def test_kernels_compile_without_spills(name, kind, capability):
    pytest.importorskip("triton")
    from gate import compile_for

    from proxmtl.kernels.triton import sampled_kernels
    from proxmtl.kernels.triton.sampled_product import sampled_config

    config = sampled_config({"fp32": 4, "fp64": 8}[kind])
    pointers = dict.fromkeys(("X", "W", "VALUES"), f"*{kind}")
    outs = {"product_kernel": f"*{kind}", "adjoint_kernel": "*fp64"}
    indices = {"starts": "*i64", "tasks": "*i64", "rows": "*i32", "positions": "*i32"}
    numbers = {"width": "i32"}
    kernel = getattr(sampled_kernels, name)
    types = {**pointers, **indices, **numbers, "OUT": outs[name]}
    used = compile_for(
        kernel,
        {each: types[each] for each in kernel.arg_names if each in types},
        {"E": config.places, "D": config.features},
        capability=capability,
        num_warps=config.warps,
    )
    assert (used.stack, used.local, used.narrow_products) == (0, 0, 0)
    assert used.loads[128] > 0


def test_every_backend_has_them():
    for name in ("sampled_product", "sampled_adjoint"):
        assert set(kernels.operations()[name].modules) == set(kernels.backends())
