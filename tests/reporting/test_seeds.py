from __future__ import annotations

import re

import chromium
import numpy as np
import pytest

from mmer.metrics.metrics import HEADLINE
from mmer.metrics.resampled import METRICS, Judged
from mmer.metrics.seeds import ComparedSystems, compare_seeds
from mmer.reporting.seeds import answer, notes, render_seeds, seeds_frame, seeds_text

SIGNALS = {"Strong": 0.9, "Middling <b>": 0.25, "Middling too": 0.25, "Weak": 0.0}


@pytest.fixture(scope="module")
def compare(noisy_scores):
    def made(seeds: int = 3, titles=tuple(SIGNALS), **info) -> ComparedSystems:
        systems, truth = {}, noisy_scores(240, 0).truth
        for place, title in enumerate(titles):
            drawn = [
                noisy_scores(
                    240,
                    1 + 50 * place + s,
                    truth=truth,
                    signal=SIGNALS[title],
                    title=title,
                    system=title,
                    model=f"digest {place} {s}",
                    seed=None if title == "Weak" else s + 1,
                    **info,
                )
                for s in range(seeds if title != "Weak" else 1)
            ]
            systems[title] = [Judged(one, np.full(one.truth.shape[1], 0.5)) for one in drawn]
        return compare_seeds(systems, resamples=2000)

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


def test_the_table_for_programs_has_numbers_in_columns(compare):
    compared = compare()
    frame = seeds_frame(compared)
    assert len(frame) == len(compared.systems) * len(METRICS)
    row = frame.set_index(["system", "metric"]).loc[("Strong", "micro_f1")]
    figure = compared.systems[0].metrics["micro_f1"]
    assert (row["mean"], row["deviation"]) == (figure.mean.value, figure.deviation)
    assert [float(v) for v in row["values"].split()] == pytest.approx(figure.values, abs=1e-6)
    one = compared.difference("Strong", "Weak", "micro_f1")
    assert row["minus Weak"] == one.difference
    assert row["minus Weak: verdict"] == "better"


def test_the_page_shows_every_figure_of_every_system(compare):
    compared = compare()
    page = render_seeds(compared, "A corpus")
    assert "SYNTHETIC" in page
    assert "Middling &lt;b&gt;" in page
    assert "Middling <b>" not in page.partition('<div class="figures">')[0]
    for one in compared.systems:
        for figure in (*one.metrics.values(), *one.label_f1.values()):
            assert f"{figure.mean.value:.3f}" in page
        assert all(model in page for model in one.models)
    for title in HEADLINE.values():
        assert f"Differences in {title}" in page
    real = render_seeds(compare(synthetic=False), "A corpus")
    assert "SYNTHETIC" not in real


@pytest.mark.skipif(not chromium.PROGRAM, reason="there is no Chromium on this machine")
def test_nothing_is_wrong_with_the_page_in_a_browser(compare, tmp_path):
    (tmp_path / "page.html").write_text(render_seeds(compare(), "A corpus"), encoding="utf-8")
    with chromium.running(tmp_path) as browser:
        for width in (1600, 390):
            assert browser.problems(tmp_path / "page.html", width) == []
