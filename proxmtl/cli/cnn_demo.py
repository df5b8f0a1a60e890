"""The work of ``proxmtl demo --cnn``: small networks trained jointly on the digits."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from proxmtl.backbones.data import ImageTable
from proxmtl.backbones.training import (
    Architecture,
    LatentHead,
    SingleTaskHead,
    Trainer,
    TrainingConfig,
)
from proxmtl.cli.console import make_console, shown_path
from proxmtl.cli.digits_demo import demo_folder, one_thread
from proxmtl.cli.digits_unseen import digit_rows, zero_shot_accuracy
from proxmtl.cli.parts import Parts
from proxmtl.cli.trained import trained_metrics, write_trained
from proxmtl.cli.training import train_with_bar
from proxmtl.experiments import TOTAL, group_means
from proxmtl.groups import Groups
from proxmtl.io import load_digit_attributes, write_text
from proxmtl.latent import LatentMTL
from proxmtl.report.tables import comparison_table
from proxmtl.wording import counted

if TYPE_CHECKING:
    from proxmtl.backbones.training import Head
    from proxmtl.cli.demo import DemoOptions

__all__ = ["run_cnn_demo"]

FROZEN, SINGLE, JOINT = "frozen random, groups", "single-task CNN", "joint CNN, groups"

SINGLE_STRENGTH = 1.0
GROUP_STRENGTH, L_STRENGTH = 0.05, 3e-4
CHANCE = 0.5
LEARNING_RATE = 1e-3
"""Of networks that start from random weights; the paper's 0.01 is for pretrained ones."""


def run_cnn_demo(options: DemoOptions, epochs: int) -> None:
    """Train both kinds of networks, print the table, write the run folder of the joint one."""
    console = make_console()
    data = load_digit_attributes()
    groups = Groups.from_names(data.groups, data.names)
    rows = digit_rows(data, options.n_train, options.observed, options.seed)
    train, test = rows.train, rows.test
    pixels = (data.X.reshape(-1, 1, 8, 8) * 15).astype(np.uint8)
    ids = tuple(str(i) for i in range(len(pixels)))
    table = ImageTable(pixels, rows.labels, data.names, ids)
    architecture = Architecture(n_members=len(data.names), widths=(8, 16), n_features=16)
    console.print(
        f"[bold]Digits with attributes[/]: {len(data.names)} networks, one an attribute, trained "
        f"for {counted(epochs, 'epoch')} on {counted(len(train), 'image')}, of which "
        f"{options.observed:.0%} of the labels are known; {len(test)} images to test on, with all "
        "labels. "
        f"The digits {_pair(rows.digits)} are in none of them: their {len(rows.unseen)} images are "
        "for zero-shot recognition."
    )
    config = TrainingConfig(
        epochs=epochs, batch_size=32, learning_rate=LEARNING_RATE, patience=3, seed=options.seed
    )
    latent = LatentMTL(
        groups=groups,
        n_latents=10,
        group_strength=GROUP_STRENGTH,
        l1_strength=L_STRENGTH,
        frobenius_strength=L_STRENGTH,
        max_passes=options.max_passes,
    )
    heads: dict[str, Head] = {
        SINGLE: SingleTaskHead(SINGLE_STRENGTH, max_passes=options.max_passes),
        JOINT: LatentHead(latent),
    }
    trainers, metrics, seconds, unseen = {}, {}, {}, {}
    with Parts() as parts, demo_folder(options.out, force=options.force) as staging:
        with one_thread():
            for name, head in heads.items():
                begin = time.perf_counter()
                networks = architecture.ensemble(options.seed)  # the same start for both
                trainer = Trainer(networks, head, table, config, train=train, test=test)
                if name == JOINT:
                    trainer.advance()
                    metrics[FROZEN] = trained_metrics(trainer, trainer.test)
                    unseen[FROZEN] = zero_shot_accuracy(trainer, data, rows)
                train_with_bar(trainer)
                trainers[name], seconds[name] = trainer, time.perf_counter() - begin
                metrics[name] = trained_metrics(trainer, trainer.test)
                unseen[name] = zero_shot_accuracy(trainer, data, rows)
            unseen = {name: unseen[name] for name in (FROZEN, SINGLE, JOINT)}
            metrics = {name: metrics[name] for name in (FROZEN, SINGLE, JOINT)}
        joint = trainers[JOINT]
        means = {name: group_means(table, groups) for name, table in metrics.items()}
        write_trained(
            staging,
            parts,
            joint,
            architecture,
            metrics=metrics,
            summary={
                "scored_on": f"{len(test)} test images",
                "groups": {name: m.to_dict(orient="index") for name, m in means.items()},
                "zero_shot": {name: _by_digit(found) for name, found in unseen.items()},
            },
            config=options.asked(cnn=True, epochs=epochs),
            groups=groups,
        )
        by_digit = pd.DataFrame(unseen).T.rename_axis("model")
        write_text(staging / "zero_shot.csv", by_digit.to_csv(float_format="%.6g"))
        for name, trainer in trainers.items():
            stem = "joint" if name == JOINT else "single"
            write_text(staging / f"history_{stem}.csv", trainer.figures())
    console.print()
    console.print(comparison_table(_rows(means, trainers, seconds)))
    console.print(
        "\n[bold]Zero-shot[/]: images of the unseen digits told apart by their attributes, in %; "
        f"by chance {CHANCE:.0%}"
    )
    console.print(comparison_table({name: _shown(found) for name, found in unseen.items()}))
    objectives = " ".join(f"{record.objective:.4g}" for record in joint.history)
    console.print(
        "AP and accuracy in % on the test images. The first column is the joint run before its "
        "first epoch: W = L S solved on the features of networks that know nothing.\n"
        f"Joint objective by epoch: {objectives}\n"
        f"\nrun folder -> {shown_path(options.out)}",
        soft_wrap=True,
    )
    parts.tell(options.out)


def _rows(
    means: dict[str, pd.DataFrame], trainers: dict[str, Trainer], seconds: dict[str, float]
) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for name, table in means.items():
        row: dict[str, Any] = {
            f"AP {group}": f"{100 * value:.1f}"
            for group, value in table["ap"].items()
            if group != TOTAL
        }
        row["AP total"] = f"{100 * table.loc[TOTAL, 'ap']:.1f}"
        row["accuracy total"] = f"{100 * table.loc[TOTAL, 'accuracy']:.1f}"
        record = trainers[SINGLE if name == SINGLE else JOINT].history[0 if name == FROZEN else -1]
        row["status of the last solve"] = record.status.lower()
        row["relative residual"] = f"{record.relative_kkt:.1e}"
        if record.live_latents is not None:
            row["live latents"] = str(record.live_latents)
        row["seconds"] = f"{seconds.get(name, trainers[JOINT].history[0].seconds):.0f}"
        rows[name] = row
    return rows


def _pair(digits: tuple[int, ...]) -> str:
    return " and ".join(map(str, digits))


def _by_digit(found: pd.Series) -> dict[str, float]:
    shares = {str(digit): float(share) for digit, share in found.items()}
    return {**shares, "mean": float(found.mean()), "chance": CHANCE}


def _shown(found: pd.Series) -> dict[str, str]:
    shares = _by_digit(found)
    mean = shares.pop("mean")
    del shares["chance"]
    rows = {f"digit {digit}": f"{100 * share:.1f}" for digit, share in shares.items()}
    return {**rows, "mean": f"{100 * mean:.1f}"}
