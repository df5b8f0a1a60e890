"""Configuration of the documentation, which ``make docs`` builds with warnings as errors."""

import os
import re
import subprocess
import sys
from pathlib import Path

import proxmtl

HERE = Path(__file__).parent

project = "proxmtl"
author = project_copyright = "The proxmtl developers"
release = version = proxmtl.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["gallery/*", "**/README.md", "sg_execution_times.rst"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
smartquotes = False  # would make dashes of the hyphens of options

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False

copybutton_prompt_text = "$ "

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "show_memory": False,
    "download_all_examples": False,
    "write_computation_times": False,
    "min_reported_time": 3600,
}

html_theme = "furo"
html_title = f"proxmtl {release}"
html_copy_source = False


def write_commands(_app: object) -> None:
    """Write the page of all commands and options, as their help has them."""
    command = [sys.executable, "-m", "typer", "proxmtl.cli.app", "utils", "docs"]
    command += ["--name", "proxmtl", "--title", "Commands and options"]
    page = HERE / "reference" / "commands.md"
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    page.write_text(done.stdout, encoding="utf-8")


def name_pages(_app: object, _page: str, source: list[str]) -> None:
    """Let links to files beside README lead to their pages here."""
    for name in ("CHANGELOG", "CONTRIBUTING", "SECURITY"):
        source[0] = re.sub(rf"(\((?:\.\./)*)\.\./{name}\.md", rf"\1{name.lower()}.md", source[0])


def setup(app: object) -> None:
    """Connect the functions of this file: Sphinx calls it."""
    app.connect("builder-inited", write_commands)
    app.connect("source-read", name_pages)
