r"""Interpreter of convolutional networks stored as a graph with 8-bit weights.

The file is an ``npz`` with ``graph`` (a JSON list of operations in order of execution),
``input_tensor``, ``input_size``, and for operation ``k`` with weights the arrays ``w{k}_u8``
(O, I, h, w; depthwise C, 1, h, w), ``w{k}_scale``, ``w{k}_zp`` and ``b{k}``:

.. math:: w = (w_{u8} - zp) \cdot scale .

An operation has ``op``, ``in`` and ``out`` (tensor numbers), ``stride``, ``pad`` and ``act``
(0 none, 1 ReLU, 3 ReLU6). The MobileNets v1 (Howard et al., 2017, arXiv:1704.04861) and v2
(Sandler et al., 2018, arXiv:1801.04381) need four operations: convolution, depthwise
convolution, sum, and the global average pool whose output is the embedding. What follows the
pool, one 1×1 convolution, is the classifier. Activations are computed in float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from proxmtl.backbones.npz import read_npz
from proxmtl.documents import parse_json

if TYPE_CHECKING:
    from collections.abc import Sequence

ACTIVATIONS = {0: (-torch.inf, torch.inf), 1: (0.0, torch.inf), 3: (0.0, 6.0)}
"""Interval that the result of an operation is clipped to, by the number of its activation."""

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
POOL = "AVERAGE_POOL_2D"


class Operation(NamedTuple):
    """One step of the graph; ``weights`` is its number in the file's array names."""

    kind: str
    inputs: tuple[int, ...]
    output: int
    stride: int
    bounds: tuple[float, float]
    weights: int


class QuantizedNet(nn.Module):
    """A network read from an ``npz`` graph file: images (B, 3, S, S) to features (B, D).

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it isn't such an archive, an array is missing or has the wrong shape, or the graph has
        an operation that this interpreter doesn't know.

    Notes
    -----
    Its input is ``(pixel - 128) / 128``, as these networks were trained.
    """

    normalisation = ((128.0,), (128.0,))

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        path = Path(path)
        arrays = read_npz(path)
        self.name = path.stem
        side = _number(arrays, "input_size", 1, path)
        self.input_shape = (3, side, side)
        self.input_tensor = _number(arrays, "input_tensor", 0, path)
        self.body, self.head = _split_at_pool(_read_graph(arrays, path), path)
        for operation in [*self.body, *self.head]:
            if operation.kind in CONVOLUTIONS:
                self._load_weights(operation, arrays, path)
        self._check_connections(path)
        self.n_features = int(self.get_buffer(f"weight{self.head[0].weights}").shape[1])

    def forward(self, images: Tensor) -> Tensor:
        """Output of the global average pool, (B, D)."""
        if tuple(images.shape[1:]) != self.input_shape:
            shape = ", ".join(map(str, self.input_shape))
            raise ValueError(
                f"images have shape {tuple(images.shape)}; {self.name} takes (B, {shape})."
            )
        tensors = {self.input_tensor: images}
        last_use = {number: i for i, step in enumerate(self.body) for number in step.inputs}
        result = images
        for i, step in enumerate(self.body):
            result = self._run(step, [tensors[number] for number in step.inputs])
            tensors[step.output] = result
            for number in step.inputs:
                if last_use[number] == i:
                    tensors.pop(number, None)
        return result.flatten(1)

    def logits(self, embedding: Tensor) -> Tensor:
        """Class scores, (B, C); the class numbers are those of the file's training set."""
        return self._run(self.head[0], [embedding[:, :, None, None]]).flatten(1)

    def _run(self, step: Operation, inputs: Sequence[Tensor]) -> Tensor:
        first = inputs[0]
        if step.kind == "ADD":
            result = first + inputs[1]
        elif step.kind == POOL:
            result = first.mean(dim=(2, 3), keepdim=True)
        else:
            weight = self.get_buffer(f"weight{step.weights}")
            bias = self.get_buffer(f"bias{step.weights}")
            groups = first.shape[1] if step.kind == "DEPTHWISE_CONV_2D" else 1
            padded = pad_same(first, weight.shape[-2:], step.stride)
            result = functional.conv2d(padded, weight, bias, step.stride, groups=groups)
        low, high = step.bounds
        return result if low == -torch.inf else result.clamp(low, high)

    def _load_weights(self, step: Operation, arrays: dict[str, Any], path: Path) -> None:
        k = step.weights
        names = (f"w{k}_u8", f"w{k}_zp", f"w{k}_scale", f"b{k}")
        stored, zero, scale, bias = (_array(arrays, name, path) for name in names)
        try:
            weight = (stored.astype(np.float32) - zero.astype(np.float32)) * scale.astype(
                np.float32
            )
            fits = (
                weight.ndim == 4 and weight.shape == stored.shape and bias.shape == (len(weight),)
            )
            fits = fits and bool(np.isfinite(weight).all() and np.isfinite(bias).all())
        except (TypeError, ValueError):  # shapes that can't be joined, arrays that aren't numbers
            fits = False
        if not fits:
            msg = (
                f"{path}: w{k}_u8 {stored.shape} and b{k} {bias.shape} don't fit; file is damaged."
            )
            raise ValueError(msg)
        self.register_buffer(f"weight{k}", torch.from_numpy(weight))
        self.register_buffer(f"bias{k}", torch.from_numpy(bias.astype(np.float32)))

    def _check_connections(self, path: Path) -> None:
        channels = {self.input_tensor: 3}
        for step in [*self.body, *self.head]:
            unknown = [number for number in step.inputs if number not in channels]
            if unknown:
                msg = f"{path}: {step.kind} reads tensor {unknown[0]} before it's computed."
                raise ValueError(msg)
            seen = channels[step.inputs[0]]
            if step.kind not in CONVOLUTIONS:
                channels[step.output] = seen
                continue
            out, width = self.get_buffer(f"weight{step.weights}").shape[:2]
            if (width if step.kind == "CONV_2D" else out) != seen:
                msg = f"{path}: w{step.weights}_u8 doesn't take the {seen} channels it is given."
                raise ValueError(msg)
            channels[step.output] = out


def pad_same(images: Tensor, kernel: Sequence[int], stride: int) -> Tensor:
    """Zero padding of TensorFlow's "SAME": output side = ceil(side / stride).

    The total ``max((ceil(n / s) - 1) s + k - n, 0)`` is cut in halves; the odd pixel goes to the
    bottom and to the right, unlike PyTorch's symmetric padding.
    """
    pads: list[int] = []
    for side, width in zip((3, 2), (kernel[1], kernel[0]), strict=True):
        n = images.shape[side]
        total = max((-(-n // stride) - 1) * stride + width - n, 0)
        pads += [total // 2, total - total // 2]
    return functional.pad(images, pads) if any(pads) else images


def _array(arrays: dict[str, Any], key: str, path: Path) -> Any:
    if key not in arrays:
        msg = f"{path} has no array {key!r}; it isn't a quantized graph, or it is cut short."
        raise ValueError(msg)
    return arrays[key]


def _number(arrays: dict[str, Any], key: str, lowest: int, path: Path) -> int:
    array = _array(arrays, key, path)
    if array.size != 1 or array.dtype.kind not in "iu" or not lowest <= int(array.item()) < 2**31:
        msg = f"{path}: {key} is no whole number from {lowest} on; the file is damaged."
        raise ValueError(msg)
    return int(array.item())


def _read_graph(arrays: dict[str, Any], path: Path) -> list[Operation]:
    try:
        items = parse_json(str(_array(arrays, "graph", path)))
    except ValueError as error:
        msg = f"{path}: the graph can't be read ({error}); the file is damaged."
        raise ValueError(msg) from error
    try:
        return [_operation(item, k, path) for k, item in enumerate(items)]
    except (LookupError, TypeError, AttributeError) as error:
        msg = f"{path}: the graph can't be read ({error!r}); the file is damaged."
        raise ValueError(msg) from error


def _operation(item: dict[str, Any], k: int, path: Path) -> Operation:
    kind = str(item["op"])
    if kind not in {*CONVOLUTIONS, "ADD", POOL, "RESHAPE", "SOFTMAX"}:
        msg = f"{path}: operation {k} is {kind!r}, which this interpreter doesn't know."
        raise ValueError(msg)
    activation = _whole(item.get("act", 0))
    padding = item.get("pad", "SAME")
    if activation not in ACTIVATIONS or padding != "SAME":
        msg = f"{path}: operation {k} has act={activation}, pad={padding!r}; known: 0/1/3, SAME."
        raise ValueError(msg)
    # a convolution's further inputs are its weights and bias, which the file stores by operation
    inputs = tuple(_whole(item["in"][i]) for i in range(2 if kind == "ADD" else 1))
    bounds, stride = ACTIVATIONS[activation], _whole(item.get("stride", 1), 1)
    return Operation(kind, inputs, _whole(item["out"][0]), stride, bounds, k)


def _whole(value: Any, lowest: int = 0) -> int:
    if type(value) is not int or value < lowest:
        raise TypeError(f"{value!r} where a whole number from {lowest} on is due")
    return value


def _split_at_pool(graph: list[Operation], path: Path) -> tuple[list[Operation], list[Operation]]:
    kinds = [step.kind for step in graph]
    if kinds.count(POOL) != 1:
        msg = f"{path}: the graph has {kinds.count(POOL)} average pools; one marks the embedding."
        raise ValueError(msg)
    cut = kinds.index(POOL) + 1
    body, rest = graph[:cut], graph[cut:]
    head = [step for step in rest if step.kind == "CONV_2D"]
    if len(head) != 1 or any(step.kind in {"RESHAPE", "SOFTMAX"} for step in body):
        msg = f"{path}: expected one classifying convolution after the pool, found {len(head)}."
        raise ValueError(msg)
    return body, head
