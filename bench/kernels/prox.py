"""The proximal operations against torch's and numpy's forms of them.

In place, only the first call, the one that is checked, sees the original entries: later ones shrink
what is left, which is the same work. So do the sweeps of the overlapping prox.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.kernels import cases
from bench.kernels.cases import CPU, GPU, Case
from proxmtl import kernels

if TYPE_CHECKING:
    from bench.kernels.cases import Call

Groups = tuple[torch.Tensor, torch.Tensor]
Form = Callable[..., Any]
N, N_GPU = 10_000_000, 40_000_000  # in 160 MB nothing is left to the caches of a large GPU
THRESHOLD = 2.0
SMALL = 1_000_000  # fewer entries: what surrounds the kernel counts


def uniform(n_groups: int, size: int) -> Groups:
    return torch.arange(n_groups + 1) * size, torch.arange(n_groups * size)


def ragged(n_items: int, largest: int) -> Groups:
    """Sizes from 1 to ``largest``, uniform."""
    sizes = torch.randint(1, largest + 1, (2 * n_items // largest + 8,), generator=_random())
    edges = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
    edges = edges[: int((edges < n_items).sum()) + 1]
    edges[-1] = n_items
    return edges, torch.arange(n_items)


def windows(n_items: int, size: int, step: int) -> Groups:
    """Overlapping windows."""
    starts = torch.arange(0, n_items - size + 1, step)
    return torch.arange(len(starts) + 1) * size, (starts[:, None] + torch.arange(size)).reshape(-1)


def soft(device: torch.device, *, name: str, n: int, in_place: bool) -> Case:
    V = torch.randn(n, device=device, generator=_random(device))
    out = V.clone() if in_place else torch.full_like(V, float("nan"))
    wanted = torch.nn.functional.softshrink(V, 0.01)
    source = out if in_place else V

    contenders: dict[str, Call] = {
        _ours(device): lambda: kernels.soft_threshold(
            source, 0.01, out=out, backend=_backend(device)
        )[0]
    }
    if not in_place:
        contenders["torch softshrink, out="] = lambda: torch.ops.aten.softshrink.out(
            V, 0.01, out=out
        )
        contenders["torch softshrink"] = lambda: torch.nn.functional.softshrink(V, 0.01)
        contenders["torch form"] = lambda: V - V.clamp(-0.01, 0.01)
        compiled = torch.compile(lambda V: V - V.clamp(-0.01, 0.01))
        contenders["torch.compile"] = lambda: compiled(V)

    def check(seen: torch.Tensor) -> None:
        torch.testing.assert_close(seen, wanted)

    return Case(name, "soft_threshold", 8 * n, 3 * n, "copy", contenders, check)


def shrink(
    device: torch.device,
    *,
    name: str,
    shape: tuple[int, ...],
    groups: Groups,
    axis: int = -1,
    in_place: bool = False,
) -> Case:
    V = torch.randn(shape, device=device, generator=_random(device))
    wanted = _shrink_form(groups, axis, device)(V.double())
    out = V.clone() if in_place else torch.full_like(V, float("nan"))
    source = out if in_place else V
    index = kernels.GroupIndex(*groups)
    options = {"axis": axis, "out": out, "backend": _backend(device)}

    def call(groups: kernels.GroupIndex) -> torch.Tensor:
        return kernels.group_shrink(source, groups, THRESHOLD, **options)[0]

    contenders: dict[str, Call] = {_ours(device): lambda: call(index)}
    if V.numel() < SMALL and not in_place:
        contenders[f"{_ours(device)}, new groups"] = lambda: call(kernels.GroupIndex(*groups))
        if device.type == "cuda":
            contenders[f"{_ours(device)}, CUDA graph"] = _replayed(lambda: call(index))
    if not in_place:
        contenders |= _shrink_forms(device, V, groups, axis)

    def check(seen: Any) -> None:
        seen = torch.as_tensor(seen)
        torch.testing.assert_close(seen, wanted.to(seen), rtol=1e-5, atol=1e-5)

    entries = V.numel()
    return Case(name, "group_shrink", 8 * entries, 4 * entries, "copy", contenders, check)


def _long_shrink(
    device: torch.device, *, n: int, size: int = 0, largest: int = 0, **options: Any
) -> Case:
    """One long vector; its groups are made here, since they take memory too."""
    groups = uniform(n // size, size) if size else ragged(n, largest)
    return shrink(device, shape=(n,), groups=groups, **options)


def _shrink_forms(
    device: torch.device, V: torch.Tensor, groups: Groups, axis: int
) -> dict[str, Call]:
    form = _shrink_form(groups, axis, device)
    compiled = torch.compile(form)
    forms: dict[str, Call] = {
        "torch form": lambda: form(V),
        "torch.compile": lambda: compiled(V),
    }
    sizes = groups[0].diff()
    if device.type == "cpu" and V.dim() == 1:
        array, edges = V.numpy(), groups[0].numpy()[:-1]

        def reduceat() -> Any:
            norms = np.sqrt(np.add.reduceat(array * array, edges))
            factors = np.maximum(1 - THRESHOLD / norms, 0, dtype=np.float32)
            return array * np.repeat(factors, sizes.numpy())

        forms["numpy reduceat"] = reduceat
        if bool((sizes == sizes[0]).all()):

            def einsum() -> Any:
                rows = array.reshape(len(edges), -1)
                norms = np.sqrt(np.einsum("ij,ij->i", rows, rows))
                return (rows * np.maximum(1 - THRESHOLD / norms, 0)[:, None]).reshape(-1)

            forms["numpy einsum"] = einsum
        forms |= _peers(array, groups)
    return forms


def _peers(array: Any, groups: Groups) -> dict[str, Call]:
    """The prox libraries, where they are installed; they take groups of one size."""
    size = int(groups[0][1])
    if not bool((groups[0].diff() == size).all()):
        return {}
    try:
        from pyproximal import L21
    except ImportError:
        return {}
    columns = np.ascontiguousarray(array.reshape(-1, size).T).reshape(-1)
    prox = L21(ndim=size, sigma=THRESHOLD)
    return {"pyproximal L21": lambda: prox.prox(columns, 1.0).reshape(size, -1).T.reshape(-1)}


def _shrink_form(groups: Groups, axis: int, device: torch.device) -> Form:
    """The usual form, for groups that tile the axis; tables are made beforehand."""
    sizes = groups[0].diff()
    n_groups, size = len(sizes), int(sizes[0])
    uniform = bool((sizes == size).all())
    owner = torch.repeat_interleave(torch.arange(n_groups), sizes).to(device)

    def form(V: torch.Tensor) -> torch.Tensor:
        rows = V.movedim(axis, -1)
        if uniform:
            blocks = rows.reshape(*rows.shape[:-1], n_groups, size)
            norms = blocks.norm(dim=-1, keepdim=True)
            shrunk = (blocks * (1 - THRESHOLD / norms).clamp(min=0)).reshape(rows.shape)
        else:
            squares = rows.new_zeros(*rows.shape[:-1], n_groups)
            norms = squares.index_add(-1, owner, rows * rows).sqrt()
            shrunk = rows * (1 - THRESHOLD / norms).clamp(min=0)[..., owner]
        return shrunk.movedim(-1, axis)

    return form


def _replayed(call: Call) -> Call:
    """A call on a small tensor on a GPU without the Python that surrounds it."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()

    def replay() -> Any:
        graph.replay()
        return result

    return replay


def smooth(device: torch.device, *, name: str, shape: tuple[int, int], groups: Groups) -> Case:
    V = torch.randn(shape, device=device, generator=_random(device))
    call = partial(kernels.smoothed_group_grad, V, kernels.GroupIndex(*groups), 0.5, 0.1)
    wanted = call(backend="torch")
    ours = partial(call, out=torch.full_like(V, float("nan")), backend=_backend(device))
    contenders: dict[str, Call] = {
        _ours(device): ours,
        "torch form": partial(call, backend="torch"),
    }

    def check(seen: Any) -> None:
        torch.testing.assert_close(seen.grad, wanted.grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(seen.value, wanted.value, rtol=1e-5, atol=0)

    entries = V.numel()
    return Case(name, "smoothed_group_grad", 8 * entries, 5 * entries, "copy", contenders, check)


def sweep(device: torch.device, *, name: str, shape: tuple[int, int], groups: Groups) -> Case:
    V = torch.randn(shape, device=device, generator=_random(device))
    index = kernels.GroupIndex(*groups)

    def sweeps(backend: str) -> Call:
        x, xi = V.clone(), torch.zeros(shape[0], len(groups[1]), device=device)

        def call() -> Any:
            kernels.overlap_dual_sweep(x, xi, index, 0.5, sweeps=1, backend=backend)
            return x, xi

        return call

    wanted = sweeps("torch")()
    contenders: dict[str, Call] = {
        _ours(device): sweeps(_backend(device)),
        "torch form": sweeps("torch"),
    }

    def check(seen: Any) -> None:
        for s, w in zip(seen, wanted, strict=True):
            torch.testing.assert_close(s, w, rtol=1e-4, atol=1e-5)

    duals = shape[0] * len(groups[1])
    n_bytes = 8 * (V.numel() + duals)
    return Case(name, "overlap_dual_sweep", n_bytes, 8 * duals, "copy", contenders, check)


def _random(device: torch.device | str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


def _backend(device: torch.device) -> str:
    return cases.backend(device)


def _ours(device: torch.device) -> str:
    return f"ours/{_backend(device)}"


def _register() -> None:
    for suite, n, height in ((CPU, N, 4096), (GPU, N_GPU, 32768)):
        for name, make in _cases(n, height).items():
            full = f"{name} fp32"
            suite.add(full, partial(make, name=full))


def _cases(n: int, height: int) -> dict[str, Any]:
    """Cases on ``n`` entries, on ``height`` rows of 2048, and on matrices S as in the paper."""
    count = f"{n:.0e}".replace("e+0", "e")
    clothing = (torch.tensor([0, 11, 17, 21, 23]), torch.arange(23))
    awa = ragged(85, 17)
    return {
        f"soft {count}": partial(soft, n=n, in_place=False),
        f"soft {count} in place": partial(soft, n=n, in_place=True),
        f"shrink {count}, groups of 10": partial(_long_shrink, n=n, size=10),
        f"shrink {count}, groups of 10, in place": partial(
            _long_shrink, n=n, size=10, in_place=True
        ),
        f"shrink {count}, ragged to 19": partial(_long_shrink, n=n, largest=19),
        f"shrink {count}, ragged to 19, in place": partial(
            _long_shrink, n=n, largest=19, in_place=True
        ),
        f"shrink rows of {height}x2048": partial(
            shrink, shape=(height, 2048), groups=uniform(1, 2048)
        ),
        f"shrink columns of {height}x2048": partial(
            shrink, shape=(height, 2048), groups=uniform(1, height), axis=0
        ),
        "shrink S 64x23": partial(shrink, shape=(64, 23), groups=clothing),
        "shrink S 2048x23": partial(shrink, shape=(2048, 23), groups=clothing),
        "shrink S 2048x85": partial(shrink, shape=(2048, 85), groups=awa),
        "shrink S 4096x1000": partial(shrink, shape=(4096, 1000), groups=ragged(1000, 19)),
        **{
            f"{kind} S {rows}x{tasks}, windows": partial(
                make, shape=(rows, tasks), groups=windows(tasks, size, size // 2)
            )
            for kind, make in (("smooth", smooth), ("sweep", sweep))
            for rows, tasks, size in ((2048, 23, 6), (2048, 85, 10), (4096, 1000, 10))
        },
    }


_register()
