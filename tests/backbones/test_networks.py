"""Trainable networks, and M of them at once: the same numbers as one by one."""

import itertools

import pytest
import torch
from arithmetic import half_the_digits

from proxmtl.backbones.networks import AlexNet, Ensemble, SmallCNN, make_network

TORCHVISION = {  # parameter names and shapes of torchvision's AlexNet, up to fc6
    "features.0": (64, 3, 11, 11),
    "features.3": (192, 64, 5, 5),
    "features.6": (384, 192, 3, 3),
    "features.8": (256, 384, 3, 3),
    "features.10": (256, 256, 3, 3),
    "classifier.1": (4096, 9216),
}


def small():
    return SmallCNN((2, 12, 10), (4, 8), 6)


def images(count=3, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 2, 12, 10, generator=generator).to(dtype)


def test_alexnet_is_torchvisions_up_to_fc6():
    network = AlexNet()
    shapes = {name: tuple(p.shape) for name, p in network.named_parameters()}
    expected = {f"{name}.weight": shape for name, shape in TORCHVISION.items()}
    expected |= {f"{name}.bias": shape[:1] for name, shape in TORCHVISION.items()}
    assert shapes == expected
    with torch.no_grad():
        out = network(torch.zeros(2, 3, 224, 224))
    assert tuple(out.shape) == (2, network.n_features) == (2, 4096)
    assert network.n_stages == 6
    named = [network.stage_tensors(i, i + 1) for i in range(6)]
    assert [next(iter(names)) for names in named] == [f"{name}.weight" for name in TORCHVISION]


def test_published_weights_load_and_others_are_refused(tmp_path):
    path = tmp_path / "alexnet.pth"
    state = {f"{n}.weight": torch.full((1,), 0.01).expand(s) for n, s in TORCHVISION.items()}
    state |= {f"{n}.bias": torch.full((1,), 0.5).expand(s[0]) for n, s in TORCHVISION.items()}
    state["classifier.6.weight"] = torch.zeros(1000, 4096)
    torch.save(state, path)
    network = make_network("alexnet", weights=path)
    assert network.classifier[1].bias.mean().item() == 0.5
    assert network.features[3].weight.max().item() == pytest.approx(0.01)
    del state["features.8.bias"]
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"features\.8\.bias is missing"):
        make_network("alexnet", weights=path)
    with pytest.raises(FileNotFoundError, match="isn't there"):
        make_network("alexnet", weights=tmp_path / "none.pth")


def test_normalisation_changes_the_first_two_layers_only():
    torch.manual_seed(0)
    shape = (3, 224, 224)
    plain, normed = (make_network(name, shape).double() for name in ("alexnet", "alexnet_lrn"))
    normed.load_state_dict(plain.state_dict())
    x = torch.randn(1, *shape, dtype=torch.float64)
    with torch.no_grad():
        first = torch.relu(plain.features[0](x))
        expected = plain.features[2](torch.nn.functional.local_response_norm(first, 5, k=2.0))
        torch.testing.assert_close(normed(x, 0, 1), expected)
        assert not torch.allclose(plain(x, 0, 1), expected)
        torch.testing.assert_close(plain(expected, 2 - 1, 2 - 1), expected)


@pytest.mark.parametrize("vectorised", [False, True])
@pytest.mark.parametrize("shared", [0, 1, 2, 3])
def test_an_ensemble_is_its_members(shared, vectorised):
    torch.manual_seed(2)
    ensemble = Ensemble(small, 4, shared_stages=shared, vectorised=vectorised).double()
    x = images(dtype=torch.float64)
    members = [ensemble.member(m).double() for m in range(4)]
    out = ensemble(x)
    assert tuple(out.shape) == (4, 3, 6)
    torch.testing.assert_close(
        out, torch.stack([member(x) for member in members]), **half_the_digits()
    )
    assert torch.equal(members[0](x), members[1](x)) == (shared == 3)


def test_gradients_are_those_of_the_members_summed_over_what_they_share():
    torch.manual_seed(3)
    ways = {}
    for vectorised in (False, True):
        torch.manual_seed(3)
        ensemble = Ensemble(small, 3, shared_stages=1, vectorised=vectorised).double()
        weights = torch.arange(1.0, 4.0)[:, None, None]
        (weights * ensemble(images(dtype=torch.float64))).sum().backward()
        ways[vectorised] = {name: p.grad for name, p in ensemble.named_parameters()}
    for name, grad in ways[True].items():
        torch.testing.assert_close(grad, ways[False][name], **half_the_digits())
    total = 0
    for m in range(3):
        member = ensemble.member(m).double()
        ((m + 1.0) * member(images(dtype=torch.float64))).sum().backward()
        total = total + member.blocks[0][0].weight.grad
        own = ways[True]["members.head/2/weight"][m]
        torch.testing.assert_close(own, member.head[2].weight.grad, **half_the_digits())
    torch.testing.assert_close(ways[True]["trunk.blocks/0/0/weight"], total, **half_the_digits())


def test_alexnets_run_alike_one_by_one_and_in_one_call():
    """At full size, with normalisation, but for fc6, which would be nine tenths of the work."""
    torch.manual_seed(6)

    def alexnet():
        network = AlexNet(lrn=True, dropout=0)
        network.classifier[1] = network._stages[-1][2] = torch.nn.Linear(256 * 6 * 6, 8)
        return network

    x, ways = torch.randn(1, 3, 224, 224, dtype=torch.float64), {}
    ensemble = Ensemble(alexnet, 2).double()
    for vectorised in (False, True):
        ensemble.vectorised = vectorised
        ensemble.zero_grad()
        features = ensemble(x)
        features.square().sum().backward()
        ways[vectorised] = [features.detach(), *(p.grad for p in ensemble.parameters())]
    for ours, theirs in zip(ways[True], ways[False], strict=True):
        largest = float(theirs.abs().max())
        assert largest > 0
        torch.testing.assert_close(ours / largest, theirs / largest, **half_the_digits())


def test_the_dial_goes_from_m_networks_to_one():
    sizes = [
        sum(p.numel() for p in Ensemble(small, 5, shared_stages=k).parameters()) for k in range(4)
    ]
    one = sum(p.numel() for p in small().parameters())
    assert sizes[0] == 5 * one
    assert sizes[3] == one
    assert all(a > b for a, b in itertools.pairwise(sizes))


def test_ensembles_are_saved_and_loaded():
    torch.manual_seed(4)
    first, second = (Ensemble(small, 2, shared_stages=1) for _ in range(2))
    assert not torch.equal(first(images()), second(images()))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(images()), second(images()))


def test_autocast_and_dropout_work_in_one_call():
    torch.manual_seed(5)
    ensemble = Ensemble(small, 2, vectorised=True)
    exact = ensemble(images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = ensemble(images())
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(("count", "shared"), [(0, 0), (2, -1), (2, 4)])
def test_impossible_ensembles_are_refused(count, shared):
    with pytest.raises(ValueError, match="at least one member and 0 to 3"):
        Ensemble(small, count, shared_stages=shared)


def test_wrong_images_are_refused_with_the_right_shape():
    with pytest.raises(ValueError, match=r"small takes \(B, 2, 12, 10\)"):
        small()(torch.zeros(1, 1, 12, 10))
    with pytest.raises(ValueError, match="multiples of 4"):
        SmallCNN((1, 8, 8), (6,))
    with pytest.raises(ValueError, match="no more stages"):
        SmallCNN((1, 8, 8), (4, 4, 4, 4, 4))
