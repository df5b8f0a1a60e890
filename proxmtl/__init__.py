"""proxmtl: proximal optimisation for structured-sparse, multi-task models on deep features.

A :class:`Problem` is a loss of the scores that a design computes, plus regularizers; a solver
minimises it; a :class:`Result` holds the solution with a certificate of its accuracy.
:class:`LatentMTL` is the factored model ``W = L S``: shared latent tasks L, combined by
group-sparse columns of S.
"""

from __future__ import annotations

import logging

from proxmtl.stubs import names_of_stub

__version__ = "0.1.0"

logging.getLogger(__name__).addHandler(logging.NullHandler())  # what is shown is up to programs

__getattr__, __dir__, __all__ = names_of_stub(
    __name__, __file__, rooms=("kernels",), own=("__version__",)
)
