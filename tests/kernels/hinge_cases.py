"""Calls of `hinge_value_and_grad`: layouts, dtypes, masks, strides, special values."""

import torch
from hypothesis import strategies as st
from prox_cases import strided

LOSSES = ("squared_hinge", "logistic", "squared")
KINDS = ("shared", "dense", "ragged")


def random_call(kind, rows, n_features, *, dtype=torch.float32, seed=0, **options):
    """Arguments of one call: labels of each task, weights with zeros, NaN labels under them."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    n_tasks = len(rows)
    if kind == "shared":
        X = normal(rows[0] if rows else 3, n_features)
        shapes = [(len(X), n_tasks)]
    elif kind == "dense":
        X = normal(n_tasks, rows[0] if rows else 3, n_features)
        shapes = [X.shape[:2]]
    else:
        X = [normal(n, n_features) for n in rows]
        shapes = [(n,) for n in rows]
    labels, weights = [], []
    for shape in shapes:
        c = torch.rand(shape, generator=generator, dtype=torch.float64)
        c[c < 0.2] = 0
        y = normal(*shape).sign()
        y[c == 0] = float("nan")
        y[(c > 0.2) & (c < 0.3)] = 0
        labels.append(y)
        weights.append(c)
    if not options.get("weighted", True):
        labels = [y.nan_to_num(1) for y in labels]
    X = [x.to(dtype) for x in X] if kind == "ragged" else X.to(dtype)
    one = kind != "ragged"
    return {
        "X": X,
        "W": normal(n_features, n_tasks).to(options.get("parameters", torch.float32)),
        "Y": labels[0] if one else labels,
        "weights": (weights[0] if one else weights) if options.get("weighted", True) else None,
        "bias": normal(n_tasks) if options.get("biased", True) else None,
        "loss": options.get("loss", "squared_hinge"),
    }


@st.composite
def calls(draw):
    kind = draw(st.sampled_from(KINDS))
    n_tasks = draw(st.integers(0, 4))
    if kind == "ragged":
        rows = [draw(st.integers(0, 11)) for _ in range(n_tasks)]
    else:
        rows = [draw(st.integers(0, 11))] * n_tasks
    call = random_call(
        kind,
        rows,
        draw(st.sampled_from([0, 1, 2, 7, 16, 33])),
        dtype=draw(st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16])),
        parameters=draw(st.sampled_from([torch.float64, torch.float32])),
        seed=draw(st.integers(0, 99)),
        weighted=draw(st.booleans()),
        biased=draw(st.booleans()),
        loss=draw(st.sampled_from(LOSSES)),
    )
    features = call["X"] if kind == "ragged" else [call["X"]]
    if draw(st.booleans()):  # every second row of a larger matrix
        features = [x.repeat_interleave(2, -2)[..., ::2, :] for x in features]
    if draw(st.booleans()):
        call["W"] = call["W"].t().contiguous().t()
    layout = draw(st.sampled_from(["contiguous", "transposed", "sliced"]))
    for name in ("Y", "weights", "bias"):
        given = call[name]
        if isinstance(given, torch.Tensor):
            call[name] = strided(given, layout)
        elif given is not None:
            call[name] = [strided(each, layout) for each in given]
    special = draw(st.sampled_from([None, None, float("nan"), float("inf")]))
    if special is not None:
        for x in features[:1]:
            if x.numel():
                x[(-1,) * x.ndim] = special
    call["X"] = features if kind == "ragged" else features[0]
    return call
