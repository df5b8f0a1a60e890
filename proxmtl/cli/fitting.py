"""What ``fit`` and ``tune`` have in common: files are read, rows split, a run folder is written."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from proxmtl.cli.console import keeping
from proxmtl.cli.fitted_attributes import split_rows
from proxmtl.cli.image_options import holds_images
from proxmtl.cli.inputs import read_groups, read_samples
from proxmtl.cli.outcome import Outcome, write_fitted
from proxmtl.cli.parts import Parts
from proxmtl.cli.ranks import first, together
from proxmtl.cli.run import model_room
from proxmtl.cli.run_page import PAGE_FILE, wants_page, write_page
from proxmtl.cli.unfinished import Unfinished
from proxmtl.io import new_run_folder, write_text
from proxmtl.io.outputs import room
from proxmtl.ranks import ALONE
from proxmtl.row_sources import rows_of
from proxmtl.sources import sources_read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from proxmtl.cli.image_options import ImageOptions
    from proxmtl.cli.inputs import LabelledSamples
    from proxmtl.cli.options import MatchOptions, RunOptions, SampleOptions, SplitOptions
    from proxmtl.estimators.base import LinearModel
    from proxmtl.groups import Groups
    from proxmtl.io import Checkpoint
    from proxmtl.ranks import Ranks
    from proxmtl.sources import Source

__all__ = ["Fitting", "fitting"]


@dataclass(frozen=True)
class Fitting:
    """Samples to fit a model on, and the run folder that it is for."""

    data: LabelledSamples
    groups: Groups | None
    train: NDArray[Any]
    test: NDArray[Any]
    parts: Parts
    ranks: Ranks
    _staging: Path
    _out: Path
    _split: SplitOptions
    _sources: list[Source]
    _images: dict[str, Any] | None
    """How the features were made, where they are of images."""
    checkpoint: Checkpoint | None
    """Of the fit; None if nothing is kept of it."""

    @property
    def fitted(self) -> tuple[Any, Any]:
        """Features and labels of the rows to fit on."""
        return rows_of(self.data.X, self.train), self.data.Y[self.train]

    def room(self, n_latents: int | None, *, own: bool) -> AbstractContextManager[None]:
        """Hold room on the disk for a model of at most so many latent tasks; None: min(M, D)."""
        M, D = self.data.Y.shape[1], self.data.X.shape[1]
        size = model_room(D, M, min(M, D) if n_latents is None else n_latents, own=own)
        return room(self._staging, size, self._out)

    def write(
        self, model: LinearModel, command: str, groups: Groups | None, **config: Any
    ) -> Outcome:
        """Score the model and write its run; raises as `write_fitted`."""
        return write_fitted(
            self._staging,
            self.parts,
            model=model,
            data=self.data,
            rows=(self.train, self.test),
            groups=groups,
            config={
                "command": command,
                "inputs": [source._asdict() for source in self._sources],
                **({} if self.data.for_test is not None else {"holdout": self._split.holdout}),
                "seed": self._split.seed,
                **({} if self._images is None else {"images": self._images}),
                **config,
            },
        )

    def save_text(self, name: str, text: str) -> None:
        """Write a file of the run."""
        self.parts.save(name, lambda: write_text(self._staging / name, text))


@contextlib.contextmanager
def fitting(
    samples: SampleOptions,
    match: MatchOptions,
    groups: Path | None,
    split: SplitOptions,
    run: RunOptions,
    *,
    latent: bool,
    by_tasks: bool = False,
    apart: bool = False,
    options: Mapping[str, object] | None = None,
    seconds: float = 60.0,
    images: ImageOptions | None = None,
    pairs: bool = False,
) -> Iterator[Fitting]:
    """Read the samples and split them; what the block writes becomes the run folder.

    Parameters
    ----------
    groups
        File of groups.
    latent
        Whether the groups are for the latent model, which takes no group of weight 0.
    by_tasks
        Whether several ranks divide the attributes among themselves, and not the rows.
    apart
        Whether each of several ranks fits by itself, on all rows.
    options
        Of a command that goes on where it was, by the names of its parameters.
    seconds
        Between two writes of what such a command has done.
    images
        How features are made where the samples are images; None: they are features.
    pairs
        Whether the fit takes labels of some pairs of a row and an attribute, which then make no
        dense table.
    """
    of_images = images is not None and holds_images(samples.features)
    page, made = wants_page(run.report, default=of_images), None
    with (
        Parts() as parts,
        together(run.out, apart=apart) as (ranks, out),
        contextlib.ExitStack() as stack,
    ):
        with ranks.together():
            unfinished = None if options is None else Unfinished(run.out, ranks)
            staging = stack.enter_context(new_run_folder(out, force=run.force))
            sources = stack.enter_context(sources_read())
            if images is not None and of_images:
                samples, made = _features_of(
                    samples,
                    match,
                    groups,
                    images,
                    out,
                    alone=ranks is ALONE,
                    latent=latent,
                    force=run.force,
                )
            data = _read(samples, match, ALONE if apart else ranks, by_tasks=by_tasks, pairs=pairs)
            left_out = data.record["attributes_left_out"]
            grouping = read_groups(groups, data.names, left_out, latent=latent)
            if data.for_test is None:
                train, test = split_rows(data.Y, data.names, split.holdout, split.seed, data.ids)
            else:
                train, test = np.flatnonzero(~data.for_test), np.flatnonzero(data.for_test)
        with contextlib.ExitStack() as kept:
            if made is not None:
                kept.enter_context(keeping(partial(_features_kept, made["features"])))
            checkpoint = None
            if unfinished is not None and options is not None:
                if made is not None:  # a default that is named is no other option
                    options = {**options, "network": made["network"], "squares": made["fit"]}
                checkpoint = kept.enter_context(
                    unfinished.checkpoint(options, sources, seconds=seconds, force=run.force)
                )
            yield Fitting(
                data,
                grouping,
                train,
                test,
                parts,
                ranks,
                staging,
                out,
                split,
                sources,
                made,
                checkpoint,
            )
            if page and first():
                parts.save(PAGE_FILE, lambda: write_page(staging, out))
        if unfinished is not None:
            unfinished.done()
        with ranks.together():
            stack.close()
        if unfinished is not None:
            unfinished.remove()


def _features_kept(path: str, end: BaseException) -> str:
    """Say where features are, if a stop is what ended a fit on them."""
    if isinstance(end, Exception):
        return ""
    return f"Features of the images are kept in {path}: the same command goes on from there."


def _read(
    samples: SampleOptions, match: MatchOptions, ranks: Ranks, *, by_tasks: bool, pairs: bool
) -> LabelledSamples:
    """Read features and labels; several ranks share the rows of the features, or the tasks.

    ``pairs`` is as in `read_samples`, of a single process.
    """
    given = dict(vars(match))
    if ranks is not ALONE and match.memory is None:
        given["memory"] = "256MiB"  # rows that are read when asked for, of a file too
    found = read_samples(**vars(samples), **given, pairs=pairs and ranks is ALONE)
    if ranks is ALONE:
        return found
    return found._replace(X=found.X.among(ranks, by_tasks=by_tasks))


def _features_of(
    samples: SampleOptions,
    match: MatchOptions,
    groups: Path | None,
    images: ImageOptions,
    out: Path,
    *,
    alone: bool,
    latent: bool,
    force: bool,
) -> tuple[SampleOptions, dict[str, Any]]:
    """Make the features of images; options that name them in their place, and how they were made.

    Raises
    ------
    ValueError
        If there are several processes.
    """
    from proxmtl.cli.image_features import features_in_place  # noqa: PLC0415 - heavy

    if not alone:
        raise ValueError(
            "FEATURES: one process makes features of images; make them first (proxmtl extract), "
            "and give them to the processes that fit."
        )
    return features_in_place(samples, match, groups, images, out, latent=latent, force=force)
