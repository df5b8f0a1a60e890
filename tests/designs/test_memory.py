"""Features in a lower precision than the parameter are converted block by block, never whole."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from proxmtl import SharedDesign, TaskDesign
from proxmtl.designs import products

ROWS, COLUMNS, BLOCK = 120, 16, 160


class LargestCopy(TorchDispatchMode):
    """Notes the largest tensor of two dimensions that is converted to float64."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and out.dtype == torch.float64 and out.ndim == 2:
            self.numbers = max(self.numbers, out.numel())
        return out


DESIGNS = {
    "shared": lambda X: SharedDesign(X, intercept=True),
    "tasks": lambda X: TaskDesign([X, X], intercept=True),
}
PARAMETER = torch.ones(COLUMNS + 1, 2, dtype=torch.float64)
PRODUCTS = {
    "scores": lambda design: design.scores(PARAMETER),
    "adjoint": lambda design: design.adjoint(design.scores(PARAMETER)),
    "sweep": lambda design: design.sweep(PARAMETER, lambda _, scores: (scores, scores)),
    "magnitude": lambda design: design.magnitude(),
    "figure": lambda design: design.figure(),
}


@pytest.mark.parametrize("name", DESIGNS)
@pytest.mark.parametrize("product", PRODUCTS)
def test_no_more_than_a_block_is_converted(name, product, monkeypatch):
    monkeypatch.setattr(products, "BLOCK_ELEMENTS", BLOCK)
    monkeypatch.setattr(products, "CACHED", (BLOCK, BLOCK))
    generator = torch.Generator().manual_seed(0)
    design = DESIGNS[name](torch.rand(ROWS, COLUMNS, generator=generator))
    with LargestCopy() as seen:
        PRODUCTS[product](design)
    assert 0 < seen.numbers <= BLOCK
