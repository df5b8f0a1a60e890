"""The joint problem W = L S on made-up data: objective against passes and against seconds.

D = 512 features, K = 64 latents, M = 23 tasks in 5 groups of 4 or 5, N = 1200 samples per task (its
own), Gaussian features, planted W of rank 8, noisy labels; group strength 3, L1 strength 1,
Frobenius strength 0.5, sum over samples, no intercept. All start at the same random point.

    python -m bench.solvers.joint_b8 --passes 600
"""

from __future__ import annotations

from typing import Annotated

import torch
import typer

from bench import record
from proxmtl import Groups, LatentMTL

D, K, M, N, RANK = 512, 64, 23, 1200, 8
GROUPS = [range(5), range(5, 10), range(10, 15), range(15, 19), range(19, 23)]


def problem(seed: int) -> tuple[list[torch.Tensor], list[torch.Tensor], Groups]:
    """Features and labels of each task, and the groups of tasks."""
    g = torch.Generator().manual_seed(seed)
    X = [torch.randn(N, D, generator=g) for _ in range(M)]
    sparse = torch.randn(D, RANK, generator=g) * (torch.rand(D, RANK, generator=g) < 0.1)
    W = sparse @ torch.randn(RANK, M, generator=g)
    Y = []
    for x, w in zip(X, W.T, strict=True):
        scores = x @ w
        Y.append(torch.sign(scores / scores.std() + 0.5 * torch.randn(N, generator=g)))
    return X, Y, Groups.from_lists(GROUPS)


def start(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random factors, the same for all algorithms."""
    g = torch.Generator().manual_seed(1000 + seed)
    return 0.1 * torch.randn(D, K, generator=g), 0.1 * torch.randn(K, M, generator=g)


def main(
    algorithm: Annotated[
        list[str] | None, typer.Option(help="auto, panoc, palm, paper; all by default")
    ] = None,
    passes: Annotated[float, typer.Option(help="budget of each run, in passes")] = 1000,
    seed: Annotated[int, typer.Option(help="of the data and of the start")] = 0,
    threads: Annotated[int, typer.Option(help="threads of torch; 0: its default")] = 0,
) -> None:
    """Run each algorithm from the same start; write bench/results/joint_b8.json and a plot.

    Runs with the same settings that the file has already are kept and plotted along.
    """
    if threads:
        torch.set_num_threads(threads)
    X, Y, groups = problem(seed)
    settings = {"seed": seed, "passes": passes, "threads": torch.get_num_threads()}
    runs = record.runs_so_far("joint_b8", settings)
    for name in algorithm or ("auto", "panoc", "palm", "paper"):
        model = LatentMTL(
            groups,
            K,
            group_strength=3.0,
            l1_strength=1.0,
            frobenius_strength=0.5,
            reduction="sum",
            fit_intercept=False,
            algorithm=name,
            init=start(seed),
            max_passes=passes,
            tol=1e-8,
        )
        result = model.solve(X, Y)
        runs[name] = {
            "status": result.status.name,
            "certificate": result.certificate.to_dict(),
            "passes": result.passes,
            "seconds": result.history[-1]["seconds"],
            "live_entries_of_S": int((result.S != 0).sum()),
            "live_latents": result.live_latents,
            "history": record.thinned(result.history),
        }
        print(
            f"{name}: {result.status.name}, objective {result.certificate.objective:.1f} after "
            f"{result.passes:.0f} passes, {runs[name]['seconds']:.1f} s; "
            f"{runs[name]['live_entries_of_S']} of {K * M} entries of S alive"
        )
        record.save("joint_b8", {"settings": settings, "runs": runs})
    record.plot_histories(
        {name: run["history"] for name, run in runs.items()},
        "joint_b8",
        f"W = L S, D={D}, K={K}, M={M}, N={N} per task, same random start",
        against=(("passes", "passes over the data"), ("seconds", "seconds")),
    )


if __name__ == "__main__":
    typer.run(main)
