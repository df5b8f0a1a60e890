"""Options that several commands have, in groups.

A command names the groups among its parameters; see `proxmtl.cli.option_groups`.
"""

# ruff: noqa: PLC0415
# What is heavy to import is imported when the command runs: help and errors of usage come at once.

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from proxmtl.cli.option_rules import PAPERS
from proxmtl.cli.option_values import memory_of, ridge_of, strength_of

__all__ = [
    "SEEDS",
    "Balanced",
    "Force",
    "GroupsFile",
    "IdColumn",
    "Match",
    "MatchOptions",
    "Memory",
    "MinPositives",
    "NumberOfLatents",
    "OwnStrength",
    "Report",
    "RunFolder",
    "RunOptions",
    "SampleOptions",
    "ScoringOptions",
    "Seed",
    "SingleTask",
    "SplitOptions",
    "Standardize",
    "StrengthOptions",
    "TaskColumn",
    "model_option",
]

SEEDS = 2**63 - 1
"""Largest seed of torch that is one of NumPy too."""

model_option = partial(typer.Option, rich_help_panel="Model")
_paper_option = partial(typer.Option, rich_help_panel="Strengths of the paper")
_image_option = partial(typer.Option, rich_help_panel="Images")

RunFolder = Annotated[Path, typer.Argument(help="Run folder of fit, tune or train.", metavar="RUN")]
Key = Annotated[str | None, typer.Option(help="Which array of an npz or safetensors file.")]
Memory = Annotated[
    str | None,
    typer.Option(
        help="Read features row by row, with this much memory at a time (4GiB, 500MB): for files "
        "larger than memory. A folder of shards is read so in any case, by default in 256MiB.",
        metavar="SIZE",
    ),
]
IdColumn = Annotated[
    str | None,
    typer.Option(help="Column of row identifiers, of the labels and of parquet features."),
]
TaskColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the labels that names the attribute of a line: a table with one line a "
        "label."
    ),
]
Match = Annotated[
    str,
    typer.Option(
        help="How rows of features and labels are brought together: by 'id', by 'position', or "
        "'auto': by id where both have some, by position where neither has."
    ),
]
MinPositives = Annotated[
    int,
    typer.Option(
        help="Leave out attributes that have fewer rows than this with yes, or with no.", min=0
    ),
]
GroupsFile = Annotated[
    Path | None,
    typer.Option("--groups", "-g", help="TOML, JSON or CSV; without it there are no groups."),
]
NumberOfLatents = Annotated[
    int | None, model_option(help="Upper bound K; default min(M, D).", min=1)
]
Balanced = Annotated[bool, model_option("--balanced", help="Weigh both classes equally.")]
Standardize = Annotated[
    bool | None,
    model_option(
        "--standardize/--no-standardize",
        help="Whether each feature is scaled to unit variance. Where few features carry the "
        "signal, on a scale of its own, and many carry noise, try without. Default: yes; but fit "
        "--auto finds out by cross-validation how features are best scaled.",
        show_default=False,
    ),
]
SingleTask = Annotated[
    float | None,
    model_option(
        help="Instead of the latent model, fit each attribute alone with this ridge.",
        metavar="L2_STRENGTH",
        callback=ridge_of,
    ),
]
OwnStrength = Annotated[
    str,
    model_option(
        help="Ridge on a part of each attribute's own, W = L S + V, in units of the features' mean "
        "squared norm over the number of labels; 'auto': from the data, 'inf': no own parts, as "
        "with the paper's strengths."
    ),
]
Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0, max=SEEDS)]
Report = Annotated[
    bool | None,
    typer.Option(
        "--report/--no-report",
        help="Also write report.html, the page of the command report; default: of fit on images.",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the run that is in the folder.")]


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """Features and their labels."""

    features: Annotated[
        Path,
        typer.Argument(
            help="Images, as a folder, a .tar archive or a .csv file of their names; or features, "
            "one row per sample, as npy, npz, safetensors or parquet, or a folder of shards.",
            metavar="FEATURES",
        ),
    ]
    labels: Annotated[
        Path,
        typer.Option("--labels", "-l", help="CSV: a header of attribute names; 1 yes, 0 or -1 no."),
    ]
    test: Annotated[
        Path | None,
        typer.Option(
            help="Labels of other rows, by their identifiers: they are scored, in place of "
            "--holdout, and not fitted on."
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """What of the files is read, and how their rows are brought together."""

    key: Key = None
    id_column: IdColumn = None
    task_column: TaskColumn = None
    match: Match = "auto"
    min_positives: MinPositives = 0
    memory: Memory = None

    def check(
        self, samples: SampleOptions, groups: Path | None, *, skip_corrupt: bool = False
    ) -> None:
        """Raise if the tables can't be used, before what is heavy is imported."""
        from proxmtl.cli.tables import check_tables

        memory_of(self.memory)
        check_tables(
            samples.features,
            samples.labels,
            samples.test,
            groups,
            match=self.match,
            min_positives=self.min_positives,
            id_column=self.id_column,
            task_column=self.task_column,
            skip_corrupt=skip_corrupt,
        )


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """Which rows are held out, and everything else that is random."""

    seed: Seed = 0
    holdout: Annotated[
        float,
        typer.Option(
            help="Share of the rows or images kept from the fit and scored after it; 0: none.",
            min=0.0,
            max=0.9,
        ),
    ] = 0.2


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The run folder."""

    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder to write.")]
    force: Force = False
    report: Report = None

    def check(self) -> None:
        """Raise if the folder can't become this run, before what is heavy is imported."""
        from proxmtl.cli.ranks import several
        from proxmtl.io.run_folder import check_target

        if not several():  # of which the first one looks, and all are told
            check_target(self.out, force=self.force)


@dataclass(frozen=True, kw_only=True)
class StrengthOptions:
    """Strengths of the latent model."""

    shared_strength: Annotated[
        str,
        model_option(
            help="Of what attributes share, as a fraction of the strength from which on they share "
            "nothing; 'auto': from the data."
        ),
    ] = "auto"
    own_strength: OwnStrength = "auto"
    group_strength: Annotated[
        float | None,
        _paper_option(
            help="The paper's mu, sparsity of S over (latent, group) blocks: with the next two in "
            "place of --shared-strength; default 0.001 beside the others."
        ),
    ] = None
    l1_strength: Annotated[
        float | None,
        _paper_option(help="The paper's gamma, sparsity of L; default 0.0001 beside the others."),
    ] = None
    frobenius_strength: Annotated[
        float | None,
        _paper_option(help="The paper's lambda, ridge on L; default 0.0001 beside the others."),
    ] = None

    def parameters(self) -> dict[str, Any]:
        """Give the strengths by the names of the estimators' parameters.

        Raises
        ------
        ValueError
            If one is out of its range.
        """
        return {
            **vars(self),
            "shared_strength": strength_of("shared-strength", self.shared_strength),
            "own_strength": strength_of("own-strength", self.own_strength),
        }

    def papers(self) -> dict[str, Any]:
        """Give those of the paper's strengths that were given."""
        given = {name: getattr(self, name) for name in PAPERS}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """How a run takes its samples: an array of features, or images."""

    key: Key = None
    memory: Memory = None
    device: Annotated[str | None, _image_option(help="'cpu' (default), 'cuda', ...")] = None
    batch_size: Annotated[
        int | None, _image_option(help="Images a forward pass; default 64.", min=1)
    ] = None
    skip_corrupt: Annotated[
        bool, _image_option("--skip-corrupt", help="Leave out images that can't be read.")
    ] = False
