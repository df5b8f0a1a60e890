"""All operations, and what their contracts share.

The formula, shapes, conditions and errors of each are in its docstring:

- `hinge_value_and_grad`: loss and gradient of M linear tasks, the features read once;
- `soft_threshold` and `group_shrink`: proximal steps in closed form, and the penalty there;
- `overlap_dual_sweep`, `smoothed_group_grad`: overlapping groups, exactly and smoothed;
- `chain_prox`: total variation along an axis;
- `coordinate_descent`: quadratic models with an L1 penalty, over columns of sparse features;
- `block_descent`: quadratic models with norms of rows of weights, given their Gram matrices;
- `sampled_product`, `sampled_adjoint`: some entries of a product of matrices, and the adjoint.

Common to all: inputs are not modified, but for what is named as overwritten, and results may not
overlap part of an input; any strides; sizes may be zero; offsets are 64-bit; storage in float64,
float32, bfloat16 or float16 with accumulation in float32 or wider (float64 stays float64), in TF32
only where torch is told so, and whatever autocast asks for; NaN and infinity in the input reach the
output as IEEE arithmetic on the definition has it.

Norms keep their digits from the smallest denormal number of the dtype to the largest: where squares
would overflow or underflow, entries are scaled by a power of two first.
"""

from __future__ import annotations

from .block_descent import block_descent
from .chain_prox import chain_prox
from .coordinate_descent import CoordinateStep, Csc, coordinate_descent
from .group_shrink import group_shrink
from .hinge import HingeResult, hinge_value_and_grad
from .overlap_dual_sweep import overlap_dual_sweep
from .sampled_adjoint import sampled_adjoint
from .sampled_product import sampled_product
from .smoothed_group_grad import SmoothedGroup, smoothed_group_grad
from .soft_threshold import soft_threshold

__all__ = [
    "CoordinateStep",
    "Csc",
    "HingeResult",
    "SmoothedGroup",
    "block_descent",
    "chain_prox",
    "coordinate_descent",
    "group_shrink",
    "hinge_value_and_grad",
    "overlap_dual_sweep",
    "sampled_adjoint",
    "sampled_product",
    "smoothed_group_grad",
    "soft_threshold",
]
