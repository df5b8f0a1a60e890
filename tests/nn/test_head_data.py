"""What a head is given against what it is: said before any work, and nothing is changed."""

import math

import numpy as np
import pytest
import torch
from strategies import classification

from proxmtl import MaxPasses, SquaredFrobenius
from proxmtl.nn import ConvexHead, LatentMTLHead

N, D, M = 30, 5, 4
X, Y = classification(N, D, M, missing=0.1)
PER_TASK = torch.stack([X + 0.1 * m for m in range(M)])


def heads(**options):
    wide = {"dtype": torch.float64, **options}
    yield ConvexHead(D, M, SquaredFrobenius(0.1), stop=MaxPasses(20), **wide)
    yield LatentMTLHead(D, M, n_latents=2, max_passes=20, **wide)


WRONG = {
    "fewer features": (X[:, :4], Y, None, r"features: shape \(30, 4\); give a tensor"),
    "more features": (torch.cat([X, X], 1), Y, None, "features: shape"),
    "another number of matrices": (PER_TASK[:3], Y[:, :3], None, "features: shape"),
    "a list of one matrix": ([X], [Y[:, 0]], None, "features: 1 of shapes"),
    "an array": (X.numpy(), Y, None, "features: got ndarray"),
    "one task's labels": (X, Y[:, :1], None, r"labels: shape \(30, 1\); with these features give"),
    "a vector": (X, Y[:, 0], None, r"labels: shape \(30,\)"),
    "labels of fewer samples": (PER_TASK, Y[1:], None, r"labels: shape \(29, 4\)"),
    "vectors of other lengths": (list(PER_TASK), [*Y.T[:3], Y[1:, 3]], None, "labels: 4 vectors"),
    "weights of fewer samples": (PER_TASK, Y, torch.ones(N - 1), "sample_weight: shape"),
    "negative weights": (X, Y, -torch.ones(N), "sample_weight: holds"),
    "infinite labels": (X, torch.full_like(Y, math.inf), None, "labels: hold an infinite"),
}


@pytest.mark.parametrize("name", WRONG)
def test_data_of_another_shape_are_refused_by_a_solve(name):
    features, labels, weight, match = WRONG[name]
    for head in heads():
        before = {key: t.clone() for key, t in head.state_dict().items()}
        with pytest.raises(ValueError, match=match):
            head.solve(features, labels, weight)
        for key, tensor in head.state_dict().items():
            assert torch.equal(tensor, before[key])
        with pytest.raises(ValueError, match="labels: of 3 tasks, the head has 4"):
            head.take_labels(Y[:, :3])


NO_BATCH = {"a list of one matrix", "an array", "vectors of other lengths"}  # a batch is a tensor


@pytest.mark.parametrize("name", [name for name in WRONG if name not in NO_BATCH])
def test_and_by_losses_and_proximal_steps(name):
    features, labels, weight, match = WRONG[name]
    match = "labels: shape" if "label" in match and "infinite" not in match else match
    for head in heads():
        calls = [head.loss, head.network_loss]
        calls += [head.prox_step] if isinstance(head, LatentMTLHead) else []
        for call in calls:
            with pytest.raises(ValueError, match=match):
                call(features, labels, weight)
        for scores, given in ((Y[:, :1], Y[:, :1]), (X[:, 0], Y[:, 0]), (Y, Y[:, :1])):
            with pytest.raises(ValueError, match="labels: shape"):
                head.objective(scores, given)
        for bad in (-1.0, math.nan, math.inf):
            with pytest.raises(ValueError, match="sample_weight: holds"):
                head.loss(X, Y, torch.full((N,), bad))


def test_frames_and_arrays_of_labels_are_taken():
    pandas = pytest.importorskip("pandas")
    weight = np.linspace(0.5, 1.5, N)
    for features in (X, PER_TASK):
        found = []
        for labels, given in (
            (Y, torch.from_numpy(weight)),
            (Y.numpy(), weight),
            (pandas.DataFrame(Y.numpy()), pandas.Series(weight)),
        ):
            for head in heads():
                head.solve(features, labels, given)
                head.take_labels(labels, given)
                found.append(head.coef)
        for one, other in zip(found[2:], found[:2] * 2, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    "options",
    [{"reduction": "avg"}, {"class_weight": "balance"}, {"class_weight": (1.0, 0.0)}],
    ids=str,
)
def test_weights_that_there_are_not_are_refused_at_once(options):
    for make in (
        lambda: ConvexHead(D, M, SquaredFrobenius(0.1), **options),
        lambda: LatentMTLHead(D, M, **options),
    ):
        with pytest.raises(ValueError, match=next(iter(options))):
            make()


@pytest.mark.parametrize("weighted", [False, True])
def test_batches_of_task_means_add_up_with_labels_missing(weighted):
    """A task observed in few samples, so absent from most batches, weighs as in the whole set."""
    labels = Y.clone()
    labels[:-2, 1] = math.nan
    labels[-2:, 1] = torch.tensor([-1.0, 1.0])
    weight = torch.linspace(0.5, 1.5, N).double() if weighted else None
    for head in heads(reduction="task_mean"):
        head.solve(PER_TASK, labels, weight)

        def gradient(rows, head=head):
            x = PER_TASK.clone().requires_grad_()
            part = None if weight is None else weight[rows]
            loss = head.network_loss(x[:, rows], labels[rows], part)
            return torch.autograd.grad(loss, x)[0]

        parts = torch.randperm(N, generator=torch.Generator().manual_seed(0)).split(5)
        mean = torch.stack([gradient(part) for part in parts]).mean(0)
        torch.testing.assert_close(mean, gradient(torch.arange(N)))


@pytest.mark.parametrize("arrays", [False, True])
def test_a_head_stays_where_it_is_started_at_its_solution(arrays):
    """``init`` is in the coordinates of the features as they are, whatever the solve centres."""
    features = X + 3.0
    exact = LatentMTLHead(
        D, M, n_latents=2, algorithm="panoc", tol=1e-7, max_passes=4000, dtype=torch.float64
    )
    end = exact.solve(features, Y)
    init = tuple(p.detach().numpy() if arrays else p.detach() for p in exact.factors())
    head = LatentMTLHead(D, M, init=init, algorithm="panoc", dtype=torch.float64)
    begin = head.solve(features, Y, stop=MaxPasses(1e-9))
    assert begin.certificate.objective == pytest.approx(end.certificate.objective, rel=1e-9)
    strange = LatentMTLHead(D, M, init=(init[0][:3], *init[1:]), dtype=torch.float64)
    with pytest.raises(ValueError, match="init: L and S have shapes"):
        strange.solve(features, Y)


def test_a_refused_solve_leaves_the_head_as_it_was():
    for head in heads():
        before = {name: part.clone() for name, part in head.state_dict().items()}
        bad = X.clone()
        bad[3, 1] = math.nan
        with_zeros = torch.where(Y < 0, Y, 0.0 * Y)
        with_zeros[0] = 1.0
        for features, labels, options in (
            (bad, with_zeros, {}),
            (X, with_zeros, {"callback": lambda _: 1 / 0}),
        ):
            with pytest.raises((ValueError, ZeroDivisionError)):
                head.solve(features, labels, **options)
        for name, part in head.state_dict().items():
            assert torch.equal(part, before[name]), name
        with pytest.raises(ValueError, match="labels"):
            head.loss(X, (Y > 0).double())  # looks like a no, and nothing has said otherwise


def test_a_batch_is_one_tensor():
    for head in heads():
        calls = [head.loss, head.network_loss]
        calls += [head.prox_step] if isinstance(head, LatentMTLHead) else []
        for call in calls:
            with pytest.raises(ValueError, match=r"^features: 4 of shapes .*; give a tensor"):
                call([X] * M, Y)


@pytest.mark.parametrize("wrong", [[], [0, M], [-1]])
def test_tasks_of_a_process_are_among_those_of_the_head(wrong):
    for options in ({"tasks": wrong, "distributed": True}, {"tasks": [0]}):
        with pytest.raises(ValueError, match=r"tasks: got .*give some of the numbers 0\.\.3"):
            ConvexHead(D, M, SquaredFrobenius(0.1), **options)
    head = LatentMTLHead(D, M, distributed=True, tasks=[1])
    with pytest.raises(ValueError, match="steps and adjoints take all"):
        head.attach(PER_TASK[1:2], Y[:, 1:2])
