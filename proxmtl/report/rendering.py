"""The template of a page, its style and its scripts, put together.

Scripts that the page was made with are allowed by their hashes in its content security policy, and
nothing else: a name that were taken for HTML could run nothing, and nothing is loaded.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib import resources
from typing import Any

import altair as alt
import jinja2
import vl_convert
from markupsafe import Markup

__all__ = ["rendered", "vega_bundle"]


def rendered(**content: Any) -> str:
    """Fill the template: whatever is filled in is text, but for the style and the scripts."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("proxmtl.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_with_units,
    )
    folder = resources.files("proxmtl.report") / "templates"
    scripts = [vega_bundle(), (folder / "report.js").read_text(encoding="utf-8")]
    return environment.get_template("report.html").render(
        style=Markup((folder / "report.css").read_text(encoding="utf-8")),  # noqa: S704 - our own
        scripts=[Markup(script) for script in scripts],  # noqa: S704 - Vega's and our own
        policy=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
        **content,
    )


def _with_units(value: Any) -> Any:
    """Keep a figure and its unit, ``99.9 %``, on one line."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", value)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


@functools.cache
def vega_bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, of the version that Altair writes for."""
    version = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    bundle: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", version)
    # within a script element nothing but this ends it, and in JavaScript it is the same text
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")
