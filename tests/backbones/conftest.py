import json

import numpy as np
import pytest


def _convolution(rng, k, out, width, side):
    return {
        f"w{k}_u8": rng.integers(0, 256, (out, width, side, side), dtype=np.uint8),
        f"w{k}_scale": np.float32(0.004),
        f"w{k}_zp": np.int32(120),
        f"b{k}": rng.normal(0, 0.2, out).astype(np.float32),
    }


def _step(op, inputs, out, stride=1, act=0):
    return {"op": op, "in": inputs, "out": [out], "stride": stride, "pad": "SAME", "act": act}


@pytest.fixture
def tiny_net():
    """Arrays of a four-channel net with every operation: 9 pixels in, 5 classes out."""
    rng = np.random.default_rng(0)
    graph = [
        _step("CONV_2D", [0, 90, 91], 1, stride=2, act=3),
        _step("DEPTHWISE_CONV_2D", [1, 92, 93], 2, act=1),
        {"op": "ADD", "in": [1, 2], "out": [3]},
        _step("DEPTHWISE_CONV_2D", [3, 94, 95], 4, stride=2),
        {"op": "AVERAGE_POOL_2D", "in": [4], "out": [5]},
        _step("CONV_2D", [5, 96, 97], 6),
        {"op": "RESHAPE", "in": [6, 98], "out": [7]},
        {"op": "SOFTMAX", "in": [7], "out": [8]},
    ]
    return {
        "graph": json.dumps(graph),
        "input_tensor": np.int32(0),
        "input_size": np.int32(9),
        **_convolution(rng, 0, 4, 3, 3),
        **_convolution(rng, 1, 4, 1, 3),
        **_convolution(rng, 3, 4, 1, 2),
        **_convolution(rng, 5, 5, 4, 1),
    }
