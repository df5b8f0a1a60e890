"""The page of a report, parsed: what it says, and that names are text wherever they stand."""

import base64
import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from report_cases import EVIL, NAMES, Parsed, rows_named, run_of, sharing_of

from proxmtl.report import page as page_module
from proxmtl.report.cautions import few_fitted, never_yes, run_warnings, without_weights
from proxmtl.report.comparison import compare_models
from proxmtl.report.page import LARGEST_PAGE, report_page
from proxmtl.report.page_parts import Page
from proxmtl.report.page_sections import add_sections
from proxmtl.report.runs import Latents, models_of
from proxmtl.report.verdict import comparison_sentence, headline


def values_of(chart, layer):
    found = chart["layer"][layer].get("data", chart.get("data"))
    return found.get("values") or chart["datasets"][found["name"]]


def test_a_page_holds_the_scores_and_charts_of_its_run():
    run = run_of()
    page = Parsed(report_page([run]))
    expected = run.metrics["model"]
    (row,) = rows_named(page, "black")
    assert row[1] == "colors"
    assert row[2].startswith(f"{100 * expected.loc['black', 'ap']:.1f}")
    assert row[3].startswith(f"{100 * expected.loc['black', 'auc']:.1f}")
    assert all("–" in cell for cell in row[2:5])  # intervals
    assert row[4].startswith(f"{100 * expected.loc['black', 'accuracy']:.1f}")
    assert rows_named(page, "Total", "Means by group")[0][1] == "4"
    assert "Mean average precision" in page.said
    assert "Converged: so it is." in page.said
    for key in ("verdict", "scores", "probabilities", "convergence", "reproduce"):
        assert page.section(key), key
    for key in ("latents", "search", "comparison"):
        assert not page.section(key), key
    assert {found["data-chart"] for found in page.of("div") if "data-chart" in found} == set(
        page.charts["charts"]
    )
    points = values_of(page.charts["charts"]["chart-0"], 0)
    assert {point["attribute"] for point in points} == set(NAMES)
    assert points[0]["low"] < points[0]["ap"] < points[0]["high"]
    assert "proxmtl fit x.npy -l y.csv -o first" in page.texts["code"]


def test_nothing_is_loaded_and_only_our_scripts_may_run():
    text = report_page([run_of()])
    page = Parsed(text)
    for tag, attributes in page.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert not {"src", "srcset", "background", "action", "data"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("href", "#").startswith("#")
    style = "".join(page.texts["style"])
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = [a["content"] for a in page.of("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; ")
    running = [a for a in page.of("script") if a.get("type") != "application/json"]
    assert len(running) == 2
    for script in page.scripts[1:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy.replace("style-src 'unsafe-inline'", "")
    assert len(text.encode()) < LARGEST_PAGE / 2


def test_names_are_text_wherever_they_stand():
    latents = Latents(np.array([[1.0, -2, 0, 3], [0, 1, 0, 0]]), np.array([1.0, 2.0]))
    groups = {EVIL[0]: [0, 1], EVIL[1]: [2, 3]}
    first = run_of(EVIL[1], EVIL, latents=latents, dead=EVIL, groups=groups)
    first.config["environment"]["command"] = f"proxmtl fit {EVIL[0]}"
    second = run_of(EVIL[2], EVIL, noise=2.0, groups={})
    text = report_page([first, second])
    page = Parsed(text)  # elements are nested as they should be
    assert len(page.of("script")) == 3
    assert not page.of("img")
    seen = {name for row in page.rows for name in row[:1]}
    for name in EVIL[:3]:
        assert name in seen
    assert "49" not in "".join(row[0] for row in page.rows)
    assert any(row[0].endswith("{{ 7*7 }} \\u202eabc") for row in page.rows if row)
    assert "\u202e" not in text
    # within the JSON nothing can end the element
    body = text.split('id="charts">', 1)[1].split("</script>", 1)[0]
    assert "<" not in body
    assert EVIL[0] in json.dumps(json.loads(body), ensure_ascii=False)


def test_charts_never_hold_what_json_has_not():
    run = run_of()
    run.metrics["model"].loc["black", ["ap", "auc"]] = np.nan
    history = run.histories["model"]
    history.loc[1, "objective"] = np.inf
    page = Parsed(report_page([run]))
    text = page.scripts[0]
    assert "NaN" not in text
    assert "Infinity" not in text
    assert "No AP" in page.said
    assert "out of the means: black." in page.said
    (row,) = rows_named(page, "black")
    assert row[2] == "–"


def test_runs_on_the_same_samples_have_paired_differences():
    good, bad = run_of("good", noise=0.5), run_of("bad", noise=3.0)
    # of the same labels: the noise alone differs
    page = Parsed(report_page([bad, good]))
    assert page.section("comparison")
    (sentence,) = [p for p in page.texts["p"] if p.startswith("good against bad")]
    assert "paired bootstrap of" in sentence
    assert "ahead for 4 and behind for 0 of 4 attributes in common" in sentence
    (row,) = rows_named(page, "black")
    difference = good.metrics["model"]["ap"]["black"] - bad.metrics["model"]["ap"]["black"]
    assert any(cell.startswith(f"{100 * difference:+.1f}") and " to " in cell for cell in row)
    assert "different samples" not in page.said


def test_other_samples_are_said_and_have_no_paired_interval():
    page = Parsed(report_page([run_of("a"), run_of("b", seed=1)]))
    assert "b and a were scored on different samples" in page.said
    assert "bootstrap" not in page.said
    counts_differ = [replace(run, held_out=None) for run in (run_of("a"), run_of("b", seed=1))]
    assert "different samples" in Parsed(report_page(counts_differ)).said
    counts_agree = [replace(run, held_out=None) for run in (run_of("a"), run_of("b"))]
    assert "different samples" not in Parsed(report_page(counts_agree)).said


def test_runs_with_other_attributes_are_compared_on_those_in_common():
    other = run_of("b", ["white", "new"])
    page = Parsed(report_page([run_of("a"), other]))
    assert "1 attribute in common" in page.said
    (row,) = rows_named(page, "new")
    assert row[2:4] == ["–", "–"]
    apart = Parsed(report_page([run_of("a"), run_of("b", ["new"])]))
    assert not apart.section("comparison")


def test_a_demo_compares_its_models():
    run = run_of()
    table = run.metrics["model"]
    demo = replace(run, metrics={"alone": table, "latent": table.assign(ap=table["ap"] + 0.01)})
    page = Parsed(report_page([demo]))
    assert "with latent, the best of 2 models." in page.said
    assert "latent against alone: +1.0 points of mean AP; ahead for 4" in page.said


def test_latent_tasks_show_exact_zeros_and_who_shares():
    S = np.array([[0.0, 2, -3, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
    run = run_of(latents=Latents(S, np.array([1.0, 0.0, 10.0])))
    page = Parsed(report_page([run]))
    assert "2 of 3 latent tasks are in use, 1 of them by more than one attribute; 75\xa0% of S" in (
        page.said
    )
    rows = [row for row in page.rows if len(row) == 4 and row[0] in ("0", "2")]
    assert [row[0] for row in rows] == ["2", "0"]
    assert rows[1][2:] == ["2", "−spots, white"]
    (heat,) = [c for c in page.charts["charts"].values() if c.get("description") == "Weights of S"]
    cells, marks = values_of(heat, 0), values_of(heat, 1)
    assert {(c["attribute"], c["latent"]) for c in cells} == {
        ("white", "0"),
        ("spots", "0"),
        ("black", "2"),
    }
    assert len(marks) == 5
    assert heat["layer"][1]["mark"]["text"] == "×"


def test_what_to_be_wary_of_is_said():
    run = run_of(
        scored_on="the 80 training rows",
        held_out_metrics=False,
        report={"status": "BUDGET"},
        lines={"status": "Raise the limit."},
        config={
            "match": {"attributes_left_out": ["rare"]},
            "search": {"notes": ["an edge."]},
            "images": {"skipped": 2},
        },
    )
    found = " ".join(run_warnings(run, []))
    for part in (
        "ended with BUDGET. Raise the limit.",
        "too good to expect",
        "rare",
        "an edge.",
        "2 images were left out, missing or not to be decoded",
    ):
        assert part in found
    page = Parsed(report_page([run]))
    assert "model could not be scored" not in page.said
    pair = Parsed(report_page([run, replace(run, name="second", config={})]))
    assert "first, second: The solver ended with BUDGET" in pair.said
    assert "first: Left out of the fit as too rare: rare." in pair.said
    bare = replace(run, metrics={}, held_out=None, histories={}, config={})
    assert "could not be scored" in Parsed(report_page([bare])).said


def test_paths_of_a_search_are_drawn_with_the_best():
    table = pd.DataFrame(
        {
            "shared_strength": [np.inf, np.inf, 0.1, 0.01],
            "own_strength": [1.0, 0.1, 1.0, 1.0],
            "mean": [0.7, 0.8, 0.9, np.nan],
            "standard_error": [0.01] * 4,
        }
    )
    page = Parsed(report_page([run_of(search=table)]))
    assert page.section("search")
    scaled = table.assign(scaling=["as given", "Pareto", "Pareto", "Pareto"])
    lines = Parsed(report_page([run_of(search=scaled)]))
    charts = lines.charts["charts"].values()
    named = [values_of(c, 0) for c in charts if "mean AP" in c.get("description", "")]
    assert [sorted(point["other"] for point in each) for each in named] == [
        ["1"],
        ["Pareto", "as given"],
    ]
    charts = [c for c in page.charts["charts"].values() if "mean AP" in c.get("description", "")]
    assert [sorted(point["x"] for point in values_of(c, 0)) for c in charts] == [[0.1], [0.1, 1]]
    rings = [
        values_of(c, place)
        for c in charts
        for place, layer in enumerate(c["layer"])
        if layer["mark"]["type"] == "point"
    ]
    assert [[point["y"] for point in ring] for ring in rings] == [[0.9]]


def test_many_attributes_and_long_names_stay_within_the_limit(monkeypatch):
    names = [f"{'a long name of an attribute ' * 3}{i}" for i in range(1300)]
    S = np.random.default_rng(0).standard_normal((3, 1300))
    runs = [run_of("run", names, n=12, latents=Latents(S, None))]
    text = report_page(runs)
    assert len(text.encode()) < LARGEST_PAGE
    assert "The page shows the first 1200 attributes and leaves out 100" in Parsed(text).said
    monkeypatch.setattr(page_module, "LARGEST_PAGE", 1000)
    with pytest.raises(ValueError, match="give fewer runs"):
        report_page([run_of()])


def test_a_comparison_without_intervals_says_none():
    pair = [replace(run_of(name), held_out=None) for name in "ab"]
    models = models_of(pair)
    found = comparison_sentence(compare_models(*models))
    assert found == "b has the same AP as a for 4 attributes in common."
    models[1].table["ap"] += [0.02, -0.01, 0.01, 0.0]
    found = comparison_sentence(compare_models(*models))
    assert found == (
        "b against a: +0.5 points of mean AP; "
        "ahead for 2 and behind for 1 of 4 attributes in common."
    )


def test_an_interval_too_narrow_for_its_digits_is_said_in_words():
    found = compare_models(*models_of([run_of("a", noise=1.0), run_of("b", noise=2.0)]))
    narrow = comparison_sentence(found._replace(mean_low=-0.0004, mean_high=0.0003))
    assert "(95 % interval within 0.05 points of 0, paired bootstrap" in narrow
    wider = comparison_sentence(found._replace(mean_low=-0.0004, mean_high=0.0006))
    assert "(95 % interval +0.0 to +0.1, paired" in wider


def test_scores_of_the_samples_of_the_fit_are_headed_as_such():
    run = run_of("a")
    whole = headline(run, [run.metrics["model"]])
    fitted = headline(replace(run, held_out_metrics=False), [run.metrics["model"]])
    assert whole.startswith("Mean average precision")
    assert fitted == f"On the samples that it was fitted on: m{whole[1:]}"


def test_attributes_fitted_on_few_labels_of_an_answer_are_named():
    yes, no = np.array([9, 10, 40, np.nan]), np.array([40, 40, 0, np.nan])
    (text,) = few_fitted(NAMES, yes, no)
    assert text.startswith("2 of 4 attributes were fitted on fewer than 10 labels of yes or of no")
    assert text.endswith(f": {NAMES[0]}, {NAMES[2]}.")
    assert few_fitted(NAMES, no * 0 + 10, no * 0 + 10) == []


def test_pages_of_several_runs_have_the_auc_of_each():
    page = Page([run_of("a"), run_of("b", noise=2.0)])
    add_sections(page)
    table = next(t for t in page.sections[0].tables if t.caption == "Scores by attribute")
    columns = [m for m, column in enumerate(table.columns) if column.title == "AUC %"]
    assert [table.columns[m].over for m in columns] == ["a", "b"]
    for (model, _), m in zip(page.models, columns, strict=True):
        shown = [row[m].value for row in table.rows]
        np.testing.assert_allclose(shown, model.table["auc"])
        assert all("–" in row[m].below for row in table.rows)


def test_attributes_without_weights_are_named_unless_all_are_without():
    some = without_weights(["black", "spots"], 4, chosen=True)
    assert "2 of 4 attributes are zero, so they are predicted by the intercept alone" in some
    assert "alike for every sample: black, spots. No strength that was tried" in some
    every = without_weights(["black", "spots"], 2, chosen=False)
    assert "alike for every sample. The strengths are too large for that" in every


def test_attributes_that_are_never_called_a_yes_are_named():
    silent = np.array([True, False, False, True])
    (text,) = never_yes(NAMES, silent, {"threshold": "probability"})
    assert "none of the scored rows for 2 of 4 attributes" in text
    assert f": {NAMES[0]}, {NAMES[3]}. Its ranking" in text
    assert text.endswith("; --threshold f1 says yes more often.")
    (text,) = never_yes(NAMES, silent, {"class_weight": None})
    assert text.endswith("; --balanced says yes more often.")
    for parameters in ({"threshold": "f1"}, {"class_weight": "balanced"}):
        (text,) = never_yes(NAMES, silent, parameters)
        assert text.endswith("(AP, AUC).")
    assert never_yes(NAMES, ~silent & silent, {}) == []
    run = run_of()
    scores = np.where(np.arange(4) == 1, -1.0, run.held_out.scores)
    quiet = replace(run, held_out=run.held_out._replace(scores=scores))
    (text,) = run_warnings(quiet, [])
    assert "1 of 4 attributes, though some are: white" in text
    (text,) = run_warnings(replace(quiet, dead=["white"]), [])
    assert "yes to none" not in text


def test_images_that_were_left_out_are_counted():
    for config, said in (
        ({"images": {"skipped": 1}}, "1 image was left out, missing or not to be decoded."),
        (
            {"images": {"skipped": 2, "skipped_images": ["a", "b"]}},
            "2 images were left out, missing or not to be decoded; config.json names them.",
        ),
        (
            {"skipped": ["a.png can't be decoded"]},
            "1 image was left out, missing or not to be decoded; config.json names them.",
        ),
    ):
        assert run_warnings(run_of(config=config), []) == [said]


def test_gains_are_shown_of_attributes_that_share_alone():
    sharing = sharing_of([0.02, 0.01, 0.0, 0.0], [0.01] * 4, (True, True, False, False))
    (row,) = rows_named(Parsed(report_page([run_of(sharing=sharing)])), "spots")
    assert "not shared" in row
    assert "+0.0" not in "".join(row)
    nobody = sharing.assign(shared=False)
    page = Parsed(report_page([run_of(sharing=nobody)]))
    (row,) = rows_named(page, "spots")
    assert "not shared" not in row
    assert page.said.count("nothing is shared") == 1
