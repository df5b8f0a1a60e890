"""M networks at once against a loop over M models: images a second and peak memory of a step.

A step is forward, a loss on the features, backward and SGD with momentum, as in training. The
contenders: `loop` (M separate modules, one optimizer each), `ensemble` (one module, members one by
one where the device is a CPU and in one call elsewhere), `vectorised` (one call on any device), and
the ensemble with one, half and all of its stages shared. All start from the same weights, and the
losses of the first step of loop, ensemble and vectorised are compared before anything is timed.
Contenders take turns, and the median over the turns of their time against that of the loop in the
same turn counts; on a CPU the time is that of the process, which other work on the machine disturbs
less than the time of the clock. Both are recorded.

On a CPU: M small networks on 32 x 32 pixels. On a GPU: M AlexNets on 224 x 224 in bfloat16.
What was predicted before the run stands in PREDICTED.

    python -m bench.models.cnn_ensemble [--device cuda]
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from bench import record
from proxmtl.backbones.networks import AlexNet, Ensemble, Network, SmallCNN

PREDICTED = {
    "cpu": "ensemble 0.99 to 1.02 of the loop (it was 0.96 while each member indexed the stacked "
    "parameters, so that M gradients of zeros for all members, 85 MB here, were written and added; "
    "now they are unbound, with one gradient stacked); vectorised 0.5 to 0.8 of the loop, grouped "
    "convolutions being slow on a CPU; all stages shared M times the loop",
    "cuda": "ensemble 3 to 5 times the loop at batch 32, the loop being bound by launches",
}
Step = Callable[[], float]


def stepper(modules: list[torch.nn.Module], images: Tensor, *, autocast: bool) -> Step:
    """Return a training step of some modules on the same images; it gives their mean loss."""
    optimizers = [
        torch.optim.SGD(m.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4) for m in modules
    ]

    def step() -> float:
        total = 0.0
        for module, optimizer in zip(modules, optimizers, strict=True):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=autocast):
                features = module(images)
            loss = features.float().square().mean()
            # the mean over members, each with the gradient that it would have alone
            (loss * (features.shape[0] if features.ndim == 3 else 1)).backward()
            optimizer.step()
            total += float(loss.detach())
        return total / len(modules)

    return step


def make(device: torch.device) -> Callable[[], Network]:
    """Return what makes one network."""
    if device.type == "cpu":
        return lambda: SmallCNN((3, 32, 32), (16, 32, 64), 64)
    return lambda: AlexNet(dropout=0.0)


def contenders(device: torch.device, n_members: int, images: Tensor) -> dict[str, Step]:
    """Steps by name, from the same initial weights."""
    autocast = device.type != "cpu"
    new = make(device)

    def ensemble(shared: int = 0, *, vectorised: bool | None = None) -> Ensemble:
        torch.manual_seed(0)
        return Ensemble(new, n_members, shared_stages=shared, vectorised=vectorised).to(device)

    stages = new().n_stages
    parts = {
        "loop": [ensemble().member(m).train() for m in range(n_members)],
        "ensemble": [ensemble()],
        "vectorised": [ensemble(vectorised=True)],
        "one stage shared": [ensemble(1)],
        "half shared": [ensemble(stages // 2)],
        "all shared": [ensemble(stages)],
    }
    return {name: stepper(list(m), images, autocast=autocast) for name, m in parts.items()}


def timed(step: Step, device: torch.device) -> tuple[float, float, float]:
    """Seconds of a step by the clock, seconds of the process, and the loss."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin, begin_process = time.perf_counter(), time.process_time()
    loss = step()  # reading the loss waits for the device
    return time.perf_counter() - begin, time.process_time() - begin_process, loss


def measure(device: torch.device, n_members: int, batch: int, steps: int) -> dict[str, Any]:
    """Figures by contender; raises where the first losses of the same model differ."""
    shape = make(device)().input_shape
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(batch, *shape, generator=generator).to(device)
    racing = contenders(device, n_members, images)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in racing}
    memory: dict[str, int] = {}
    first = {}
    for name, step in racing.items():  # also warms up
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        first[name] = timed(step, device)[2]
        if device.type == "cuda":
            memory[name] = torch.cuda.max_memory_allocated(device)
    for name in ("ensemble", "vectorised"):
        if (
            abs(first[name] - first["loop"])
            > (1e-4 if device.type == "cpu" else 2e-2) * first["loop"]
        ):
            raise RuntimeError(f"{name} has loss {first[name]}, the loop {first['loop']}.")
    for _ in range(steps):
        for name, step in racing.items():
            seconds[name].append(timed(step, device)[:2])
    counted = 1 if device.type == "cpu" else 0
    return {
        name: {
            "images_per_second": batch / statistics.median(turn[counted] for turn in turns),
            "speed_against_loop": against(seconds["loop"], turns, counted),
            "speed_against_loop_by_the_clock": against(seconds["loop"], turns, 0),
            "quickest_step_seconds": min(turn[counted] for turn in turns),
            "peak_bytes": memory.get(name),
        }
        for name, turns in seconds.items()
    }


def against(loop: list[tuple[float, float]], turns: list[tuple[float, float]], clock: int) -> float:
    """Median over turns of the loop's time by a contender's."""
    pairs = zip(loop, turns, strict=True)
    return statistics.median(theirs[clock] / ours[clock] for theirs, ours in pairs)


def main(
    device: Annotated[str, typer.Option(help="'cpu' or 'cuda'.")] = "cpu",
    members: Annotated[int, typer.Option(help="M.")] = 23,
    batch: Annotated[int, typer.Option(help="Images a step.")] = 32,
    steps: Annotated[int, typer.Option(help="Timed steps of each contender.")] = 7,
) -> None:
    place = torch.device(device)
    runs = measure(place, members, batch, steps)
    settings = {"members": members, "batch": batch, "steps": steps, "device": device}
    settings["threads"] = torch.get_num_threads()
    if place.type == "cuda":
        settings["gpu"] = torch.cuda.get_device_name(place)
    else:
        settings["gpu"] = "not measured on a GPU"
    path = record.save(
        f"cnn_ensemble_{place.type}",
        {"settings": settings, "predicted": PREDICTED[place.type], "runs": runs},
    )
    for name, run in runs.items():
        speed = run["speed_against_loop"]
        print(f"{name:18} {run['images_per_second']:9.1f} images/s  {speed:6.2f} x loop")
    print(path)


if __name__ == "__main__":
    typer.run(main)
