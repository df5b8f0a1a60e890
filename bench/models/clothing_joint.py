"""Joint training of the networks on the Clothing images, against the same networks kept frozen.

    python -m bench.models.clothing_joint               # laptop: an hour or so on two cores
    python -m bench.models.clothing_joint --protocol paper --weights alexnet.pth --device cuda

*laptop*: one EfficientNet-Lite0 with ImageNet weights for all attributes, images of 128 x 128, its
first four stages kept. *paper*: 23 AlexNets from ImageNet weights, crops of 224 x 224 out of 256,
flips and colour shifts, momentum 0.9, weight decay 5e-4, rate 0.01, 50 epochs. One random split,
60 % to learn from. The strengths of every row are chosen once, on a quarter of the training part
and the frozen features of the start; the test part is only scored.

Epoch 0 of each row is the solved head on the frozen networks. Runs are kept in ``build/`` and go on
where they were interrupted. Writes bench/results/clothing_joint_<protocol>.json.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from bench import record
from proxmtl import Groups, LatentMTL
from proxmtl.backbones.data import ImageTable
from proxmtl.backbones.experiments.datasets import Clothing, data_root, load_clothing
from proxmtl.backbones.training import (
    Architecture,
    CropsAndFlips,
    Krizhevsky,
    LatentHead,
    SingleTaskHead,
    Trainer,
    TrainingConfig,
)
from proxmtl.backbones.training.features import feature_standard
from proxmtl.experiments import attribute_metrics, group_means, random_splits

PREDICTED = (
    "the joint objective falls in every epoch; held-out mean AP rises by 2 to 6 points over frozen "
    "networks and mean accuracy by 0.5 to 1.5; joint and single-task training end within one point "
    "of each other"
)
RIDGES = (0.1, 0.3, 1.0, 3.0, 10.0)
A = (1e-8, 1e-7)
B = (1e-8, 3e-8, 1e-7)
RATES = {"joint, groups": 5e-4, "joint, no groups": 5e-4, "single-task": 3e-3}
"""Of the laptop. What SGD below a head can bear falls with the square of W, and W is five times as
large in the latent rows; at 3e-3 their features collapse in the first epoch."""
ROWS = ("joint, groups", "single-task", "joint, no groups")


@dataclass(frozen=True)
class Protocol:
    """What the two protocols differ in."""

    architecture: Architecture
    size: int
    config: TrainingConfig
    colours: bool = False


def protocols(n_tasks: int, seed: int) -> dict[str, Protocol]:
    """The two protocols by name."""
    lite = Architecture(
        "efficientnet_lite0",
        n_tasks,
        shared_stages=9,
        frozen_stages=4,
        input_shape=(3, 128, 128),
    )
    laptop = TrainingConfig(epochs=4, batch_size=32, channels_last=True, seed=seed)
    alexnet = Architecture("alexnet", n_tasks, input_shape=(3, 224, 224))
    paper = TrainingConfig(
        epochs=50, autocast=True, channels_last=True, deterministic=False, workers=12, seed=seed
    )
    return {
        "laptop": Protocol(lite, 144, laptop),
        "paper": Protocol(alexnet, 256, paper, colours=True),
    }


def heads(groups: Groups, passes: int) -> dict[str, list[LatentHead | SingleTaskHead]]:
    """Candidates of each row."""

    def latent(members: Groups | None) -> list[LatentHead | SingleTaskHead]:
        model = LatentMTL(members, max_passes=passes)
        return [
            LatentHead(
                replace(
                    model,
                    group_strength=a**0.5,
                    l1_strength=a**0.5,
                    frobenius_strength=b / a,
                )
            )
            for a, b in itertools.product(A, B)
        ]

    single: list[LatentHead | SingleTaskHead] = [
        SingleTaskHead(ridge, max_passes=passes) for ridge in RIDGES
    ]
    return dict(zip(ROWS, (latent(groups), single, latent(None)), strict=True))


def chosen(
    candidates: list[LatentHead | SingleTaskHead],
    frozen: torch.Tensor,
    labels: np.ndarray,
    names: tuple[str, ...],
    seed: int,
) -> LatentHead | SingleTaskHead:
    """The head with the best mean AP on a quarter of the rows, solved on the others."""
    fit, held = random_splits(labels.shape[0], 1, 0.25, seed, Y=labels)[0]
    signs = torch.from_numpy(2 * labels[fit] - 1).to(frozen)
    scores = []
    for head in candidates:
        layer = head.layer(frozen.shape[-1], len(names), device=frozen.device)
        status = layer.solve(frozen[..., fit, :], signs).status.name
        predicted = layer(frozen[..., held, :]).detach()
        table = attribute_metrics(predicted.cpu().numpy(), labels[held], names)
        scores.append(float(table["ap"].mean()))
        print(f"  {head}: {100 * scores[-1]:.2f} mean AP, {status}", flush=True)
    return candidates[int(np.argmax(scores))]


def images(data: Clothing, size: int) -> ImageTable:
    """All images, decoded."""
    if data.images is None:
        msg = "the images of the Clothing data set aren't there, only the labels."
        raise FileNotFoundError(msg)
    return ImageTable.from_images(data.images, data.Y, data.names, size, fit="stretch")


def main(  # noqa: PLR0917 (options of a command)
    protocol: Annotated[str, typer.Option(help="'laptop' or 'paper'.")] = "laptop",
    device: Annotated[str, typer.Option(help="'cpu' or 'cuda'.")] = "cpu",
    weights: Annotated[Path | None, typer.Option(help="AlexNet's ImageNet weights.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Other than the protocol's.")] = None,
    passes: Annotated[int, typer.Option(help="Budget of each solve.")] = 300,
    rows: Annotated[str, typer.Option(help="Comma-separated numbers of rows.")] = "0,1,2",
    seed: Annotated[int, typer.Option(help="Of split, weights and training.")] = 0,
) -> None:
    """Choose strengths, train each row, and write the figures of all epochs."""
    data = load_clothing(data_root() / "clothing_attributes")
    plan = protocols(len(data.names), seed)[protocol]
    config = plan.config if epochs is None else replace(plan.config, epochs=epochs)
    table = images(data, plan.size)
    train, test = random_splits(len(table.labels), 1, 0.4, seed, Y=table.labels)[0]
    side = plan.architecture.input_shape[-1]
    augmentation = Krizhevsky(side) if plan.colours else CropsAndFlips(side)
    name = f"clothing_joint_{protocol}" + ("" if epochs is None else f"_{epochs}_epochs")
    settings = {
        "protocol": protocol,
        "architecture": asdict(plan.architecture),
        "config": asdict(config),
        "passes": passes,
        "seed": seed,
        "device": device if device == "cpu" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "weights": weights.name if weights else "imagenet" if protocol == "laptop" else "random",
    }
    runs = record.runs_so_far(name, settings)

    def trainer(
        head: LatentHead | SingleTaskHead, config: TrainingConfig, folder: Path | None = None
    ) -> Trainer:
        network = plan.architecture.ensemble(seed, weights).to(device)
        return Trainer(
            network, head, table, config,
            train=train, test=test, augmentation=augmentation, folder=folder,
        )  # fmt: skip

    wanted = [row for i, row in enumerate(ROWS) if str(i) in rows.split(",") and row not in runs]
    chosen_heads = {}
    if wanted:
        frozen = trainer(SingleTaskHead(), config).features(train)
        # the scale of the strengths in training
        mean, scale = feature_standard(frozen, wanted=True)
        frozen = (frozen - mean) / scale
        for row in wanted:
            print(row)
            candidates = heads(data.groups, passes)[row]
            chosen_heads[row] = chosen(candidates, frozen, table.labels[train], table.names, seed)
        del frozen  # no part of a row's memory
    for row, head in chosen_heads.items():
        print(row)
        if device != "cpu":
            torch.cuda.reset_peak_memory_stats(device)
        folder = Path(__file__).parents[2] / "build" / name / row.replace(", ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        rate = RATES[row] if protocol == "laptop" else config.learning_rate
        run = trainer(head, replace(config, learning_rate=rate), folder)
        begin = time.perf_counter()
        run.run(progress=lambda epoch: print(epoch, flush=True))
        seconds = time.perf_counter() - begin
        scores = run.scores(test).cpu().numpy()
        metrics = attribute_metrics(scores, table.labels[test], table.names)
        runs[row] = {
            "head": str(head),
            "learning_rate": rate,
            "seconds_of_this_process": seconds,
            "peak_bytes": torch.cuda.max_memory_allocated(device) if device != "cpu" else None,
            "epochs": [asdict(epoch) for epoch in run.history],
            "per_group": group_means(metrics, data.groups).to_dict(orient="index"),
        }
        content = {"settings": settings, "predicted": PREDICTED, "runs": runs}
        print(record.save(name, content))
        del run
    print(markdown(runs))


def markdown(runs: dict[str, Any]) -> str:
    """Frozen against trained, by row."""
    lines = [
        "| | objective, frozen | trained | accuracy | trained | mean AP | trained |",
        "|---" * 7 + "|",
    ]
    for row, run in runs.items():
        first, last = run["epochs"][0], run["epochs"][-1]
        pairs = [f"{first['objective']:.4f} | {last['objective']:.4f}"]
        pairs += [f"{100 * first[k]:.2f} | {100 * last[k]:.2f}" for k in ("accuracy", "ap")]
        lines.append(f"| {row} | " + " | ".join(pairs) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
