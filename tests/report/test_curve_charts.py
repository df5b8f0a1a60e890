"""Curves of the page."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from proxmtl.report.curve_charts import curve_chart
from proxmtl.report.searches import search_charts
from proxmtl.report.vega import theme

sys.path.insert(0, str(Path(__file__).parents[1]))
from report_cases import run_of


def test_ticks_of_a_flat_curve_differ():
    curve = [(2.0, 0.022347), (12.0, 0.022252), (165.0, 0.022229)]
    chart = curve_chart({"one": curve}, x_title="passes", y_title="objective")
    axis = chart["layer"][0]["encoding"]["y"]["axis"]
    # ticks are 0.00002 apart: 0.02224, 0.02226, ...
    assert axis["format"] == ".4~g"
    level = curve_chart({"one": [(0.0, 5.0), (1.0, 5.0)]}, x_title="x", y_title="y")
    assert level["layer"][0]["encoding"]["y"]["axis"]["format"] == ".3~g"


def test_rules_have_the_colours_of_marks_in_both_themes():
    """Vega-Lite has black rules by default, which can't be seen on a dark page."""
    for dark in (False, True):
        colours = theme(dark=dark)
        assert colours["rule"]["color"] == colours["mark"]["color"]


def test_the_path_of_the_search_that_has_the_best_score_has_the_ring():
    strengths = [np.inf, np.inf, 0.1, 0.1]
    table = pd.DataFrame(
        {
            "shared_strength": strengths,
            "own_strength": [0.1, 1.0, 0.1, 1.0],
            "mean": [0.6, 0.7, 0.5, 0.4],
            "standard_error": 0.01,
        }
    )
    found = search_charts(replace(run_of("run"), search=table))
    assert {title: ringed for title, _, ringed in found} == {
        "Attributes that share": False,
        "Each attribute alone": True,
    }
