"""Does sharing pay? Classifiers that choose whether to share, against scikit-learn's.

    python bench/pays.py
    python bench/pays.py --only awa --draws 2

Each draw has its own training rows, and labels hidden at random where a share is given. On the same
training rows, and with the same number of folds, three models choose their strengths by
cross-validation: scikit-learn's ``LogisticRegressionCV`` for each attribute alone, ours alone, and
ours with a shared part. The test rows are scored once. Finished draws are kept in
``bench/results/pays.json`` and not run again; the table that is printed stands in docs/sharing.md.
"""

from __future__ import annotations

import io
import lzma
import time
import warnings
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import clothing_features
import numpy as np
import record
import typer
from scipy import stats
from scipy.io import arff
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import average_precision_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from proxmtl.backbones.data import data_root, load_clothing
from proxmtl.estimators import SharedPlusOwnClassifierCV, SingleTaskClassifierCV
from proxmtl.io import load_digit_attributes

FOLDS = 5
PEER, ALONE, SHARED = "LogisticRegressionCV", "SingleTaskClassifierCV", "SharedPlusOwnClassifierCV"
SETTINGS = {"folds": FOLDS, "scoring": "average_precision", "Cs": 10}


class Draw(NamedTuple):
    """Training and test part; labels 0/1, NaN where they are hidden or not known."""

    X: np.ndarray
    Y: np.ndarray
    X_test: np.ndarray
    Y_test: np.ndarray


class Setting(NamedTuple):
    """A data set at one size and share of the labels."""

    data: Callable[[], tuple[np.ndarray, np.ndarray]]
    train: int
    test: int
    share: float = 1.0

    def draw(self, seed: int) -> Draw:
        """Rows and labels of a draw; attributes need two labels of each class to be learnt."""
        X, Y = self.data()
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(X))
        train, test = order[: self.train], order[self.train : self.train + self.test]
        labels = Y[train].astype(np.float64)
        if self.share < 1:
            labels[rng.random(labels.shape) >= self.share] = np.nan
        enough = ((labels == 1).sum(0) >= 2) & ((labels == 0).sum(0) >= 2)
        known = (Y[test] == 1).any(0) & (Y[test] == 0).any(0)
        kept = enough & known
        return Draw(X[train], labels[:, kept], X[test], Y[test][:, kept])


def awa() -> tuple[np.ndarray, np.ndarray]:
    """Animals with Attributes: 30,475 images, 512 features, 85 attributes of their classes."""
    folder = data_root() / "awa1"
    with np.load(folder / "features_pca512_int8.npz") as stored:
        X = stored["features"].astype(np.float32) * stored["scale"]
        label = stored["label"]
    matrix = np.loadtxt(folder / "predicate-matrix-binary.txt")
    return X, matrix[label]


def clothing() -> tuple[np.ndarray, np.ndarray]:
    """Clothing Attributes: 1,856 images, 1,280 features of EfficientNet-Lite0, 23 attributes."""
    data = load_clothing(data_root() / "clothing_attributes")
    return clothing_features.features_of("efficientnet"), data.Y


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Handwritten digits: 1,797 images, 64 pixels, 21 attributes."""
    data = load_digit_attributes()
    assert len(data.X) == len(load_digits().target)
    return data.X, data.Y


def mulan(name: str, n_labels: int, files: tuple[str, ...]) -> Callable[[], Any]:
    """A multi-label set of MULAN, its parts joined; the labels are the last columns."""

    def load() -> tuple[np.ndarray, np.ndarray]:
        folder = data_root() / "mtl_tabular" / "mulan"
        parts = []
        for file in files:
            text = lzma.decompress((folder / f"{name}__{file}.arff.xz").read_bytes()).decode()
            rows, _ = arff.loadarff(io.StringIO(text))
            parts.append(
                np.array([[_number(value) for value in row] for row in rows], dtype=np.float64)
            )
        table = np.concatenate(parts)
        return table[:, :-n_labels], table[:, -n_labels:]

    return load


def _number(value: object) -> float:
    return float(value.decode()) if isinstance(value, bytes) else float(value)


def _split(name: str) -> tuple[str, ...]:
    return (f"{name}-train", f"{name}-test")


SETTINGS_OF = {
    "awa 5 %": Setting(awa, 2000, 4000, 0.05),
    "awa 20 %": Setting(awa, 2000, 4000, 0.2),
    "awa 600 images": Setting(awa, 600, 4000),
    "clothing 1114 images": Setting(clothing, 1114, 742),
    "clothing 400 images": Setting(clothing, 400, 742),
    "clothing 10 %": Setting(clothing, 1114, 742, 0.1),
    "digits 300 images": Setting(digits, 300, 1497),
    "digits 20 %": Setting(digits, 600, 1197, 0.2),
    "emotions": Setting(mulan("emotions", 6, _split("emotions")), 391, 202),
    "emotions 25 %": Setting(mulan("emotions", 6, _split("emotions")), 391, 202, 0.25),
    "scene": Setting(mulan("scene", 6, _split("scene")), 1211, 1196),
    "scene 10 %": Setting(mulan("scene", 6, _split("scene")), 1211, 1196, 0.1),
    "birds": Setting(mulan("birds", 19, _split("birds")), 322, 323),
    "cal500": Setting(mulan("cal500", 174, ("cal500",)), 300, 202),
}


def peer_scores(draw: Draw) -> np.ndarray:
    """Scores of scikit-learn's classifier for each attribute, on its own labelled rows."""
    scores = np.empty(draw.Y_test.shape)
    for m, y in enumerate(draw.Y.T):
        seen = ~np.isnan(y)
        folds = max(2, min(FOLDS, int(y[seen].sum()), int((1 - y[seen]).sum())))
        model = make_pipeline(
            StandardScaler(),
            LogisticRegressionCV(
                Cs=SETTINGS["Cs"],
                cv=folds,
                scoring="average_precision",
                max_iter=300,
                use_legacy_attributes=False,
                l1_ratios=(0.0,),
            ),
        )
        scores[:, m] = model.fit(draw.X[seen], y[seen]).decision_function(draw.X_test)
    return scores


def our_scores(kind: type[SingleTaskClassifierCV], draw: Draw, seed: int) -> np.ndarray:
    """Scores of one of our classifiers."""
    model = kind(cv=FOLDS, random_state=seed)
    return model.fit(draw.X, draw.Y).decision_function(draw.X_test)


def run(setting: Setting, seed: int) -> dict[str, Any]:
    """Average precision by attribute and processor time of each model on one draw."""
    draw = setting.draw(seed)
    models: dict[str, Callable[[], np.ndarray]] = {
        PEER: lambda: peer_scores(draw),
        ALONE: lambda: our_scores(SingleTaskClassifierCV, draw, seed),
        SHARED: lambda: our_scores(SharedPlusOwnClassifierCV, draw, seed),
    }
    found: dict[str, Any] = {"attributes": draw.Y.shape[1], "labels": int((draw.Y >= 0).sum())}
    for name, scores_of in models.items():
        begin = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.simplefilter("ignore", UserWarning)
            scores = scores_of()
        seconds = time.process_time() - begin
        ap = [_precision(y, z) for y, z in zip(draw.Y_test.T, scores.T, strict=True)]
        found[name] = {"ap": [float(f"{a:.5f}") for a in ap], "cpu_seconds": round(seconds, 2)}
    return found


def _precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Average precision of an attribute on the rows of which its label is known."""
    seen = ~np.isnan(labels)
    return float(average_precision_score(labels[seen], scores[seen]))


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Mean over draws of one data set, and half the width of its 95 % confidence interval.

    Draws overlap, so the interval is of the draws, not of other data sets.
    """
    n = len(differences)
    if n < 2:
        return float(differences.mean()), float("nan")
    half = stats.t.ppf(0.975, n - 1) * differences.std(ddof=1) / np.sqrt(n)
    return float(differences.mean()), float(half)


def table(runs: dict[str, Any]) -> list[str]:
    """Lines of the table, in Markdown."""
    lines = [
        "| setting | attributes | labels each | draws | LRCV | alone | shared | gain | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in SETTINGS_OF:
        draws = [runs[key] for key in sorted(runs) if key.rsplit(" #", 1)[0] == name]
        if not draws:
            continue
        means = {
            model: np.array([100 * np.mean(d[model]["ap"]) for d in draws])
            for model in (PEER, ALONE, SHARED)
        }
        seconds = [
            f"{np.mean([d[model]['cpu_seconds'] for d in draws]):.1f}"
            for model in (PEER, ALONE, SHARED)
        ]
        gain, half = interval(means[SHARED] - means[PEER])
        figures = " | ".join(f"{values.mean():.1f}" for values in means.values())
        each = np.mean([d["labels"] / d["attributes"] for d in draws])
        lines.append(
            f"| {name} | {draws[0]['attributes']} | {each:.0f} | {len(draws)} | {figures} | "
            f"{gain:+.1f} ± {half:.1f} | {', '.join(seconds)} |"
        )
    return lines


def main(
    only: Annotated[str, typer.Option(help="Settings whose name contains this.")] = "",
    draws: Annotated[int, typer.Option(help="Draws of each setting.", min=1)] = 5,
    threads: Annotated[int, typer.Option(help="Threads of the BLAS.", min=1)] = 1,
) -> None:
    """Run the settings draw by draw and print the table."""
    sizes = {name: [s.train, s.test, s.share] for name, s in SETTINGS_OF.items()}
    settings = {**SETTINGS, "threads": threads, "sizes": sizes}
    runs = record.runs_so_far("pays", settings)
    for seed in range(draws):
        for name, setting in SETTINGS_OF.items():
            key = f"{name} #{seed}"
            if only not in name or key in runs:
                continue
            with threadpool_limits(threads):
                runs[key] = run(setting, seed)
            record.save("pays", {"settings": settings, "runs": runs})
            means = [100 * np.mean(runs[key][model]["ap"]) for model in (PEER, ALONE, SHARED)]
            print(key, *(f"{mean:.2f}" for mean in means), flush=True)
    print("\n".join(table(runs)))


if __name__ == "__main__":
    typer.run(main)
