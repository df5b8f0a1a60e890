"""A quantized network as loops over pixels, in float64: the oracle of the interpreter."""

import json
import math

import numpy as np


def naive_convolution(image, weight, bias, stride, depthwise):
    """Loops over output pixels in float64, zero padding with the odd pixel at bottom and right."""
    channels, height, width = image.shape
    out, _, kh, kw = weight.shape
    rows, columns = math.ceil(height / stride), math.ceil(width / stride)
    top = max((rows - 1) * stride + kh - height, 0) // 2
    left = max((columns - 1) * stride + kw - width, 0) // 2
    result = np.zeros((out, rows, columns))
    for o, r, c in np.ndindex(out, rows, columns):
        total = float(bias[o])
        for j, source in enumerate([o] if depthwise else range(channels)):
            for a, b in np.ndindex(kh, kw):
                y, x = r * stride + a - top, c * stride + b - left
                if 0 <= y < height and 0 <= x < width:
                    total += weight[o, j, a, b] * image[source, y, x]
        result[o, r, c] = total
    return result


def naive_net(arrays, pixels, *, sizes=False):
    """Embedding and logits; with ``sizes`` of absolute values, and activations that bound nothing.

    The latter are what ``arithmetic.assert_same_sums`` takes: sums of the sizes of all terms that
    make a number, of which rounding errors are a share.
    """
    taken = np.abs if sizes else np.asarray
    tensors = {0: taken((pixels.astype(np.float64) - 128) / 128)}
    for k, step in enumerate(json.loads(arrays["graph"])):
        first = tensors[step["in"][0]]
        if step["op"] == "ADD":
            result = first + tensors[step["in"][1]]
        elif step["op"] == "AVERAGE_POOL_2D":
            result = embedding = first.mean(axis=(1, 2), keepdims=True)
        elif step["op"] in {"RESHAPE", "SOFTMAX"}:
            break
        else:
            stored = arrays[f"w{k}_u8"].astype(np.float64)
            weight = taken((stored - arrays[f"w{k}_zp"]) * np.float64(arrays[f"w{k}_scale"]))
            depthwise = step["op"] == "DEPTHWISE_CONV_2D"
            bias = taken(arrays[f"b{k}"])
            result = naive_convolution(first, weight, bias, step["stride"], depthwise)
            if step["act"] and not sizes:
                result = np.clip(result, 0, 6 if step["act"] == 3 else None)
        tensors[step["out"][0]] = result
    return embedding.ravel(), result.ravel()


def roundings(arrays):
    """Of one number on its way through the network: terms, biases, weights' own two, the mean."""
    count = 0
    for k, step in enumerate(json.loads(arrays["graph"])):
        if "CONV" in step["op"]:
            count += arrays[f"w{k}_u8"][0].size + 3
        count += {"ADD": 1, "AVERAGE_POOL_2D": 10}.get(step["op"], 0)
    return count
