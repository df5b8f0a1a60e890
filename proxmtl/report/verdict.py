"""What a report says in words: how good a model is, what sharing gives and what is zero."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from proxmtl.report.names import out_of, printable, some
from proxmtl.wording import agree, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from proxmtl.report.comparison import Comparison
    from proxmtl.report.runs import Model, ReportedRun

__all__ = [
    "clear_gains",
    "comparison_sentence",
    "headline",
    "scaling_of",
    "verdict",
]


def percent(value: float) -> str:
    """A share, in words: ``87.6 %``."""
    return "-" if not np.isfinite(value) else f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of shares, with its sign."""
    return f"{round(100 * value, 1) + 0.0:+.1f}".replace("-", "−")


def headline(
    run: ReportedRun, tables: Sequence[pd.DataFrame], by_sharing: Comparison | None = None
) -> str:
    """Say the main findings of a run: how good the model is, and what sharing gives.

    Parameters
    ----------
    run
        The run.
    tables
        Scores of its models.
    by_sharing
        The attributes that share beside the same ones alone, on the rows held out, where known.
    """
    found = [_quality(run, tables)]
    if run.sharing is not None:
        found.append(_of_sharing(run.sharing))
    if by_sharing is not None:
        n = len(by_sharing.table)
        found.append(
            f"On {run.scored_on} sharing changes the mean average precision of the "
            f"{counted(n, 'attribute')} that {agree(n, 'shares', 'share')} by "
            f"{points(by_sharing.mean)} points{_interval(by_sharing)}."
        )
    return " ".join(found)


def _quality(run: ReportedRun, tables: Sequence[pd.DataFrame]) -> str:
    if not tables:
        return "This model could not be scored."
    best = max(range(len(tables)), key=lambda i: _mean(tables[i]["ap"]))
    table = tables[best]
    found = f"Mean average precision {percent(_mean(table['ap']))}"
    if not run.held_out_metrics:
        found = f"On the samples that it was fitted on: m{found[1:]}"
    if len(tables) > 1:
        return f"{found} with {list(run.metrics)[best]}, the best of {len(tables)} models."
    return (
        f"{found}, where chance has {percent(_chance(table))}; accuracy "
        f"{percent(_mean(table['accuracy']))}, where the more frequent answer has "
        f"{percent(_mean(table['majority']))}."
    )


def _of_sharing(report: pd.DataFrame) -> str:
    shared, clear = report[report["shared"].astype(bool)], clear_gains(report)
    if not len(shared):
        return "In cross-validation sharing was no gain, so nothing is shared."
    if not clear:
        chosen = out_of(len(shared), len(report))
        return f"Sharing was chosen for {chosen}, but no gain of it is clear."
    found = _by_labels(shared)
    most = ", most where labels are few" if found is not None and found.few > found.others else ""
    gain = f"{points(_mean(report.loc[clear, 'gain']))} points of average precision"
    return (
        f"In cross-validation sharing clearly helps {out_of(len(clear), len(report))}{most}: {gain}"
        f"{agree(len(clear), '', ' on average')}."
    )


class _ByLabels(NamedTuple):
    """Mean gains of the attributes with few positive labels to fit on, and of the others."""

    few: float
    others: float
    n_few: int
    """Attributes with few."""
    cut: float
    """Most positive labels of these."""


def _by_labels(shared: pd.DataFrame) -> _ByLabels | None:
    """Gains by numbers of positive labels; None where all attributes have as many."""
    gain, positives = shared["gain"].to_numpy(float), shared["positives"].to_numpy(float)
    few = positives <= np.median(positives)
    if few.all():
        return None
    cut = float(positives[few].max())
    return _ByLabels(_mean(gain[few]), _mean(gain[~few]), int(few.sum()), cut)


def verdict(run: ReportedRun, models: Sequence[Model], tables: Sequence[pd.DataFrame]) -> list[str]:
    """Say how good a run is, what sharing gives and what is zero."""
    found = [
        _scores(model, table, run.scored_on, named=len(tables) > 1)
        for model, table in zip(models, tables, strict=True)
    ]
    if run.sharing is not None:
        found += _sharing(run.sharing)
        scaled = scaling_of(run.sharing)
        found += [f"Features are {scaled}."] if scaled else []
    return found + _structure(run)


def comparison_sentence(comparison: Comparison) -> str:
    """Say by how much a model is ahead of the first one."""
    other, first = printable(comparison.label), printable(comparison.reference)
    n, of = len(comparison.table), counted(comparison.n_samples, "labelled sample")
    if not comparison.table["difference"].to_numpy().any():
        return f"{other} has the same AP as {first} for {counted(n, 'attribute')} in common."
    return (
        f"{other} against {first}: {points(comparison.mean)} points of mean AP"
        f"{_interval(comparison, f', paired bootstrap of {of}')}; "
        f"ahead for {comparison.ahead} and behind for {comparison.behind} of "
        f"{counted(n, 'attribute')} in common."
    )


def _interval(comparison: Comparison, how: str = "") -> str:
    """Of the mean difference, in brackets; empty where it isn't known."""
    low, high = comparison.mean_low, comparison.mean_high
    if np.isnan(low):
        return ""
    if max(abs(low), abs(high)) < 0.0005:  # both would be shown as 0.0
        return f" (95 % interval within 0.05 points of 0{how})"
    return f" (95 % interval {points(low)} to {points(high)}{how})"


def _sharing(report: pd.DataFrame) -> list[str]:
    shared = report[report["shared"].astype(bool)]
    if not len(shared):  # the headline says so
        return []
    clear, losses = clear_gains(report), clear_gains(report, sign=-1)
    gain = shared["gain"].to_numpy(float)
    found = [
        (
            f"Cross-validation chose sharing for {out_of(len(shared), len(report))}: "
            f"{points(_mean(gain))} points of AP on average. The gain is above two standard "
            f"errors for {len(clear)}, and a loss by as much for {len(losses)}. The strengths were "
            "chosen by the same folds, which makes these gains a little too good."
        )
    ]
    if clear:
        best = report.loc[clear].sort_values("gain", ascending=False).head(3)
        each = (
            f"{printable(str(name))} {points(row['gain'])} ± {100 * row['gain_error']:.1f}"
            for name, row in best.iterrows()
        )
        found.append(f"Largest clear gains, with standard errors: {', '.join(each)}.")
    split = _by_labels(shared)
    if split is not None:
        more = "More" if split.few > split.others else "No more"
        found.append(
            f"{more} is gained where labels are few: {points(split.few)} points for the "
            f"{counted(split.n_few, 'attribute')} with at most {split.cut:g} positive labels, "
            f"{points(split.others)} for the others."
        )
    return found


_SCALED = {
    "unit variance": "scaled to unit variance",
    "Pareto": "divided by the roots of their standard deviations",
    "as given": "left on their own scales",
}


def scaling_of(report: pd.DataFrame) -> str:
    """How features are scaled, in words; empty where a report of a search doesn't say."""
    if "scaling" not in report:
        return ""
    chosen = report["scaling"].astype(str)
    if "shared" in report and 0 < report["shared"].sum() < len(report):
        shared = report["shared"].astype(bool)
        together, alone = (_scaled(each.iloc[0]) for each in (chosen[shared], chosen[~shared]))
        return together if together == alone else f"{together} (of attributes alone: {alone})"
    return _scaled(chosen.iloc[0])


def _scaled(name: str) -> str:
    base, *relevance = name.split(", ")
    scaled = _SCALED.get(base, base)
    if relevance:  # the scaling is that of the models that tell it
        told = "" if base == "unit variance" else f" on features {scaled}"
        return (
            "scaled to unit variance, and weighed by their relevance to all attributes, the size "
            f"of their coefficients in models of each attribute alone{told}"
        )
    return scaled


def clear_gains(report: pd.DataFrame, sign: int = 1) -> list[str]:
    """Attributes that share, whose gain (or loss) is above two standard errors."""
    clear = report["shared"].astype(bool) & (sign * report["gain"] > 2 * report["gain_error"])
    return [str(name) for name in report.index[clear]]


def _scores(model: Model, table: pd.DataFrame, on: str, *, named: bool) -> str:
    scored = int(np.isfinite(table["ap"]).sum())
    behind_in = table.index[table["accuracy"] < table["majority"] - 1e-12]
    worse = len(behind_in)
    which = f" ({some([str(name) for name in behind_in])})"
    if not named:  # the headline has the rest
        behind = (
            f" For {out_of(worse, len(table))}{which} always giving the more frequent answer is "
            "right more often than the model is."
        )
        return (
            f"These are means over {counted(scored, 'attribute')}, scored on "
            f"{on or 'samples that the folder does not name'}; the mean AUC is "
            f"{percent(_mean(table['auc']))}.{behind if worse else ''}"
        )
    behind = (
        f" For {out_of(worse, len(table))}{which} that is more than the model has." if worse else ""
    )
    return (
        f"{printable(model.label)}: on {on or 'the scored samples'} the mean AP of "
        f"{counted(scored, 'attribute')} is {percent(_mean(table['ap']))} "
        f"(chance {percent(_chance(table))}), the mean AUC {percent(_mean(table['auc']))} and the "
        f"accuracy {percent(_mean(table['accuracy']))}, where always giving the more frequent "
        f"answer is right for {percent(_mean(table['majority']))}.{behind}"
    )


def _structure(run: ReportedRun) -> list[str]:
    found = []
    if run.latents is not None:
        S = run.latents.S
        live = run.latents.order
        several = sum(np.count_nonzero(S[k]) > 1 for k in live)
        if not live:
            shared = run.sharing is not None and run.sharing["shared"].any()
            how = "by relevance of features alone" if shared else "nothing with each other"
            return [f"No latent task is in use: attributes share {how}."]
        sentence = (
            f"{len(live)} of {counted(len(S), 'latent task')} {agree(len(live), 'is', 'are')} in "
            f"use, {several} of them by more than one attribute"
        )
        zeros = np.count_nonzero(S == 0) / max(S.size, 1)
        found.append(
            f"{sentence}; {100 * zeros:.0f} % of S {'is' if zeros else 'are'} exactly zero."
        )
    return found


def _chance(table: pd.DataFrame) -> float:
    """Mean AP of scores at random, over the attributes that have an AP."""
    return _mean(table["prevalence"][np.isfinite(table["ap"])])


def _mean(values: object) -> float:
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return float(known.sum() / len(known)) if len(known) else float("nan")
