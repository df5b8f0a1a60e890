"""The program: its commands and what `proxmtl --help` says."""

from typing import Annotated

import typer

from proxmtl import __version__
from proxmtl.cli.boundary import ReportingCommand, ReportingGroup
from proxmtl.cli.compare import compare
from proxmtl.cli.demo import demo
from proxmtl.cli.doctor import doctor
from proxmtl.cli.evaluate import evaluate
from proxmtl.cli.extract import extract
from proxmtl.cli.fit import fit
from proxmtl.cli.inspect import inspect
from proxmtl.cli.predict import predict
from proxmtl.cli.report import report
from proxmtl.cli.reproduce import reproduce
from proxmtl.cli.request import takes_config
from proxmtl.cli.rerun import rerun
from proxmtl.cli.train import train
from proxmtl.cli.tune import tune
from proxmtl.cli.zeroshot import zeroshot

__all__ = ["app"]

app = typer.Typer(
    name="proxmtl",
    cls=ReportingGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help=(
        "Many binary attributes at once, of photographs or of given features: linear models "
        "W = L S, in which groups of attributes choose the latent tasks that they share.\n\n"
        "[bold]Start here[/]\n\n"
        "  proxmtl demo                              [dim]digits with attributes, a minute[/]\n\n"
        "[bold]On your own data[/]\n\n"
        "  proxmtl fit photos --labels labels.csv --out runs/photos   [dim]images[/]\n\n"
        "  proxmtl extract photos --out photos.npy                  [dim]features alone[/]\n\n"
        "  proxmtl fit features.npy --labels labels.csv --groups groups.toml --out runs/first\n\n"
        "  proxmtl tune features.npy --labels labels.csv --groups groups.toml --out runs/tuned\n\n"
        "  proxmtl train photos --labels labels.csv --groups groups.toml --out runs/cnn\n\n"
        "  proxmtl inspect runs/first\n\n"
        "  proxmtl report runs/first                    [dim]a page of tables and charts[/]\n\n"
        "  proxmtl compare runs/first runs/tuned\n\n"
        "  proxmtl rerun runs/first --out runs/again\n\n"
        "  proxmtl predict runs/first new.npy --out predictions.csv\n\n"
        "  proxmtl evaluate runs/first test.npy --labels test.csv\n\n"
        "  proxmtl zeroshot runs/first unseen.npy --matrix matrix.csv ...   [dim]new classes[/]\n\n"
        "[bold]Published tables[/]\n\n"
        "  proxmtl reproduce awa --data data         [dim]ours beside the paper's figures[/]\n\n"
        "[bold]The program itself[/]\n\n"
        "  proxmtl doctor                            [dim]what is installed, what is off[/]\n\n"
        "Each command explains itself with --help."
    ),
)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"proxmtl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option("--debug", envvar="PROXMTL_DEBUG", help="Show tracebacks of errors."),
    ] = False,
) -> None:
    del version, debug  # the first acts in its callback, ReportingGroup reads the second


for _command in (demo, doctor):
    app.command(cls=ReportingCommand, no_args_is_help=False)(takes_config(_command))
for _command in (
    *(fit, tune, train, extract),
    *(predict, evaluate, inspect, report, compare, rerun, zeroshot, reproduce),
):
    app.command(cls=ReportingCommand, no_args_is_help=True)(takes_config(_command))
