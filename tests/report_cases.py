"""Runs for the tests of reports, without the fits."""

import io
import json
from dataclasses import dataclass, replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
from PIL import Image

from proxmtl.experiments import attribute_metrics
from proxmtl.report.runs import HeldOut, ReportedRun

NAMES = ["black", "white", "spots", "stripes"]
EVIL = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "<img src=x onerror=alert(3)>",
    "\" onmouseover='alert(4)' ${alert(5)} {{ 7*7 }} \u202eabc",
]


@dataclass
class Album:
    """Pictures of all images but those that are gone."""

    source: str = "photos"
    gone: frozenset = frozenset()

    def thumbnails(self, names):
        return {name: jpeg() for name in names if name not in self.gone}


def jpeg():
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, "JPEG")
    return stream.getvalue()


def run_of(name="first", names=NAMES, *, seed=0, noise=1.0, n=80, calibrated=True, **more):
    """A run of fitted scores; those of one seed are of the same samples."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, len(names))) < np.linspace(0.2, 0.6, len(names))).astype(float)
    labels[rng.random(labels.shape) < 0.1] = np.nan
    scores = 2 * np.nan_to_num(labels) - 1 + noise * rng.standard_normal(labels.shape)
    rows = tuple(f"{row:03d}" for row in range(n))
    probabilities = 1 / (1 + np.exp(-scores)) if calibrated else None
    history = [
        {"passes": 3.0 * i, "objective": 1 + 1 / i, "RelativeGap": 10.0**-i} for i in (1, 2, 3)
    ]
    content = {
        "name": name,
        "folder": f"runs/{name}",
        "kind": "LatentMTLClassifier",
        "names": names,
        "groups": {"colors": [0, 1], "patterns": [2, 3]} if len(names) == 4 else {},
        "lines": {"status": "Converged: so it is.", "passes": "12"},
        "report": {
            "status": "CONVERGED",
            "passes": 12.0,
            "certificate": {"objective": 1.25, "relative_gap": 1e-4},
        },
        "scored_on": f"{n} held-out rows",
        "config": {
            "command": "fit",
            "seed": 5,
            "environment": {"command": f"proxmtl fit x.npy -l y.csv -o {name}", "torch": "2.13"},
            "inputs": [{"path": "x.npy", "bytes": 12345, "sha256": "ab" * 32}],
            "parameters": {"group_strength": 0.03},
        },
        "metrics": {"model": attribute_metrics(scores, labels, list(names))},
        "histories": {"model": pd.DataFrame(history)},
        "held_out": HeldOut(
            rows, np.where(np.isnan(labels), np.nan, scores), labels, probabilities
        ),
    }
    return ReportedRun(**{**content, **more})


def sharing_of(gains, errors, shared=(True, True, True, False)):
    return pd.DataFrame(
        {
            "labels": [70, 70, 70, 70],
            "positives": [5, 10, 30, 40],
            "shared": list(shared),
            "gain": gains,
            "gain_error": errors,
        },
        index=NAMES,
    )


def with_alone(run, noise=1.5):
    """The run as one whose first two attributes share, with the scores of each attribute alone."""
    held = run.held_out
    worse = held.scores + noise * np.random.default_rng(3).standard_normal(held.scores.shape)
    shared = (True, True, False, False)
    sharing = sharing_of([0.1, 0.05, 0.0, -0.1], [0.02] * 4, shared)
    kept = np.where(shared, worse, held.scores)
    sharing = sharing.set_index(pd.Index(run.names))
    return replace(run, held_out=held._replace(alone=kept), sharing=sharing)


class Parsed(HTMLParser):
    """Elements with their attributes, texts by element, and rows of tables."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.rows, self.stack = [], {}, [], []
        self.captions = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "br", "img"):
            self.stack.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack:
            self.texts.setdefault(self.stack[-1], []).append(data)
            if self.stack[-1] == "caption":
                self.captions.append((len(self.rows), data))
            if self.stack[-1] in ("td", "th", "button", "small") and self.rows and self.rows[-1]:
                self.rows[-1][-1] += data.strip() + (" " if self.stack[-1] == "small" else "")

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    def section(self, key):
        return any(found.get("id") == key for found in self.of("section"))

    @property
    def charts(self):
        return json.loads(self.scripts[0])

    @property
    def scripts(self):
        return self.texts["script"]

    @property
    def said(self):
        return " ".join(self.texts["p"] + self.texts.get("li", []))


def rows_named(parsed, name, caption="Scores by attribute"):
    """Rows of a table by their heads."""
    starts = [*parsed.captions, (len(parsed.rows), "")]
    (place,) = [i for i, (_, found) in enumerate(parsed.captions) if found == caption]
    rows = parsed.rows[starts[place][0] : starts[place + 1][0]]
    return [row for row in rows if row and row[0] == name]
