"""What the package logs: nothing is shown until a program asks for it, and the commands do."""

import logging
import subprocess
import sys

import typer
from typer.testing import CliRunner

from proxmtl.cli.boundary import ReportingGroup

LOGS = """
import logging
before = list(logging.getLogger().handlers), logging.getLogger().level
import proxmtl
logger = logging.getLogger("proxmtl.kernels.dispatch")
logger.warning("falling back")
assert (list(logging.getLogger().handlers), logging.getLogger().level) == before
assert logging.getLogger("proxmtl").level == logging.NOTSET
logging.basicConfig(format="%(name)s: %(message)s")
logger.warning("falling back again")
"""


def test_a_program_decides_what_is_shown():
    done = subprocess.run([sys.executable, "-c", LOGS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "proxmtl.kernels.dispatch: falling back again\n"
    assert done.stdout == ""


def test_solves_log_under_the_name_of_their_module(caplog):
    import torch

    from proxmtl import L1, Problem, minimize

    X = torch.eye(4, dtype=torch.float64)
    with caplog.at_level(logging.DEBUG, logger="proxmtl"):
        minimize(Problem.of(X, X > 0, L1(0.1)))
    assert {record.name for record in caplog.records} == {"proxmtl.solvers.loop"}


def test_commands_show_warnings_that_are_logged():
    app = typer.Typer(cls=ReportingGroup)
    logger = logging.getLogger("proxmtl.kernels.dispatch")

    @app.callback()
    def _options():
        pass

    @app.command()
    def work():
        logger.warning("falling back from backend %s", "[numba]")
        logger.debug("a detail")

    handlers = list(logging.getLogger("proxmtl").handlers)
    done = CliRunner().invoke(app, ["work"])
    assert done.exit_code == 0
    assert done.stderr == "Warning: falling back from backend [numba]\n"
    assert logging.getLogger("proxmtl").handlers == handlers
