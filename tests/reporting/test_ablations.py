from __future__ import annotations

from io import StringIO

import chromium
import numpy as np
import pandas as pd
import pytest

from mmer.metrics.resampled import METRICS
from mmer.metrics.seeds import ComparedCorpora
from mmer.reporting.ablations import (
    ablation_figures,
    ablations_frame,
    ablations_latex,
    ablations_text,
    answers,
    notes,
    parts_of,
    render_ablations,
)

WHOLE = "Whole & <b>"
# Without the one there is less of the truth in the scores, without the other more.
PARTS = {"": 0.35, "useful_part": 0.05, "harmful": 0.6, "idle": 0.35}
OTHERWISE = {"": 0.35, "useful_part": 0.6, "idle": 0.34}


@pytest.fixture(scope="module")
def on_one(compare_made, side_by_side) -> ComparedCorpora:
    return side_by_side({"One 100% corpus": compare_made(PARTS, whole=WHOLE)})


@pytest.fixture(scope="module")
def on_several(compare_made, side_by_side) -> ComparedCorpora:
    first = compare_made(PARTS, whole=WHOLE)
    real = compare_made(OTHERWISE, whole=WHOLE, synthetic=False)
    return side_by_side({"One 100% corpus": first, "Another corpus": real, "A third": first})


def test_it_is_said_which_parts_earn_their_place_which_harm_and_which_do_not_show(on_one):
    lead = f"{WHOLE} on One 100% corpus: "
    assert answers(on_one) == [
        f"{lead}useful part earns its place: without it, micro-F1 is significantly lower.",
        f"{lead}harmful harms: without it, micro-F1 is significantly higher.",
        f"{lead}idle is not shown to matter: without it, micro-F1 does not differ significantly.",
    ]


def test_it_is_said_that_no_part_earns_its_place(compare_made, side_by_side):
    signals = {"": 0.3, "one": 0.3, "other": 0.3}
    found = answers(side_by_side({"Here": compare_made(signals, whole="Whole")}))
    assert found == [
        "Whole on Here: no part is shown to earn its place.",
        "Whole on Here: one and other are not shown to matter: without any one of them, micro-F1 "
        "does not differ significantly.",
    ]


def test_it_is_said_on_which_corpora_a_part_earns_its_place(on_several):
    assert answers(on_several) == [
        f"{WHOLE}, useful part: earns its place on One 100% corpus and A third; harms on Another "
        "corpus.",
        f"{WHOLE}, harmful: harms on all 2.",
        f"{WHOLE}, idle: is not shown to matter on any of 3.",
    ]


def test_systems_are_not_mixed(compare_made, side_by_side):
    corpora = {name: compare_made(PARTS, whole=name) for name in ("A", "B")}
    both = side_by_side(dict.fromkeys(["Here"], corpora["A"]))
    both = both.model_copy(update={"corpora": (*both.corpora, *side_by_side(corpora).corpora[1:])})
    assert {told.partition(" on ")[0] for told in answers(both)} == {"A", "B"}
    assert len(ablation_figures(both)) == 2


def test_notes_say_what_is_not_known(compare_made, side_by_side, on_one, on_several):
    single = side_by_side({"Here": compare_made(PARTS, 1, whole="Whole", groups_known=False)})
    told = " ".join(notes(single))
    assert "With one training seed" in told
    assert "Groups are unknown" in told
    assert "tables, each" not in told
    told = " ".join(notes(on_several))
    assert "training seed" not in told
    assert "There are 3 tables, each corrected for itself" in told


def test_the_table_for_programs_has_numbers_in_columns(on_several):
    frame = pd.read_csv(StringIO(ablations_frame(on_several).to_csv(index=False)))
    assert len(frame) == len(METRICS) * (3 + 2 + 3)
    rows = frame.set_index(["title", "without", "metric"])
    for on in on_several.corpora:
        for one in parts_of(on):
            row = rows.loc[(on.corpus, one.info.without, "micro_f1")]
            found = on.compared.difference(WHOLE, one.info.title, "micro_f1")
            assert (row["difference"], row["low"], row["high"], row["corrected_p_value"]) == (
                found.difference,
                found.low,
                found.high,
                found.corrected_p_value,
            )
            assert row["whole"] - row["ablated"] == pytest.approx(found.difference)
    verdicts = rows.xs("micro_f1", level="metric")["verdict"]
    assert verdicts["One 100% corpus"].to_dict() == {
        "useful_part": "earns its place",
        "harmful": "harms",
        "idle": "not shown to matter",
    }
    assert not rows.xs("Another corpus", level="title")["synthetic"].any()


@pytest.mark.parametrize("width", [60, 90, 140])
def test_the_tables_fit_the_terminal(on_one, on_several, width):
    for ablated in (on_one, on_several):
        text = ablations_text(ablated, width)
        assert max(map(len, text.splitlines())) <= width
        assert "SYNTHETIC" in text or "(synthetic)" in text
    found = on_one.corpora[0].compared.difference(WHOLE, f"{WHOLE} without useful_part", "micro_f1")
    text = ablations_text(on_one, width)
    assert f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]" in text
    assert f"▲ {found.difference:+.2f}" in ablations_text(on_several, width)


def test_the_table_for_a_paper_says_what_the_record_says(on_several, parsed_latex):
    text = ablations_latex(on_several)
    head, *rows = parsed_latex(text)
    assert head[0] == "without"
    assert rows[0][0].endswith(
        r"\emph{Whole \& \textless{}b\textgreater{} on One 100\% corpus (synthetic)}}"
    )
    expected = on_several.corpora[0].compared
    for row, one in zip(rows[1:4], parts_of(on_several.corpora[0]), strict=True):
        found = expected.difference(WHOLE, one.info.title, "micro_f1")
        value, low, high = (
            f"{x:+.3f}".replace("-", "$-$") for x in (found.difference, found.low, found.high)
        )
        assert rf"{{\scriptsize [{low}, {high}]}}" in row[1]
        assert (rf"\textbf{{{value}}}" in row[1]) == found.significant
        assert value in row[1]
    assert [row[-1] for row in rows[1:4]] == ["earns its place", "harms", "not shown to matter"]
    caption = " ".join(line.removeprefix("% ") for line in text.splitlines()[:4])
    assert "SYNTHETIC: One 100% corpus and A third." in caption


def test_the_heat_map_marks_what_is_significant(on_several):
    (figure,) = ablation_figures(on_several).values()
    (drawn,) = figure.data
    found = on_several.corpora[0].compared.difference(
        WHOLE, f"{WHOLE} without useful_part", "micro_f1"
    )
    assert drawn.z[0][0] == found.difference
    assert drawn.text[0][0] == f"▲ {found.difference:+.2f}"
    assert [row[0][0] for row in drawn.text] == ["▲", "▼", drawn.text[2][0][0]]
    assert drawn.text[2][0][0] in "+-"
    assert (drawn.z[1][1], drawn.text[1][1]) == (None, "—")
    assert drawn.zmin == -drawn.zmax
    assert "synthetic" in figure.layout.title.text


def test_one_corpus_is_drawn_with_intervals(on_one):
    (figure,) = ablation_figures(on_one).values()
    (drawn,) = figure.data
    compared = on_one.corpora[0].compared
    found = [compared.difference(WHOLE, one.info.title, "micro_f1") for one in compared.systems[1:]]
    assert list(drawn.x) == [one.difference for one in found]
    assert list(drawn.marker.symbol) == ["circle", "circle", "circle-open"]
    low = np.array(drawn.x) - drawn.error_x.arrayminus
    assert low == pytest.approx([one.low for one in found])


def test_the_page_shows_every_difference(on_several):
    page = render_ablations(on_several)
    assert "Whole &amp; &lt;b&gt;" in page
    assert WHOLE not in page
    for on in on_several.corpora:
        for one in parts_of(on):
            for name in ("micro_f1", "macro_f1", "macro_average_precision"):
                found = on.compared.difference(WHOLE, one.info.title, name)
                assert f"{found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}]<br>p" in page
    assert page.count(">earns its place<") == 2
    assert "SYNTHETIC" in page
    assert "on Another corpus (synthetic)" not in page


@pytest.mark.skipif(not chromium.PROGRAM, reason="there is no Chromium on this machine")
def test_nothing_is_wrong_with_the_pages_in_a_browser(on_one, on_several, tmp_path):
    with chromium.running(tmp_path) as browser:
        for ablated in (on_one, on_several):
            (tmp_path / "page.html").write_text(render_ablations(ablated), encoding="utf-8")
            for width in (1600, 390):
                assert browser.problems(tmp_path / "page.html", width) == []
