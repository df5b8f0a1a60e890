"""`hinge_value_and_grad` against torch's forms of it, at the paper's shapes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from bench.kernels import cases
from bench.kernels.cases import CPU, GPU, Case
from proxmtl import kernels

if TYPE_CHECKING:
    from bench.kernels.cases import Call


def per_task(
    device: torch.device, *, name: str, shape: tuple[int, int, int], dtype: torch.dtype
) -> Case:
    n_tasks, n_rows, n_features = shape
    X = _features((n_tasks, n_rows, n_features), dtype, device)
    W = (0.02 * torch.randn(n_tasks, n_features, device=device)).T
    Y = torch.randn(n_tasks, n_rows, device=device).sign()

    def eager() -> tuple[torch.Tensor, torch.Tensor]:
        return _two_pass(X, W.T.to(dtype), Y)

    def loop() -> tuple[torch.Tensor, torch.Tensor]:
        results = [
            _epilogue(x @ w, y, lambda r, x=x: r.to(x.dtype) @ x)
            for x, w, y in zip(X, W.T.to(dtype), Y, strict=True)
        ]
        values, grads = zip(*results, strict=True)
        return torch.stack(values), torch.stack(grads)

    compiled = torch.compile(_two_pass)
    contenders: dict[str, Call] = {
        **_ours(device, X, W, Y),
        "torch eager, bmm": eager,
        "BLAS two-pass, one gemv after another": loop,
        "torch.compile": lambda: compiled(X, W.T.to(dtype), Y),
    }
    size = X.element_size()
    check = partial(_check, _reference(X, W, Y))
    return Case(
        name=name,
        operation="hinge_value_and_grad",
        n_bytes=size * X.numel() + 4 * (2 * W.numel() + Y.numel()),
        flops=4 * X.numel(),
        limit="read",
        contenders=contenders,
        check=partial(check, narrow=dtype != torch.float32),
        check_ours=check,
    )


def shared(
    device: torch.device, *, name: str, shape: tuple[int, int, int], dtype: torch.dtype
) -> Case:
    n_rows, n_features, n_tasks = shape
    X = _features((n_rows, n_features), dtype, device)
    W = (0.02 * torch.randn(n_tasks, n_features, device=device)).T
    Y = torch.randn(n_tasks, n_rows, device=device).sign().T

    def task_major() -> tuple[torch.Tensor, torch.Tensor]:
        return _epilogue(W.T.to(dtype) @ X.T, Y.T, lambda r: r.to(X.dtype) @ X)

    def sample_major() -> tuple[torch.Tensor, torch.Tensor]:
        return _epilogue((X @ W.to(dtype)).T, Y.T, lambda r: (X.T @ r.T.to(X.dtype)).T)

    check = partial(_check, _reference(X[None], W, Y.T))
    compiled = torch.compile(lambda X, V, Y: _epilogue(V @ X.T, Y, lambda r: r.to(X.dtype) @ X))
    contenders: dict[str, Call] = {
        **_ours(device, X, W, Y),
        "torch eager, scores (M, N)": task_major,
        "torch eager, scores (N, M)": sample_major,
        "torch.compile": lambda: compiled(X, W.T.to(dtype), Y.T),
    }
    return Case(
        name=name,
        operation="hinge_value_and_grad",
        # Beyond a few tasks the product sets the floor, and X is read again for the gradient.
        n_bytes=(1 if n_tasks <= 16 else 2) * X.element_size() * X.numel()
        + 4 * (2 * W.numel() + Y.numel()),
        flops=4 * X.numel() * n_tasks,
        limit=_flops(dtype, device) if n_tasks > 16 else "read",
        contenders=contenders,
        check=partial(check, narrow=dtype != torch.float32),
        check_ours=check,
    )


def _flops(dtype: torch.dtype, device: torch.device) -> str:
    """Ceiling of products with features of that dtype."""
    narrow = dtype == torch.bfloat16 and device.type == "cuda"
    return "flops bfloat16" if narrow else "flops"


def _ours(
    device: torch.device, X: torch.Tensor, W: torch.Tensor, Y: torch.Tensor
) -> dict[str, Call]:
    backend = cases.backend(device)

    def call(*, deterministic: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        result = kernels.hinge_value_and_grad(X, W, Y, backend=backend, deterministic=deterministic)
        return result.value, result.grad.T

    calls: dict[str, Call] = {f"ours/{backend}": call}
    if backend == "triton":
        calls["ours/triton, atomics"] = partial(call, deterministic=False)
    return calls


def _features(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    torch.manual_seed(0)
    X = torch.empty(shape, dtype=dtype, device=device)
    for block in X if X.ndim == 3 else X.split(4096):
        block.copy_(torch.randn(block.shape, device=device))
    return X


def _epilogue(scores: torch.Tensor, Y: torch.Tensor, product: Any) -> tuple[Any, Any]:
    slack = (1 - Y * scores.float()).clamp_min(0)
    return 0.5 * (slack * slack).sum(-1), product(-Y * slack)


def _two_pass(X: torch.Tensor, V: torch.Tensor, Y: torch.Tensor) -> tuple[Any, Any]:
    scores = torch.bmm(X, V[:, :, None])[:, :, 0]
    return _epilogue(scores, Y, lambda r: torch.bmm(r[:, None, :].to(X.dtype), X)[:, 0])


def _reference(X: torch.Tensor, W: torch.Tensor, Y: torch.Tensor) -> tuple[Any, Any]:
    """Value (M,) and gradient (M, D) in float64, block by block; X (1, N, D) is shared."""
    values, grads = [], []
    for m in range(len(Y)):
        x = X[m if len(X) > 1 else 0]
        value, grad = 0.0, torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
        for rows, y in zip(x.split(1024), Y[m].split(1024), strict=True):
            slack = (1 - y.double() * (rows.double() @ W[:, m].double())).clamp_min(0)
            value += float(0.5 * (slack * slack).sum())
            grad += (-y * slack) @ rows.double()
        values.append(value)
        grads.append(grad)
    return torch.tensor(values), torch.stack(grads)


def _check(reference: tuple[Any, Any], seen: tuple[Any, Any], *, narrow: bool = False) -> None:
    """Torch's forms round weights and residuals to a narrow storage dtype: they get more slack."""
    for s, r in zip(seen, reference, strict=True):
        error = (s.double() - r.to(s.device)).abs().max() / r.abs().max()
        assert error < (2e-2 if narrow else 2e-5), f"relative error {error:.1e}"


_PER_TASK = (
    (CPU, (23, 1200, 2048), torch.float32),
    (CPU, (23, 1200, 2048), torch.bfloat16),
    (CPU, (23, 1856, 4096), torch.float32),
    (CPU, (85, 3000, 4096), torch.float32),
    *(
        (GPU, shape, dtype)
        for shape in ((23, 1856, 4096), (85, 3000, 4096))
        for dtype in (torch.float32, torch.bfloat16)
    ),
)
_SHARED = (
    (CPU, (20000, 2048, 1), torch.float32),
    (CPU, (20000, 2048, 4), torch.float32),
    (CPU, (20000, 2048, 85), torch.float32),
    (GPU, (24295, 4096, 85), torch.float32),
    (GPU, (24295, 4096, 85), torch.bfloat16),
)
for _kind, _make, _rows in (("per task", per_task, _PER_TASK), ("shared", shared, _SHARED)):
    for _suite, _shape, _dtype in _rows:
        _name = f"hinge {_kind} {'x'.join(map(str, _shape))} {str(_dtype).removeprefix('torch.')}"
        _large = _suite is CPU and _shape == (85, 3000, 4096)
        _suite.add(_name, partial(_make, name=_name, shape=_shape, dtype=_dtype), large=_large)
