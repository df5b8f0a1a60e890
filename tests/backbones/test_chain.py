"""Models of torchvision and timm as networks in stages: hand-written ones of their shapes."""

import sys
import types

import numpy as np
import pytest
import torch
from arithmetic import half_the_digits
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, relu

from proxmtl.backbones import load_network
from proxmtl.backbones.networks import Chain, Ensemble
from proxmtl.backbones.training import Architecture

SHAPE = (3, 16, 16)


class StochasticDepth(nn.Module):
    def forward(self, x):
        return x * torch.bernoulli(torch.full((len(x), 1, 1, 1), 0.5)) if self.training else x


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.bn = nn.BatchNorm2d(width)
        self.drop = StochasticDepth()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.drop(self.bn(self.conv(x)))
        out += x
        return self.act(out)


class ResNet(nn.Module):
    """Children as torchvision's; the maps are flattened by a function."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(2)
        self.layer1 = nn.Sequential(Block(4), Block(4))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(4, 10)

    def maps(self, x):
        return self.avgpool(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x))))))

    def forward(self, x):
        return self.fc(torch.flatten(self.maps(x), 1))


class Vgg(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True)
        )
        self.avgpool = nn.AdaptiveAvgPool2d(2)
        self.classifier = nn.Sequential(
            nn.Linear(16, 6), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(6, 10)
        )

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class DenseNet(nn.Module):
    """Rectified and pooled by functions."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
        self.classifier = nn.Linear(5, 10)

    def forward(self, x):
        return self.classifier(adaptive_avg_pool2d(relu(self.features(x)), 1).flatten(1))


class TimmNet(nn.Module):
    """The head is one module, as in timm's ConvNeXt."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 4, stride=4), nn.GroupNorm(1, 4))
        self.stages = nn.Sequential(Block(4))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
        self.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}

    def forward(self, x):
        return self.head(self.stages(self.stem(x)))


class Skipping(ResNet):
    def forward(self, x):
        return self.fc(torch.flatten(self.maps(x), 1) + x.mean((2, 3))[:, :1])


CHAINS = {ResNet: (3, 4), Vgg: (3, 6), DenseNet: (1, 5), TimmNet: (2, 4)}


def made(model):
    torch.manual_seed(0)
    net = model()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias)
    return net


def images():
    return torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("model", CHAINS)
def test_features_are_what_the_classifier_is_given(model):
    net = made(model).eval()
    classifier = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
    given = []
    classifier.register_forward_hook(lambda *call: given.append(call[1][0]))
    net(images())
    chain = Chain(net, SHAPE, "x").eval()
    torch.testing.assert_close(chain(images()), given[0])
    assert (chain.n_stages, chain.n_features) == CHAINS[model]
    names = set().union(*(chain.stage_tensors(i, i + 1) for i in range(chain.n_stages)))
    assert names == set(chain.state_dict())
    sizes = [len(chain.stage_tensors(i, i + 1)) for i in range(chain.n_stages)]
    assert min(sizes) > 0


@pytest.mark.parametrize("model", [ResNet, TimmNet])
def test_members_of_a_chain_run_alike_and_at_random_only_in_dropout(model):
    first, x = Chain(made(model), SHAPE, "x").double(), images().double()
    expected = first(x)
    assert first.training
    torch.testing.assert_close(first(x), expected, **half_the_digits())  # no depth is skipped
    torch.testing.assert_close(
        first.eval()(x), expected, **half_the_digits()
    )  # statistics are fixed
    grads = {}
    for vectorised in (False, True):
        ensemble = Ensemble(
            lambda: Chain(made(model), SHAPE, "x"), 2, shared_stages=1, vectorised=vectorised
        )
        ensemble.double().train()
        out = ensemble(x)
        torch.testing.assert_close(out, expected.expand(2, -1, -1), **half_the_digits())
        out.square().sum().backward()
        grads[vectorised] = [p.grad for p in ensemble.parameters()]
    torch.testing.assert_close(grads[True], grads[False], **half_the_digits())


def test_what_is_no_chain_is_refused():
    with pytest.raises(ValueError, match="isn't a chain of its top layers"):
        Chain(made(Skipping), SHAPE, "x")
    with pytest.raises(ValueError, match="'x' has no linear layer"):
        Chain(nn.Sequential(nn.Conv2d(3, 2, 1), nn.Flatten()), SHAPE, "x")
    with pytest.raises(ValueError, match=r"'x' doesn't take images of \(1, 16, 16\)"):
        Chain(made(ResNet), (1, 16, 16), "x")


class Faint(Skipping):
    """Features so small that an absolute tolerance would take any others for the same."""

    def maps(self, x):
        return 1e-12 * super().maps(x)

    def forward(self, x):
        return self.fc(torch.flatten(self.maps(x), 1) + 1e-12 * x.mean((2, 3))[:, :1])


class Dead(DenseNet):
    def __init__(self):
        super().__init__()
        nn.init.constant_(self.features[1].weight, 0)


class Mute(ResNet):
    def forward(self, x):
        if x.shape[1] != 3:
            raise AssertionError  # without a word
        return super().forward(x)


class Loose(ResNet):
    """A parameter of its own, which no layer holds."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(4))


def test_a_trial_that_says_nothing_is_none():
    with pytest.raises(ValueError, match="isn't a chain of its top layers"):
        Chain(made(Faint), SHAPE, "x")
    dead = made(Dead)
    nn.init.constant_(dead.features[1].bias, -1)
    with pytest.raises(ValueError, match="'x' gives features that are all zero"):
        Chain(dead, SHAPE, "x")
    with pytest.raises(ValueError, match=r"\(1, 16, 16\): AssertionError"):
        Chain(made(Mute), (1, 16, 16), "x")
    with pytest.raises(ValueError, match=r"no stage would hold model\.token"):
        Chain(made(Loose), SHAPE, "x")


@pytest.fixture
def libraries(monkeypatch):
    """Stand-ins for torchvision and timm, which hold one model each."""
    asked = []

    def get_model(name, *, weights):
        asked.append(weights)
        if name != "resnet":
            raise ValueError(f"Unknown model {name}")
        return made(ResNet)

    def create_model(name, *, pretrained):
        asked.append(pretrained)
        if name != "net":
            raise RuntimeError(f"Unknown model ({name})")
        return made(TimmNet)

    models, timm = types.ModuleType("torchvision.models"), types.ModuleType("timm")
    models.get_model, timm.create_model = get_model, create_model
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    monkeypatch.setitem(sys.modules, "timm", timm)
    return asked


def test_models_of_libraries_are_found_by_name(libraries, tmp_path):
    plan = Architecture("torchvision:resnet", 2, shared_stages=2, input_shape=SHAPE)
    ensemble = plan.ensemble()
    assert ensemble.n_features == 4
    mean, scale = ensemble.normalisation
    assert mean == pytest.approx((123.675, 116.28, 103.53))
    assert scale == pytest.approx((58.395, 57.12, 57.375))
    timm = Architecture("timm:net", 2, input_shape=SHAPE).ensemble(weights="imagenet")
    assert timm.normalisation == ((127.5,) * 3, (63.75,) * 3)
    assert plan.ensemble(weights="imagenet").n_members == 2
    assert libraries == [None, True, "DEFAULT"]
    net = made(ResNet)
    nn.init.constant_(net.conv1.weight, 0.25)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    network = plan.network(tmp_path / "w.pth")
    assert network.model.conv1.weight.unique().tolist() == [0.25]
    with pytest.raises(ValueError, match="doesn't hold the weights of timm:net: stem"):
        Architecture("timm:net", input_shape=SHAPE).ensemble(weights=tmp_path / "w.pth")
    for name in ("torchvision:vit", "timm:vit"):
        with pytest.raises(ValueError, match=f"'{name}' can't be had from t.*Unknown model"):
            Architecture(name, input_shape=SHAPE).ensemble()


def test_names_of_training_are_names_of_frozen_features(libraries, monkeypatch):
    """Weights of ImageNet, and the shape and the pixels of the pretraining, are the defaults."""
    shaped = {**TimmNet().pretrained_cfg, "input_size": SHAPE}
    monkeypatch.setattr(sys.modules["timm"], "create_model", lambda *_, **__: described(shaped))
    frozen, given = load_network("timm:net"), described(shaped).eval()
    assert (frozen.input_size, frozen.n_features) == (16, 4)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE), dtype=np.uint8)
    given.head[2] = nn.Identity()
    images = (torch.from_numpy(pixels) - 127.5) / 63.75
    torch.testing.assert_close(frozen.features(pixels), given(images))
    load_network("torchvision:resnet")
    load_network("torchvision:resnet", weights="random")
    assert libraries == ["DEFAULT", None]
    assert load_network("small", weights="random").n_features == 32
    for name in ("small", "alexnet"):
        with pytest.raises(ValueError, match=f"'imagenet', and '{name}' comes without"):
            load_network(name)
    with pytest.raises(ValueError, match=r"'resnet'; use 'small'.* or a run folder"):
        load_network("resnet")
    with pytest.raises(ValueError, match=r"weights: n\.npz holds its own"):
        load_network("n.npz", weights="random")


def described(pretrained):
    net = made(TimmNet)
    net.pretrained_cfg = pretrained
    return net


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_libraries_that_cannot_be_imported_are_named(library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "torchvision.models", raising=False)
    with pytest.raises(
        ImportError, match=f"can't be imported .* pip install 'torch==.*' {library}"
    ):
        Architecture(f"{library}:resnet18", input_shape=SHAPE).ensemble()
    with pytest.raises(ValueError, match="'timm:NAME'"):
        Architecture(f"{library}:")
