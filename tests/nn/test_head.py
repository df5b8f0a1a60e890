"""The head: its solve, its losses and gradients, and life as a torch module."""

import copy
import itertools
import math

import pytest
import torch
from strategies import classification

from proxmtl import Groups, LatentMTL, Logistic, MaxPasses, Status, Targets, UnsupportedError
from proxmtl.adjoints import Implicit
from proxmtl.nn import LatentMTLHead, ProximalOptimizer

N, D, M = 30, 5, 4
X, Y = classification(N, D, M, missing=0.1)
PER_TASK = torch.stack([X + 0.1 * m for m in range(M)])
GROUPS = Groups.from_lists([[0, 1], [2, 3]])
STRENGTHS = {"group_strength": 0.02, "l1_strength": 0.01, "frobenius_strength": 0.01}
EXACT = {"algorithm": "panoc", "tol": 1e-9, "max_passes": 4000}
WEIGHTS = [
    {"reduction": "mean"},
    {"reduction": "task_mean"},
    {"reduction": "sum", "group_strength": 2.0, "l1_strength": 1.0, "frobenius_strength": 1.0},
    {"reduction": "mean", "class_weight": "balanced"},
    {"reduction": "sum", "class_weight": (1.0, 3.0), "group_strength": 2.0},
    {"reduction": "mean", "own_strength": 0.05},
]
with_own_parts_or_not = pytest.mark.parametrize("own", [None, 0.05], ids=["shared", "own"])


def make_head(n_latents=None, **options):
    options = {"dtype": torch.float64, **STRENGTHS, "tol": 1e-4, "max_passes": 300, **options}
    return LatentMTLHead(D, M, GROUPS, n_latents, **options)


@pytest.fixture(scope="module", params=[None, 0.05], ids=["shared", "own"])
def exact(request):
    """A head solved to high accuracy, not to be changed."""
    head = make_head(2, own_strength=request.param, **EXACT)
    head.solve(X, Y)
    assert (head.V is not None) == (request.param is not None)
    return head


# ------------------------------------------------------------------ scores and the solve


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("features", [X, PER_TASK], ids=["shared", "tasks"])
def test_scores_are_those_of_the_solved_model(features, intercept):
    head = make_head(3, fit_intercept=intercept)
    result = head.solve(features, Y)
    assert result is head.result
    expected = result.decision_function(features)
    if features.ndim == 3:
        expected = torch.stack(expected, dim=1)
    scores = head(features)
    assert scores.shape == (N, M)
    torch.testing.assert_close(scores, expected)
    assert not scores.requires_grad
    assert bool(head.solved)
    assert (head.intercept is not None) == intercept


def test_a_solve_starts_from_the_last(exact):
    head = copy.deepcopy(exact)
    again = head.solve(X, Y)
    assert again.passes < 0.2 * exact.result.passes
    assert again.certificate.objective <= exact.result.certificate.objective + 1e-12


def test_a_solve_is_resumed_exactly():
    model = make_head(2, **EXACT)
    whole = model.solve(X, Y, stop=MaxPasses(60))
    first = make_head(2, **EXACT)
    part = first.solve(X, Y, stop=MaxPasses(30))
    for state in (part.state, part.state.state_dict()):
        second = make_head(2, **EXACT)
        rest = second.solve(X, Y, state=state, stop=MaxPasses(60))
        assert rest.iterations == whole.iterations
        assert torch.equal(second.L, model.L)


def test_features_in_half_precision_under_autocast_are_solved_in_single():
    head = LatentMTLHead(D, M, GROUPS, 2, **STRENGTHS, tol=1e-3, max_passes=100)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = head.solve(X.bfloat16(), Y)
        scores = head(X.bfloat16())
        x = X.bfloat16().requires_grad_()
        loss = head.loss(x, Y)
    plain = LatentMTLHead(D, M, GROUPS, 2, **STRENGTHS, tol=1e-3, max_passes=100)
    plain.solve(X.bfloat16(), Y)
    assert torch.equal(head.L, plain.L)
    assert result.certificate.solved_in == "float32"
    assert scores.dtype == torch.bfloat16
    assert loss.dtype == torch.float32
    loss.backward()
    assert x.grad.dtype == torch.bfloat16
    wide = X.bfloat16().float().requires_grad_()
    head.loss(wide, Y).backward()
    torch.testing.assert_close(x.grad.float(), wide.grad, rtol=1e-2, atol=1e-5)


def test_a_collapsed_model_is_not_started_from_again():
    head = make_head(2, group_strength=50.0)
    assert head.solve(X, Y).status is Status.COLLAPSED
    assert not head.coef.any()
    head.model = make_head(2).model
    assert not head.solve(X, Y).collapsed


# ------------------------------------------------------------------ losses


@pytest.mark.parametrize("options", WEIGHTS, ids=str)
@pytest.mark.parametrize("features", [X, PER_TASK], ids=["shared", "tasks"])
def test_the_loss_is_the_objective_of_the_whole_training_set(features, options):
    head = make_head(2, max_passes=50, **options)
    weight = torch.linspace(0.5, 1.5, N).double()
    result = head.solve(features, Y, weight)
    loss = head.loss(features, Y, weight)
    assert float(loss) == pytest.approx(result.certificate.objective, rel=1e-12)
    # batches estimate it without bias: here two halves with equally many labels
    full = torch.where(torch.isnan(Y), 1.0, Y)
    head.take_labels(full)
    whole = head.loss(features, full)
    halves = [
        head.loss(features[..., part, :], full[part]) for part in (slice(0, 15), slice(15, 30))
    ]
    torch.testing.assert_close(sum(halves) / 2, whole)


def test_the_gradient_of_the_loss_is_that_of_the_optimal_value(exact):
    """Danskin, against solving again from the solution; and the paper's two phases."""
    x = X.clone().requires_grad_()
    (grad,) = torch.autograd.grad(exact.loss(x, Y), x)
    direction = torch.randn(X.shape, generator=torch.Generator().manual_seed(0)).double()
    h, ends = 1e-4, []
    for k in (1, -1, 2, -2):
        head = copy.deepcopy(exact)
        ends.append(head.solve(X + k * h * direction, Y).certificate.objective)
    slope = (8 * (ends[0] - ends[1]) - (ends[2] - ends[3])) / (12 * h)
    assert float((grad * direction).sum()) == pytest.approx(slope, rel=1e-6)
    W, b = exact.result.coef, exact.result.intercept
    targets = Targets.from_labels(Y, reduction="mean")
    slack = torch.relu(1 - targets.labels * (x @ W + b))
    (two_phase,) = torch.autograd.grad((targets.weights * slack.square()).sum() / 2, x)
    torch.testing.assert_close(grad, two_phase, rtol=1e-12, atol=1e-15)
    scaled = torch.autograd.grad(3 * exact.loss(x, Y), x)[0]
    torch.testing.assert_close(scaled, 3 * grad)


def test_the_loss_passes_gradcheck():
    head = make_head(2, loss=Logistic())
    for features in (X[:6], PER_TASK[:, :6]):
        x = features.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda x: head.loss(x, Y[:6]), x)
    trained = make_head(2, trainable=True)
    inputs = (trained.L, trained.S, trained.intercept)

    def value(*_):
        return trained.loss(X[:6], Y[:6]) - trained.penalty()  # the penalty is for the prox

    assert torch.autograd.gradcheck(value, inputs)


def test_a_second_derivative_is_refused_with_the_reason(exact):
    x = X.clone().requires_grad_()
    (grad,) = torch.autograd.grad(exact.loss(x, Y), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiated once"):
        grad.square().sum().backward()


def test_attach_gives_the_solution_a_gradient(exact):
    x = X.clone().requires_grad_()
    own = [] if exact.V is None else [exact.model.own_strength]
    known = [*STRENGTHS.values(), *own]
    strengths = torch.tensor(known, dtype=torch.float64, requires_grad=True)
    found = exact.attach(x, Y, strengths=strengths, adjoint=Implicit())
    L, S, _, *V = found.solution
    outer = ((X[:8] @ (L @ S + sum(V))) ** 2).mean()
    by_x, by_s = torch.autograd.grad(outer, (x, strengths), retain_graph=True)
    in_mu, in_gamma, in_lambda = (by_s * strengths.detach()).tolist()[:3]
    assert abs(in_mu - in_gamma - 2 * in_lambda) < 1e-6 * float(by_s.norm())
    assert float(by_x.norm()) > 0
    (by_value,) = torch.autograd.grad(found.objective, x)
    torch.testing.assert_close(by_value, torch.autograd.grad(exact.loss(x, Y), x)[0])
    with pytest.raises(UnsupportedError, match="Implicit"):
        exact.attach(x, Y).solution[0].sum().backward()


# ------------------------------------------------------------------ batches


@with_own_parts_or_not
@pytest.mark.parametrize("features", [X, PER_TASK], ids=["shared", "tasks"])
def test_proximal_steps_on_all_samples_descend_to_a_stationary_point(features, own):
    head = make_head(2, own_strength=own)
    values = [float(head.prox_step(features, Y).detach()) for _ in range(120)]
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(values))
    labels = Y if features.ndim == 2 else list(Y.T)
    problem = head.model.problem(features, labels)
    blocks = tuple(block.detach() for block in head.factors())
    before = make_head(2, own_strength=own)
    start = problem.certificate(tuple(block.detach() for block in before.factors()))
    assert problem.certificate(blocks).kkt < 0.05 * start.kkt
    assert values[-1] == pytest.approx(problem.objective(blocks))


def test_proximal_steps_on_batches_come_near_the_solution():
    head = make_head(2)
    reference = make_head(2, **EXACT).solve(X, Y).certificate.objective
    generator = torch.Generator().manual_seed(0)
    first = float(head.loss(X, Y))
    for t in range(300):
        batch = torch.randperm(N, generator=generator)[:10]
        head.prox_step(X[batch], Y[batch], lr=0.3 / (1 + t / 50))
    final = float(head.loss(X, Y))
    assert final < reference + 0.1 * (first - reference)


def test_a_batch_needs_neither_both_classes_nor_every_label():
    head = make_head(2)
    labels = torch.ones(3, M).double()
    labels[:, 0] = math.nan
    x = X[:3].clone().requires_grad_()
    head.prox_step(x, labels, steps=2).backward()
    assert bool(torch.isfinite(x.grad).all())
    nothing = head.loss(x, torch.full((3, M), math.nan))
    assert float((nothing - head.penalty()).detach()) == 0


@with_own_parts_or_not
def test_trained_parameters_and_prox_reach_the_solution(own):
    head = make_head(2, trainable=True, own_strength=own)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.3, momentum=0.8)
    wrapped = ProximalOptimizer(optimizer, head.penalties())
    for _ in range(600):
        wrapped.zero_grad()
        loss = head.loss(X, Y)
        loss.backward()
        wrapped.step()
    problem = head.model.problem(X, Y)
    certificate = problem.certificate(tuple(block.detach() for block in head.factors()))
    assert certificate.relative_kkt < 1e-4
    assert bool((head.L == 0).any())
    assert float(wrapped.penalty()) == pytest.approx(float(head.penalty()))


# ------------------------------------------------------------------ a torch module


def test_state_dict_before_and_after_a_solve(exact):
    own = exact.model.own_strength
    fresh = make_head(2, own_strength=own)
    assert fresh.load_state_dict(exact.state_dict(), strict=True)
    torch.testing.assert_close(fresh(X), exact(X), rtol=0, atol=0)
    assert bool(fresh.solved)
    assert float(fresh.loss(X, Y)) == float(exact.loss(X, Y))
    # no K was asked for: that of the checkpoint is taken, also inside another module
    inside = torch.nn.Sequential(torch.nn.Identity(), make_head(own_strength=own))
    assert inside[1].n_latents == M
    inside.load_state_dict({f"1.{k}": v for k, v in exact.state_dict().items()})
    assert inside[1].n_latents == 2
    torch.testing.assert_close(inside(X), exact(X), rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="size mismatch"):
        make_head(3, own_strength=own).load_state_dict(exact.state_dict())
    with pytest.raises(RuntimeError, match="Missing"):
        make_head(2).load_state_dict({})


def test_moving_it_keeps_the_counts(exact):
    head = copy.deepcopy(exact).half()
    assert head.L.dtype == torch.float16
    assert head.census.observed.dtype == torch.float64
    assert float(head.census.observed) == float(exact.census.observed)
    head = head.to(torch.float32)
    torch.testing.assert_close(head(X.float()), exact(X).float(), rtol=1e-2, atol=1e-2)
    x = X.clone().requires_grad_()
    assert head.loss(x, Y).dtype == torch.float64


def test_forward_compiles_without_a_graph_break(exact):
    for features in (X, PER_TASK):
        compiled = torch.compile(exact, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(features), exact(features))
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: LatentMTLHead(0, M), "n_features"),
        (lambda: LatentMTLHead(D, M + 1, GROUPS), "groups"),
        (lambda: make_head(2, group_strength=-1.0), "group_strength"),
        (lambda: make_head(2, reduction="sum").loss(X, Y), "take_labels"),
        (lambda: make_head(2, class_weight="balanced").prox_step(X, Y), "take_labels"),
        (lambda: make_head(2).loss(X, Y[1:]), "labels"),
        (lambda: make_head(2).prox_step(X, Y, lr=0.0), "lr"),
        (lambda: make_head(2).prox_step(X, Y, steps=-3), "steps: got -3"),
        (lambda: make_head(2).solve(X, 0 * Y), "labels"),
    ],
)
def test_bad_arguments_say_what_to_do(make, match):
    with pytest.raises(ValueError, match=match):
        make()


def test_features_of_a_diverged_network_are_called_so():
    for features, name in ((X, "features"), (PER_TASK, r"features\[2\]")):
        bad = features.clone()
        (bad if bad.ndim == 2 else bad[2])[3, 1] = math.nan
        with pytest.raises(ValueError, match=rf"^{name}: not finite .*lower its learning rate"):
            make_head(max_passes=5).solve(bad, Y)


def test_a_batch_without_samples_is_refused():
    head = make_head(max_passes=5)
    for features in (X[:0], PER_TASK[:, :0]):
        for loss in (head.loss, head.network_loss, head.prox_step):
            with pytest.raises(ValueError, match="the batch has no sample"):
                loss(features, Y[:0])


def test_options_are_those_of_the_model():
    head = make_head(3, loss=Logistic(), random_state=4)
    assert isinstance(head.model, LatentMTL)
    assert head.model.loss == Logistic()
    other = make_head(3, random_state=5)
    assert not torch.equal(head.L, other.L)
    assert "n_latents=3" in repr(head)
