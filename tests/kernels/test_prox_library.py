"""The proximal operations as torch.library ops: autograd, fake tensors, torch.compile."""

import pytest
import torch
from prox_cases import from_lists, tiles
from torch.autograd import forward_ad

from proxmtl import kernels

DISJOINT = {"tiles": tiles([2, 3]), "scattered": from_lists([[4, 0], [3]], 5)}
OVERLAPPING = from_lists([[0, 1, 2], [2, 3], [4]], 5)


def matrix(**options):
    values = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return values.requires_grad_(**options)


@pytest.mark.parametrize("groups", DISJOINT.values(), ids=DISJOINT)
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("l1", [0.0, 0.2])
@pytest.mark.parametrize("step", [0.0, 0.7])
def test_derivatives_of_group_shrink(groups, axis, l1, step):
    weights = torch.tensor([0.8, 1.5], dtype=torch.float64, requires_grad=True)

    def both(V, each):
        return kernels.group_shrink(V, groups.index, each, step=step, axis=axis, l1=l1)

    V = matrix()
    assert (both(V, weights)[0] == 0).any() or step == 0  # active and inactive groups
    assert torch.autograd.gradcheck(both, (V, weights))


@pytest.mark.parametrize("shape", [(5, 5), (5, 1), ()])
def test_derivatives_of_soft_threshold(shape):
    weights = torch.full(shape, 0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda V, each: kernels.soft_threshold(V, each, step=0.6), (matrix(), weights)
    )


def test_derivative_at_zero_is_zero_not_nan():
    V = torch.zeros(2, 5, requires_grad=True)
    for x, value in (
        kernels.group_shrink(V, tiles([2, 3]).index, 1.0),
        kernels.group_shrink(V, tiles([2, 3]).index, 1.0, step=0.0),
        kernels.soft_threshold(V, 1.0),
    ):
        (grad,) = torch.autograd.grad(x.sum() + value, V)
        assert grad.isfinite().all()


def test_derivative_of_the_smoothed_value():
    assert torch.autograd.gradcheck(
        lambda V: kernels.smoothed_group_grad(V, OVERLAPPING.index, 0.8, 0.5).value, (matrix(),)
    )


def test_second_derivatives_are_right_or_refused():
    V, weights = matrix(), torch.full((5,), 0.4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda V, each: kernels.soft_threshold(V, each, step=0.6), (V, weights)
    )
    groups = DISJOINT["tiles"].index
    for name, value in (
        ("group_shrink", kernels.group_shrink(V, groups, 0.8)[0].square().sum()),
        ("smoothed_group_grad", kernels.smoothed_group_grad(V, groups, 0.8, 0.5).value.square()),
    ):
        with pytest.raises(RuntimeError, match=f"{name} is differentiable once"):
            torch.autograd.grad(value, V, create_graph=True)


DUALS = {
    "soft_threshold": lambda V, **how: kernels.soft_threshold(V, 0.4, **how),
    "soft_threshold's weights": lambda V, **how: kernels.soft_threshold(V.detach(), V.abs(), **how),
    "soft_threshold's step": lambda V, **how: kernels.soft_threshold(
        torch.ones(3), 0.4, step=V.square().sum(), **how
    ),
    "group_shrink": lambda V, **how: kernels.group_shrink(
        V, DISJOINT["tiles"].index, 0.8, step=0.7, **how
    ),
    "smoothed_group_grad": lambda V, **how: kernels.smoothed_group_grad(
        V, OVERLAPPING.index, 0.8, 0.5, **how
    ),
    "overlap_dual_sweep": lambda V, **how: kernels.overlap_dual_sweep(
        V, torch.zeros(5, 6, dtype=V.dtype), OVERLAPPING.index, 0.5, **how
    ),
    "chain_prox": lambda V, **how: kernels.chain_prox(V, 0.4, **how),
    "hinge_value_and_grad": lambda V, **how: kernels.hinge_value_and_grad(
        [V.detach(), V.detach()], V[:, :2], [torch.ones(5, dtype=V.dtype)] * 2, **how
    ),
    "hinge_value_and_grad's features": lambda V, **how: kernels.hinge_value_and_grad(
        [V.detach(), V], V.detach()[:, :2], [torch.ones(5, dtype=V.dtype)] * 2, **how
    ),
}


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # of torch, at first use
@pytest.mark.parametrize("name", DUALS)
@pytest.mark.parametrize("backend", ["naive", "torch", "numba"])
def test_a_tangent_is_refused_and_not_lost(name, backend):
    V = matrix(requires_grad=False)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(V, torch.ones_like(V))
        for given in (dual, forward_ad.make_dual(V.clone().requires_grad_(), torch.ones_like(V))):
            with pytest.raises(RuntimeError, match="has a tangent"):
                DUALS[name](given, backend=backend)
            with torch.no_grad(), pytest.raises(RuntimeError, match="has a tangent"):
                DUALS[name](given, backend=backend)
        DUALS[name](V, backend=backend)  # without one, also at such a level
    with pytest.raises(RuntimeError):
        torch.func.jvp(lambda V: DUALS[name](V, backend=backend)[0], (V,), (torch.ones_like(V),))


def test_a_sweep_has_no_derivative_and_says_so():
    Z = matrix()
    X, dual = 2 * Z, torch.zeros(5, 6, dtype=torch.float64)
    gap, _ = kernels.overlap_dual_sweep(X, dual, OVERLAPPING.index, 0.5)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        gap.sum().backward()
    with pytest.raises(ValueError, match="out was given and an input requires grad"):
        kernels.soft_threshold(Z, 0.1, out=torch.empty_like(Z))


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "sliced", "permuted"])
def test_opcheck(layout):
    V = {
        "contiguous": torch.randn(3, 5),
        "transposed": torch.randn(5, 3).T,
        "sliced": torch.randn(3, 10)[:, ::2],
        "permuted": torch.randn(5, 2, 3).permute(2, 1, 0),
    }[layout]
    weight, disjoint, overlap = torch.tensor(0.3), tiles([2, 3]).both, OVERLAPPING.both
    ops = torch.ops.proxmtl
    leaf = V.detach().clone().requires_grad_()
    torch.library.opcheck(ops.soft_threshold.default, (leaf, weight, 0.5, None))
    torch.library.opcheck(ops.group_shrink.default, (leaf, *disjoint, weight, 0.5, -1, 0.1, None))
    torch.library.opcheck(ops.smoothed_group_grad.default, (leaf, *overlap, weight, 0.5, -1, None))
    dual = torch.zeros(*V.shape[:-1], OVERLAPPING.n_members)
    torch.library.opcheck(
        ops.overlap_dual_sweep.default, (V.clone(), dual, *overlap, weight, 0.5, -1, 2, 0.0, None)
    )


def test_one_compilation_serves_all_steps():
    groups, compiled = tiles([2, 3]).index, []

    def count(module, _):
        compiled.append(module)
        return module.forward

    def work(V, step):
        x, _ = kernels.soft_threshold(V, 0.1, step=step, backend="torch")
        x, _ = kernels.group_shrink(x, groups, 0.4, step=step, backend="torch")
        smooth = kernels.smoothed_group_grad(x, groups, 0.4, 1 + step, backend="torch")
        moved = x - step * smooth.grad
        dual = torch.zeros_like(V)
        kernels.overlap_dual_sweep(moved, dual, groups, 0.1, step=step, backend="torch")
        return moved

    fast = torch.compile(work, fullgraph=True, backend=count)
    V = torch.randn(4, 5)
    for k in range(12):
        step = torch.tensor(0.05 + 0.1 * k)
        torch.testing.assert_close(fast(V, step), work(V, float(step)))
    assert len(compiled) == 1


def test_a_step_in_a_tensor_has_the_same_derivative():
    weights = torch.full((2,), 0.4, dtype=torch.float64, requires_grad=True)
    for step in (0.7, torch.tensor(0.7, dtype=torch.float64)):
        V = matrix()
        x, value = kernels.group_shrink(V, DISJOINT["tiles"].index, weights, step=step)
        y, norm = kernels.soft_threshold(x, weights[0], step=step)
        seen = torch.autograd.grad(y.square().sum() + value + norm, (V, weights))
        if isinstance(step, float):
            wanted = seen
        torch.testing.assert_close(seen, wanted)
    with pytest.raises(ValueError, match="step requires grad and has no derivative"):
        kernels.soft_threshold(V, 0.1, step=weights[0])


@pytest.mark.parametrize("given", ["index", "both"])
def test_compiles_without_graph_breaks(given):
    groups, overlap = getattr(tiles([2, 3]), given), getattr(OVERLAPPING, given)

    def work(V, dual):
        x, value = kernels.group_shrink(V, groups, 0.4, l1=0.1)
        y, other = kernels.soft_threshold(x, 0.1)
        smooth = kernels.smoothed_group_grad(y, overlap, 0.4, 0.5)
        point = y - smooth.grad
        gap, last = kernels.overlap_dual_sweep(point, dual, overlap, 0.2, sweeps=2)
        return point, gap.sum() + value + other + smooth.value + last

    V = torch.randn(4, 5)
    eager, lazy = torch.zeros(4, 6), torch.zeros(4, 6)
    wanted = work(V, eager)
    compiled = torch.compile(work, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(V, lazy), wanted)
    torch.testing.assert_close(lazy, eager)


@pytest.mark.parametrize("backend", ["naive", "torch", "numba"])
def test_torch_knows_what_was_written(backend):
    """Autograd finds stale tensors by their versions; so do remembered checks of weights."""
    groups = tiles([3, 2])
    V, out = (torch.randn(2, 5) for _ in range(2))
    dual = torch.zeros(2, 5)

    def versions():
        return [t._version for t in (out, dual)]

    calls = {
        "soft": lambda: kernels.soft_threshold(V, 0.1, out=out, backend=backend),
        "shrink": lambda: kernels.group_shrink(V, groups.index, 0.1, out=out, backend=backend),
        "smooth": lambda: kernels.smoothed_group_grad(
            V, groups.index, 1.0, 0.1, out=out, backend=backend
        ),
        "sweep": lambda: kernels.overlap_dual_sweep(out, dual, groups.index, 0.1, backend=backend),
    }
    written = {"sweep": [out, dual]}
    for name, call in calls.items():
        before = versions()
        call()
        moved = [t for t, a, b in zip((out, dual), before, versions(), strict=True) if b > a]
        assert len(moved) == len(written.get(name, [out])), name
        assert all(a is b for a, b in zip(moved, written.get(name, [out]), strict=True)), name


def test_a_result_that_requires_grad_is_refused():
    V = torch.randn(2, 5, requires_grad=True)
    with pytest.raises(ValueError, match="out requires grad"):
        kernels.group_shrink(V, tiles([3, 2]).index, 0.1, out=V)
    power = (V**2).sum()
    with torch.no_grad():
        kernels.group_shrink(V, tiles([3, 2]).index, 0.1, out=V)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        power.backward()


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("step", lambda V, n: kernels.soft_threshold(V, 0.1, step=n)),
        ("step", lambda V, n: kernels.group_shrink(V, OVERLAPPING.index, 0.1, step=n)),
        ("step", lambda V, n: kernels.overlap_dual_sweep(V, V, OVERLAPPING.index, 0.1, step=n)),
        ("smoothness", lambda V, n: kernels.smoothed_group_grad(V, OVERLAPPING.index, 1.0, n)),
        ("step", lambda V, n: kernels.chain_prox(V, 0.1, step=n)),
    ],
)
def test_numbers_that_require_grad_are_refused(name, call):
    with pytest.raises(ValueError, match=f"{name} requires grad and has no derivative"):
        call(torch.randn(2, 5), torch.tensor(0.3, requires_grad=True))
