from __future__ import annotations

import re
from io import StringIO

import chromium
import numpy as np
import pandas as pd
import pytest

from mmer.corpora.corpus import Published, PublishedScore
from mmer.evaluation.costs import ComparedCosts
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.resampled import METRICS
from mmer.metrics.seeds import ComparedSystems
from mmer.reporting.costs import (
    COST_TITLES,
    cost_figure,
    cost_notes,
    cost_rows,
    cost_texts,
    costs_text,
)
from mmer.reporting.seeds import (
    answer,
    notes,
    render_seeds,
    seeds_frame,
    seeds_latex,
    seeds_text,
)

BAYES = {"micro_f1": 0.99, "macro_f1": 0.98}
PUBLISHED = Published(
    scores=(
        PublishedScore(
            system="Somebody", setting="aligned", micro_f1=(0.51, 0.62), source="in a dream"
        ),
    ),
    caveats=("Beware.",),
)
SIGNALS = {"Strong": 0.9, "Middling <b>": 0.25, "Middling too": 0.25, "Weak": 0.0}
LABELS = "% F1 of each label."


@pytest.fixture(scope="module")
def compare(compare_made):
    def made(seeds: int = 3, titles=tuple(SIGNALS), **info) -> ComparedSystems:
        signals = {title: SIGNALS[title] for title in titles}
        return compare_made(signals, seeds, unseeded=("Weak",), **info)

    return made


def test_the_answer_names_the_best_and_what_it_is_not_shown_to_beat(compare):
    assert answer(compare()) == (
        "Strong has the highest micro-F1 and is significantly better than every other system."
    )
    without = answer(compare(titles=("Middling <b>", "Middling too", "Weak")))
    assert re.fullmatch(
        r"Middling (<b>|too) has the highest micro-F1, but does not differ significantly from "
        r"Middling (<b>|too); it is better than Weak\.",
        without,
    )
    alike = answer(compare(titles=("Middling <b>", "Middling too")))
    assert alike.endswith("none is shown to be best.")


def test_one_seed_is_called_one(compare):
    several, single = " ".join(notes(compare())), " ".join(notes(compare(seeds=1)))
    assert "one training seed" not in several
    assert "Middling too: one training seed" in single
    assert "draws no random numbers" in several
    assert "±" in seeds_text(compare())
    assert "±" not in seeds_text(compare(seeds=1))


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_table_fits_the_terminal(compare, width):
    compared = compare()
    text = seeds_text(compared, width)
    assert max(map(len, text.splitlines())) <= width
    for one in compared.systems:
        figure = one.metrics["micro_f1"]
        assert f"{figure.mean.value:.3f}" in text
        assert f"[{figure.mean.low:.3f}, {figure.mean.high:.3f}]" in text
    assert "Holm" in text
    assert "SYNTHETIC" in text


def test_the_table_for_programs_has_numbers_in_columns(compare, make_costs):
    compared = compare(bayes_optimal=BAYES)
    costs = make_costs(compared, energy=7.5)
    frame = pd.read_csv(StringIO(seeds_frame(compared, costs).to_csv(index=False)))
    rows = frame.set_index(["system", "metric"])
    labels = compared.info.labels
    assert len(frame) == len(compared.systems) * (len(METRICS) + len(labels) + 8)
    of_label = rows.loc[("Strong", f"F1 of {labels[1]}")]
    assert of_label["mean"] == compared.systems[0].label_f1[labels[1]].mean.value
    row = rows.loc[("Strong", "micro_f1")]
    figure = compared.systems[0].metrics["micro_f1"]
    assert (row["mean"], row["deviation"]) == (figure.mean.value, figure.deviation)
    assert [float(v) for v in row["values"].split()] == pytest.approx(figure.values, abs=1e-6)
    share = compared.share_of_possible("Strong", "micro_f1")
    assert (row["share_of_possible"], row["share_of_possible_low"]) == (share.value, share.low)
    assert np.isnan(rows.loc[("Strong", "accuracy"), "share_of_possible"])
    one = compared.difference("Strong", "Weak", "micro_f1")
    assert row["minus Weak"] == one.difference
    assert row["minus Weak: verdict"] == "better"
    for system in costs.systems:
        row = rows.loc[(system.title, "training_seconds")]
        seconds = [cost.training.seconds for cost in system.costs]
        assert row["mean"] == pytest.approx(np.mean(seconds))
        assert [float(v) for v in str(row["values"]).split()] == pytest.approx(seconds)
        parameters = rows.loc[(system.title, "parameters"), "mean"]
        assert parameters == system.costs[0].parameters
        assert rows.loc[(system.title, "training_joules"), "mean"] == 7.5
        assert np.isnan(rows.loc[(system.title, "scoring_memory_bytes"), "mean"])


def test_the_page_shows_every_figure_of_every_system(compare, make_costs):
    compared = compare(bayes_optimal=BAYES)
    page = render_seeds(compared, "A corpus", make_costs(compared), PUBLISHED)
    assert "SYNTHETIC" in page
    assert "Middling &lt;b&gt;" in page
    assert "Middling <b>" not in page
    for one in compared.systems:
        for figure in (*one.metrics.values(), *one.label_f1.values()):
            assert f"{figure.mean.value:.3f}" in page
        assert all(model in page for model in one.models)
        share = compared.share_of_possible(one.info.title, "micro_f1")
        assert f"{share.value:.3f} [" in page or f"{share.value:.3f}<br>[" in page
    for title in HEADLINE.values():
        assert f"Differences in {title}" in page
    assert "cannot be compared" in page
    for told in ("Somebody", "0.510 to 0.620", "in a dream", "Beware."):
        assert told in page
    real = compare(synthetic=False)
    page = render_seeds(real, "A corpus", make_costs(real), PUBLISHED)
    assert "SYNTHETIC" not in page
    assert "cannot be compared" not in page
    assert "0.510 to 0.620" in page
    assert "share of the possible" not in page


def test_the_page_tells_what_systems_cost(compare, make_costs):
    compared = compare()
    page = render_seeds(compared, "A corpus", make_costs(compared), Published())
    for told in ("1,234,567", "3.5 s (2.5 to 4.5)", "480", "150 MB", "41.7 min"):
        assert f">{told}<" in page
    assert page.count("not told by this machine") == 2 * len(compared.systems)
    assert "Measured on Some Processor, 2 threads." in page
    assert "No published figures are at hand" in page
    told = render_seeds(compared, "A corpus", make_costs(compared, energy=2500.0), Published())
    assert ">2.5 kJ<" in told
    assert "package-0" in told
    measured = make_costs(compared)
    fewer = measured.model_copy(update={"systems": measured.systems[1:]})
    page = render_seeds(compared, "A corpus", fewer, Published())
    assert page.count(">not measured<") == len(COST_TITLES)
    none = render_seeds(compared, "A corpus", ComparedCosts(systems=()), Published())
    assert "What these systems cost was not measured." in none


def test_a_cost_that_only_some_machines_tell_has_no_mean(compare, make_costs):
    cost = make_costs(compare(titles=("Strong",))).systems[0].costs[0]
    other = cost.model_copy(
        update={
            "training": cost.training.model_copy(update={"energy": 3.0}),
            "machine": cost.machine.model_copy(update={"processor": "Another", "device": "A GPU"}),
        }
    )
    assert cost_texts([cost, other])[2] == "not told by every machine"
    assert {one.name: one.mean for one in cost_rows([cost, other])}["training_joules"] is None
    told = " ".join(cost_notes(ComparedCosts.of([cost, other])))
    assert "different machines" in told
    assert "Some Processor, 2 threads; A GPU, Another, 2 threads" in told


@pytest.mark.parametrize("width", [60, 100, 160])
def test_the_table_of_costs_fits_the_terminal(compare, make_costs, width):
    text = costs_text(make_costs(compare()), width)
    assert max(map(len, text.splitlines())) <= width
    assert "3.5 s" in text
    assert "41.7 min" in text


def test_training_time_is_drawn_against_the_score(compare, make_costs):
    compared = compare()
    figure = cost_figure(compared, make_costs(compared))
    assert [trace.x[0] for trace in figure.data] == pytest.approx([3.5, 26, 251, 2500])
    assert [trace.y[0] for trace in figure.data] == [
        one.metrics["micro_f1"].mean.value for one in compared.systems
    ]
    assert figure.layout.xaxis.type == "log"
    assert len({trace.marker.symbol for trace in figure.data}) == 4


def test_the_table_for_a_paper_says_what_the_record_says(compare, make_costs, parsed_latex):
    compared = compare(bayes_optimal=BAYES)
    text = seeds_latex(compared, make_costs(compared))
    head, *rows = parsed_latex(text.partition(LABELS)[0].strip())
    assert head[1:6] == ["micro-F1", "macro-F1", "accuracy", "mAP", "share of the possible"]
    hostile = r"Middling \textless{}b\textgreater{}"
    assert [row[0] for row in rows[::2]] == ["Strong", hostile, "Middling too", "Weak"]
    for one, row, below in zip(compared.systems, rows[::2], rows[1::2], strict=True):
        figure = one.metrics["micro_f1"]
        assert f"{figure.mean.value:.3f}" in row[1]
        assert (r"$\pm$" in row[1]) == bool(one.seeds)
        assert below[1] == rf"{{\scriptsize [{figure.mean.low:.3f}, {figure.mean.high:.3f}]}}"
        assert ("textbf" in row[1]) == (one.info.title == "Strong")
        assert row[8] == "--"
    assert text.startswith("% Caption: toy, SYNTHETIC corpus")
    head, *rows = parsed_latex(text.partition(LABELS)[2].strip())
    assert head[1:] == list(compared.info.labels)
    for one, row in zip(compared.systems, rows[::2], strict=True):
        for cell, figure in zip(row[1:], one.label_f1.values(), strict=True):
            assert cell.startswith(f"{figure.mean.value:.3f}")
    alike = compare(titles=("Middling <b>", "Middling too"), synthetic=False)
    text = seeds_latex(alike, make_costs(alike))
    _, first, _, second, _ = parsed_latex(text.partition(LABELS)[0].strip())
    assert sorted(["textbf" in first[1], "textbf" in second[1]]) == [False, True]
    assert sorted(["dagger" in first[1], "dagger" in second[1]]) == [False, True]
    assert "SYNTHETIC" not in text


def test_the_share_of_the_possible_stands_in_the_terminal_where_it_is_known(compare):
    compared = compare(bayes_optimal=BAYES)
    share = compared.share_of_possible("Strong", "micro_f1")
    assert f"{share.value:.3f}" in seeds_text(compared, 160)
    assert "Share of the possible" in seeds_text(compared, 160)
    assert "possible" not in seeds_text(compare(), 160)


@pytest.mark.skipif(not chromium.PROGRAM, reason="there is no Chromium on this machine")
def test_nothing_is_wrong_with_the_page_in_a_browser(compare, make_costs, tmp_path):
    compared = compare(bayes_optimal=BAYES)
    page = render_seeds(compared, "A corpus", make_costs(compared), PUBLISHED)
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    with chromium.running(tmp_path) as browser:
        for width in (1600, 390):
            assert browser.problems(tmp_path / "page.html", width) == []
