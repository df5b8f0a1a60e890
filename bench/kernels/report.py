"""One case, measured and told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.kernels.timing import measure

if TYPE_CHECKING:
    import torch

    from bench.kernels.cases import Case
    from bench.kernels.timing import Ceilings


def report(
    case: Case, ceilings: Ceilings, device: torch.device, seconds: float, clock: str = "wall"
) -> list[dict[str, Any]]:
    """One row a contender that is right. Ours has to be; a competing form may drop out."""
    for label, call in list(case.contenders.items()):
        ours = label.startswith("ours/")
        try:
            ((case.check_ours if ours else None) or case.check)(call())
        except Exception as error:
            if ours:
                raise
            reason = str(error).strip() or type(error).__name__
            print(f"{case.name}: {label} is left out: {reason.splitlines()[0]}")
            del case.contenders[label]
    calls = {**case.contenders, **ceilings.calls}
    taken = measure(calls, device, seconds=seconds, clock=clock)
    limits = ceilings.rates(taken)
    print(
        f"{case.name}: meanwhile the machine reads {limits['read']:.1f} GB/s, copies "
        f"{limits['copy']:.1f} GB/s, multiplies {limits['flops']:.0f} GFLOP/s"
    )
    rows: list[dict[str, Any]] = []
    for label in case.contenders:
        times = taken[label]
        rate, work = case.n_bytes / 1e6 / times.p50, case.flops / 1e6 / times.p50
        fraction = (work if case.limit.startswith("flops") else rate) / limits[case.limit]
        rows.append(
            {
                "case": case.name,
                "operation": case.operation,
                "contender": label,
                "ms": times.to_dict(),
                "clock": "events" if device.type == "cuda" else clock,
                "gb_per_second": rate,
                "gflop_per_second": work,
                "intensity": case.flops / case.n_bytes,
                "limit": case.limit,
                "fraction_of_limit": fraction,
                "ceilings": limits,
            }
        )
        print(
            f"  {label:40s} p20 {times.p20:8.3f}  p50 {times.p50:8.3f}  p80 {times.p80:8.3f} ms"
            f"  {rate:7.1f} GB/s  {100 * fraction:5.1f} % of {case.limit}"
            + ("" if times.host is None else f"  host {times.host:.3f} ms"),
            flush=True,
        )
    return rows
