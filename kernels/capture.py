"""Tables that a CUDA graph reads must outlive it, whoever made them."""

from __future__ import annotations

import torch

_kept: dict[int, torch.Tensor] = {}


def keep_if_captured(*tables: torch.Tensor) -> None:
    """Never free these tables of a launch, if that launch is part of a CUDA graph.

    A graph knows addresses, not tensors: it would read freed tables as whatever lies there at the
    next replay. Nothing tells when a graph is dropped, so what one was captured with stays for the
    life of the process; that is a few integers for each group or chunk of rows.
    """
    for table in tables:
        if capturing(table.device):
            _kept[id(table)] = table


def capturing(device: torch.device) -> bool:
    """Whether launches on a device now go into a CUDA graph."""
    return device.type == "cuda" and torch.cuda.is_current_stream_capturing()
