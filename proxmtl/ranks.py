"""Processes among which a problem, or a list of jobs, is divided, and what they tell each other."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from proxmtl.launch import attempt, named_by_environment

__all__ = ["ALONE", "ProcessRanks", "RankError", "Ranks", "Told", "joined"]

T = TypeVar("T")
J = TypeVar("J")

SMALL = 1 << 13
"""Sums of at most so many numbers are gathered whole, which takes one message instead of two."""

MINUTES = 5.0


class RankError(RuntimeError):
    """Another rank failed, or does not answer, or computes something else."""


class Told(Exception):  # noqa: N818 - a cause, never raised itself
    """Cause of an error that another rank reports, too."""

    def __init__(self, rank: int) -> None:
        super().__init__(f"reported by rank {rank}")
        self.rank = rank


class Ranks:
    """The processes ("ranks") among which work is divided; this class is one process alone.

    Every sum over samples passes through :meth:`sum`. All ranks must call the methods in the same
    order. What a method returns is the same on all ranks to the last bit, so that solvers take the
    same decisions.

    Attributes
    ----------
    rank, size : int
        Number of this process, from 0, and number of processes.
    """

    rank: int = 0
    size: int = 1

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.rank} of {self.size})"

    def sum(self, *parts: Tensor) -> tuple[Tensor, ...]:
        """Sums of tensors over the ranks, in one exchange; each keeps its shape and dtype."""
        return parts

    def total(self, part: Tensor) -> Tensor:
        """Sum of a single tensor over the ranks."""
        return self.sum(part)[0]

    def maximum(self, part: Tensor) -> Tensor:
        """Maximum of each entry of a tensor over the ranks."""
        return part

    def largest(self, value: float) -> float:
        """Maximum of a number over the ranks."""
        return value

    def gathered(self, value: T) -> list[T]:
        """Values of all ranks, in their order; any object that can be pickled."""
        return [value]

    def concatenated(self, part: Tensor) -> Tensor:
        """Rows of all ranks, in their order, on each of them."""
        return part

    def columns(self, own: Tensor, places: Sequence[Tensor]) -> Tensor:  # noqa: ARG002
        """Matrix of which each rank has some columns, on each of them.

        Parameters
        ----------
        own : Tensor, shape (n, m)
            Columns of this rank.
        places : sequence of Tensor of int64
            Numbers of the columns of each rank: together 0, 1, ..., each once.
        """
        return own

    def partition(self, name: str, own: Iterable[int]) -> list[list[int]]:
        """Numbers that each rank has, where the ranks divide 0, 1, ..., n - 1 among themselves.

        Raises ``ValueError`` on all ranks if one has none, if two have the same, or if one is
        lacking.
        """
        found = self.gathered([int(number) for number in own])
        told = Told(0) if self.rank else None
        for rank, numbers in enumerate(found):
            if not numbers:
                raise ValueError(
                    f"{name}: rank {rank} of {self.size} has none; start at most as many processes "
                    f"as there are {name}."
                ) from told
        every = sorted(number for numbers in found for number in numbers)
        if every != list(range(len(every))):
            raise ValueError(
                f"{name}: the ranks have {found}; each number from 0 must be on exactly one."
            ) from told
        return found

    def place(self, own: int) -> tuple[int, int]:
        """Number of items of earlier ranks, and of all, where this rank has ``own``."""
        return 0, own

    def agreed(self, decision: T | None) -> T | None:
        """Decision of the first rank that has taken one; None if no rank has."""
        return decision

    def spread(self, jobs: Sequence[J], work: Callable[[Sequence[J]], Iterable[T]]) -> list[T]:
        """Results of jobs that do not communicate, each done by one rank; the same on all.

        A rank takes every ``size``-th job, so that neighbours, which often take about as long, are
        on different ones. Where a job fails, the other ranks finish theirs first, and then all
        raise.

        Parameters
        ----------
        jobs : sequence
            The same on all ranks.
        work : callable
            Maps the jobs of a rank to an iterable of one result for each, in their order, which can
            be pickled.

        Returns
        -------
        list
            In the order of the jobs.
        """
        own: list[T] = []
        with self.together():
            own.extend(work(jobs[self.rank :: self.size]))
        parts = self.gathered(own)
        return [parts[n % self.size][n // self.size] for n in range(len(jobs))]

    def check_equal(self, name: str, value: Any) -> None:
        """Raise ``ValueError`` on all ranks unless an object is the same on all."""
        values = self.gathered(value)
        for rank, other in enumerate(values):
            if other != values[0]:
                raise ValueError(
                    f"{name}: {values[0]} on rank 0, and {other} on rank {rank}."
                ) from (Told(0) if self.rank else None)

    def check_same(self, name: str, value: Tensor) -> None:
        """Raise :class:`RankError` unless a tensor is the same on all ranks, bit by bit."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """Raise on all ranks if the block raises on one; the block must not communicate.

        Ranks on which it does not raise :class:`RankError`. All errors but those of the first rank
        have the cause :class:`Told`.
        """
        yield


ALONE = Ranks()
"""One process that has all samples."""


class ProcessRanks(Ranks):
    """The processes of a ``torch.distributed`` group.

    Partial sums are added in the order of the ranks, in float64, so results do not depend on
    timing and are equal on all ranks.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup, optional
        Default: all processes.
    device : str or torch.device
        Device on which tensors are exchanged: "cpu" for the backend gloo, the process's own GPU for
        NCCL.

    Raises
    ------
    ValueError
        If ``torch.distributed`` is not initialised; :meth:`join` does that, too.
    """

    def __init__(
        self, group: dist.ProcessGroup | None = None, device: str | torch.device = "cpu"
    ) -> None:
        if not joined():
            raise ValueError(
                "ranks: torch.distributed is not initialised; start the program with torchrun and "
                "call ProcessRanks.join()."
            )
        self.group, self.device = group, torch.device(device)
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)

    @classmethod
    def join(
        cls,
        *,
        backend: str = "gloo",
        minutes: float = MINUTES,
        device: str | torch.device | None = None,
    ) -> Ranks:
        """Join the processes that torchrun has started, or whose environment names them.

        Without torchrun, RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT say the same. Under Slurm
        ``srun`` gives the first two (SLURM_PROCID, SLURM_STEP_NUM_TASKS), and the batch script
        exports the others.

        Parameters
        ----------
        backend : str
            "gloo" for CPUs, "nccl" for GPUs.
        minutes : float
            How long to wait for the other ranks: one that hangs for longer ends the run.
        device : str or torch.device, optional
            As for the class; default: the CPU, and for NCCL the current GPU.

        Returns
        -------
        Ranks
            :data:`ALONE` if the environment names one process only.

        Raises
        ------
        RankError
            If the other processes do not join in time.
        """
        launched = dist.is_available() and dist.is_torchelastic_launched()
        named = named_by_environment()
        if not launched and named is None:
            return ALONE
        if device is None:
            device = "cuda" if backend == "nccl" else "cpu"
        if not dist.is_initialized():
            # not in every build of torch
            from torch.distributed.distributed_c10d import PrefixStore  # noqa: PLC0415
            from torch.distributed.rendezvous import rendezvous  # noqa: PLC0415

            # torchrun's own variables are read by torch, which knows more of them
            rank, size = (-1, -1) if launched or named is None else named
            try:
                timeout = timedelta(minutes=minutes)
                store, rank, size = next(rendezvous("env://", rank, size, timeout=timeout))
                store.set_timeout(timeout)
                store = PrefixStore(attempt(), store)
                dist.init_process_group(
                    backend, timeout=timeout, store=store, rank=rank, world_size=size
                )
                atexit.register(_leave)
            except (RuntimeError, ValueError) as error:
                raise RankError(
                    f"ranks: the processes did not meet ({_first_line(error)}); check that "
                    "MASTER_ADDR and MASTER_PORT can be reached from all of them."
                ) from error
        return cls(device=device) if dist.get_world_size() > 1 else ALONE

    def sum(self, *parts: Tensor) -> tuple[Tensor, ...]:
        dtype, *others = {part.dtype for part in parts}
        for other in others:
            dtype = torch.promote_types(dtype, other)
        flat = torch.cat([part.detach().reshape(-1).to(self.device, dtype) for part in parts])
        with self._exchange("a sum"):
            whole = self._gathered_sum(flat) if len(flat) <= SMALL else self._scattered_sum(flat)
        pieces = torch.split(whole, [part.numel() for part in parts])
        return tuple(
            piece.to(part).view(part.shape) for piece, part in zip(pieces, parts, strict=True)
        )

    def _gathered_sum(self, flat: Tensor) -> Tensor:
        """Every rank receives all parts and adds them: one message, size times as long."""
        return torch.stack(self._all(flat)).sum(0, dtype=torch.float64).to(flat.dtype)

    def _scattered_sum(self, flat: Tensor) -> Tensor:
        """Every rank adds one piece of the sum, and all exchange their pieces: two messages."""
        length = -(-len(flat) // self.size)
        padded = flat.new_zeros(self.size * length)
        padded[: len(flat)] = flat
        pieces = torch.empty_like(padded)
        dist.all_to_all_single(pieces, padded, group=self.group)
        own = pieces.view(self.size, length).sum(0, dtype=torch.float64).to(flat.dtype)
        return torch.cat(self._all(own))[: len(flat)]

    def _all(self, tensor: Tensor) -> list[Tensor]:
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(found, tensor, group=self.group)
        return found

    def maximum(self, part: Tensor) -> Tensor:
        with self._exchange("a maximum"):
            found = self._all(part.detach().to(self.device))
        return torch.stack(found).amax(0).to(part)

    def largest(self, value: float) -> float:
        return float(self.maximum(torch.tensor([value], dtype=torch.float64)))

    def gathered(self, value: T) -> list[T]:
        found: list[Any] = [None] * self.size
        with self._exchange("values"):
            dist.all_gather_object(found, value, group=self.group)
        return found

    def concatenated(self, part: Tensor) -> Tensor:
        return torch.cat([each.to(part) for each in self.gathered(part.detach().cpu())])

    def columns(self, own: Tensor, places: Sequence[Tensor]) -> Tensor:
        sizes = [len(place) for place in places]
        padded = torch.zeros(len(own), max(sizes), dtype=own.dtype, device=self.device)
        padded[:, : sizes[self.rank]] = own
        with self._exchange("columns"):
            found = self._all(padded)
        whole = own.new_empty(len(own), sum(sizes))
        for part, place, size in zip(found, places, sizes, strict=True):
            whole[:, place] = part[:, :size].to(own)
        return whole

    def place(self, own: int) -> tuple[int, int]:
        numbers = self.gathered(own)
        return sum(numbers[: self.rank]), sum(numbers)

    def agreed(self, decision: T | None) -> T | None:
        if not self.largest(decision is not None):
            return None
        return next(each for each in self.gathered(decision) if each is not None)

    def check_same(self, name: str, value: Tensor) -> None:
        # two sums of the bits, of which one depends on their order; they wrap around
        bits = value.detach().contiguous().view(-1).view(torch.int32).to(torch.int64)
        place = torch.arange(1, len(bits) + 1, device=bits.device)
        mark = torch.stack([bits.sum(), (bits * place).sum()]).to(self.device)
        with self._exchange("checksums"):
            marks = self._all(mark)
        differ = [rank for rank, other in enumerate(marks) if not torch.equal(other, marks[0])]
        if differ:
            raise RankError(
                f"{name}: differs between rank 0 and rank {differ[0]}. Ranks must run the same "
                "version of the program, of torch and of its libraries, on processors with the "
                "same instruction set, from the same starting point."
            )

    @contextmanager
    def together(self) -> Iterator[None]:
        error: Exception | None = None
        try:
            yield
        except Exception as raised:  # noqa: BLE001 - raised again below
            error = raised
        own = None if error is None else str(error) or type(error).__name__
        told = self.gathered(own)
        if error is not None:
            if self.rank:  # the first rank says what any of them raises
                cause = Told(min(told.index(own), self.rank - 1))
                cause.__cause__ = error.__cause__
                raise error from cause
            raise error
        for rank, message in enumerate(told):
            if message is not None:
                raise RankError(f"rank {rank}: {message}") from Told(rank)

    @contextmanager
    def _exchange(self, what: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise RankError(
                f"rank {self.rank} of {self.size}: the other ranks do not answer, in {what} "
                f"({_first_line(error)}). One of them has ended or hangs, for which its own output "
                "gives the reason; start again, or use torchrun --max-restarts."
            ) from error


def joined() -> bool:
    """Whether this process has joined others."""
    return dist.is_available() and dist.is_initialized()


def _leave() -> None:
    """End the group before the interpreter: its threads would abort the process."""
    if joined():
        dist.destroy_process_group()


def _first_line(error: BaseException) -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.partition(". This is typically")[0].strip()
