"""hinge_value_and_grad as a torch.library op: autograd, fake tensors, torch.compile."""

import pytest
import torch
from hinge_cases import KINDS, LOSSES, random_call

from proxmtl import kernels


def listed(given):
    if given is None:
        return []
    return list(given) if isinstance(given, list) else [given]


def call_with_grad(kind, **options):
    call = random_call(kind, [4, 4, 4], 3, dtype=torch.float64, parameters=torch.float64, **options)
    leaves = [call["W"], *listed(call["bias"]), *listed(call["X"])]
    return call, [leaf.requires_grad_() for leaf in leaves]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", LOSSES)
def test_derivatives_of_the_value(kind, loss):
    call, leaves = call_with_grad(kind, loss=loss)

    def value(W, bias, *X):
        features = list(X) if kind == "ragged" else X[0]
        return kernels.hinge_value_and_grad(**{**call, "W": W, "bias": bias, "X": features}).value

    assert torch.autograd.gradcheck(value, leaves)


@pytest.mark.parametrize("kind", KINDS)
def test_backward_gives_the_returned_gradient(kind):
    call, (W, bias, *_) = call_with_grad(kind)
    result = kernels.hinge_value_and_grad(**call)
    assert not result.grad.requires_grad
    assert not result.grad_bias.requires_grad
    result.value.sum().backward()
    torch.testing.assert_close(W.grad, result.grad)
    torch.testing.assert_close(bias.grad, result.grad_bias)


def test_features_in_low_precision_get_gradients_in_their_dtype():
    call = random_call("dense", [5, 5], 3, dtype=torch.bfloat16)
    call["X"].requires_grad_()
    result = kernels.hinge_value_and_grad(**call, return_scores=True)
    result.value.sum().backward()
    Y = call["Y"].nan_to_num()
    residual = -call["weights"] * Y * (1 - Y * result.scores).relu()
    wanted = residual[:, :, None] * call["W"].T[:, None, :]
    assert call["X"].grad.dtype == torch.bfloat16
    torch.testing.assert_close(call["X"].grad, wanted.bfloat16())


def test_second_derivatives_are_refused():
    call, (W, *_) = call_with_grad("dense")
    for value in (
        kernels.hinge_value_and_grad(**call).value.square().sum(),
        kernels.hinge_value_and_grad(**call).value.sum() + W.square().sum(),
    ):
        with pytest.raises(RuntimeError, match="hinge_value_and_grad is differentiable once"):
            torch.autograd.grad(value, W, create_graph=True)


@pytest.mark.parametrize("name", ["Y", "weights"])
def test_what_has_no_derivative_says_so(name):
    call, _ = call_with_grad("dense")
    call[name] = call[name].clone().requires_grad_()
    with pytest.raises(ValueError, match=f"{name} requires grad and has no derivative"):
        kernels.hinge_value_and_grad(**call)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("weighted", [True, False])
def test_opcheck(kind, backend, weighted):
    call, _ = call_with_grad(kind, weighted=weighted, biased=weighted is True or kind == "dense")
    inputs = (
        listed(call["X"]),
        call["W"],
        listed(call["Y"]),
        listed(call["weights"]),
        call["bias"],
        kind == "ragged",
        call["loss"],
        True,
        True,
        backend,
    )
    torch.library.opcheck(torch.ops.proxmtl.hinge_value_and_grad.default, inputs)


@pytest.mark.parametrize("kind", KINDS)
def test_compiles_without_a_graph_break(kind):
    call, leaves = call_with_grad(kind)

    def step(W, bias, *X):
        features = list(X) if kind == "ragged" else X[0]
        result = kernels.hinge_value_and_grad(
            **{**call, "W": 2 * W, "bias": bias, "X": features}, return_scores=True
        )
        return result.value.sum(), result.grad + 1

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    value, grad = compiled(*leaves)
    wanted_value, wanted_grad = step(*leaves)
    torch.testing.assert_close(value, wanted_value)
    torch.testing.assert_close(grad, wanted_grad)
    seen = torch.autograd.grad(value, leaves)
    torch.testing.assert_close(seen, torch.autograd.grad(wanted_value, leaves))


@pytest.mark.parametrize("name", ["X", "Y", "weights"])
def test_arrays_are_refused_by_name(name):
    call, _ = call_with_grad("shared")
    with pytest.raises(TypeError, match=f"^{name} is a ndarray; give tensors"):
        kernels.hinge_value_and_grad(**{**call, name: call[name].detach().numpy()})
