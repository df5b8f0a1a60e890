"""Curves of the page."""

from proxmtl.report.curve_charts import curve_chart


def test_ticks_of_a_flat_curve_differ():
    curve = [(2.0, 0.022347), (12.0, 0.022252), (165.0, 0.022229)]
    chart = curve_chart({"one": curve}, x_title="passes", y_title="objective")
    axis = chart["layer"][0]["encoding"]["y"]["axis"]
    # ticks are 0.00002 apart: 0.02224, 0.02226, ...
    assert axis["format"] == ".4~g"
    level = curve_chart({"one": [(0.0, 5.0), (1.0, 5.0)]}, x_title="x", y_title="y")
    assert level["layer"][0]["encoding"]["y"]["axis"]["format"] == ".3~g"
