"""Objective against passes over the data: Algorithm 1 of the paper and the default, on Clothing.

Frozen features, standardised, the 23 attributes in the paper's four groups, all labels that are
known. Algorithm 1 runs from its own start and from the default's; the figure that counts is how
many passes the default needs to reach the objective at which Algorithm 1 ends.

    python -m bench.models.clothing_convergence --backbone mobilenet --passes 1000
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from bench import record
from proxmtl import LatentMTL
from proxmtl.backbones.experiments.datasets import data_root, load_clothing
from proxmtl.backbones.experiments.images import kept_features

RUNS = {
    "Algorithm 1 (paper's start)": {"algorithm": "paper", "init": "paper"},
    "Algorithm 1 (default start)": {"algorithm": "paper", "init": "svd"},
    "PALM": {"algorithm": "palm", "init": "svd"},
    "PANOC": {"algorithm": "panoc", "init": "svd"},
    "default": {"algorithm": "auto", "init": "svd"},
}
DEFAULT = "default"
MOBILENET = Path("backbones") / "mobilenet_v2_1.0_224_imagenet_u8.npz"


def main(
    backbone: Annotated[str, typer.Option(help="mobilenet or efficientnet")] = "mobilenet",
    passes: Annotated[float, typer.Option(help="budget of each run")] = 1000,
    group_strength: Annotated[float, typer.Option(help="the paper's mu")] = 1e-4,
    l1_strength: Annotated[float, typer.Option(help="the paper's gamma")] = 1e-4,
    frobenius_strength: Annotated[float, typer.Option(help="the paper's lambda")] = 3.0,
) -> None:
    """Run all; write results/clothing_convergence.json and its plot in docs/benchmarks."""
    data = load_clothing(data_root() / "clothing_attributes")
    network = str(data_root() / MOBILENET) if backbone == "mobilenet" else "efficientnet_lite0"
    features = kept_features(record.ROOT / "build" / "features", network=network)
    X = features("clothing", data.images, data.image_names).astype(np.float64)
    X = torch.from_numpy(((X - X.mean(0)) / X.std(0).clip(1e-12)).astype(np.float32))
    signs = torch.from_numpy(2 * data.Y - 1).to(X)  # NaN stays NaN: missing
    strengths = {
        "group_strength": group_strength,
        "l1_strength": l1_strength,
        "frobenius_strength": frobenius_strength,
    }
    runs, histories = {}, {}
    for name, how in RUNS.items():
        model = LatentMTL(data.groups, max_passes=passes, tol=1e-8, **strengths, **how)
        result = model.solve(X, signs)
        histories[name] = result.history
        runs[name] = {
            **how,
            "status": result.status.name,
            "certificate": result.certificate.to_dict(),
            "passes": result.passes,
            "seconds": result.history[-1]["seconds"],
            "live_latents": result.live_latents,
            "history": record.thinned(result.history),
        }
        print(
            f"{name}: {result.status.name}, objective {result.certificate.objective:.6f} after "
            f"{result.passes:.0f} passes, {runs[name]['seconds']:.1f} s"
        )
    ratios = {}
    for name in runs:
        if runs[name]["algorithm"] != "paper":
            continue
        final = histories[name][-1]["objective"]
        needed = record.passes_to(histories[DEFAULT], final)
        ratios[name] = None if needed is None else needed / runs[name]["passes"]
        print(f"default reaches the end of {name} after {needed} passes: ratio {ratios[name]}")
    content = {"backbone": backbone, "budget": passes, "strengths": strengths, "ratios": ratios}
    record.save("clothing_convergence", {**content, "runs": runs})
    record.plot_histories(
        histories,
        "clothing_convergence",
        f"Clothing, {backbone} features ({len(X)} images, 23 attributes in 4 groups)",
        level=(histories["Algorithm 1 (paper's start)"][-1]["objective"], "end of Algorithm 1"),
    )


if __name__ == "__main__":
    typer.run(main)
