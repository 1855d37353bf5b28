from __future__ import annotations

from io import StringIO

import chromium
import numpy as np
import pandas as pd
import pytest

from mmer.metrics.intervals import Interval
from mmer.metrics.seeds import ComparedCorpora
from mmer.reporting.corpora import (
    answers,
    best_ones,
    corpora_figure,
    corpora_frame,
    corpora_latex,
    corpora_text,
    learned,
    not_shown_worse,
    notes,
    render_corpora,
)

BAYES = {"micro_f1": 0.99, "macro_f1": 0.99}
SYSTEMS = {"Sharp & <b>": 0.6, "Middling": 0.43, "Blind": 0.0}
EASY, HARD, OPEN = "Evidence in the mean", "Order of two moments", "Of unknown bounds"


@pytest.fixture(scope="module")
def compared(compare_made, side_by_side) -> ComparedCorpora:
    hard = dict.fromkeys(SYSTEMS, 0.0)
    return side_by_side(
        {
            EASY: compare_made(SYSTEMS, bayes_optimal=BAYES),
            HARD: compare_made(hard, bayes_optimal=BAYES),
            OPEN: compare_made({"Sharp & <b>": 0.6, "Blind": 0.0}),
        }
    )


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.91, 1.02, "learns"),
        (0.9, 1.02, "in part"),
        (0.5, 0.9, "in part"),
        (0.3, 0.95, "in part"),
        (-0.2, 0.49, "not"),
        (-0.2, 0.5, "in part"),
    ],
)
def test_an_interval_says_what_is_learned(low, high, said):
    assert learned(Interval(value=(low + high) / 2, low=low, high=high, undefined=0)) == said


def test_what_has_no_interval_or_no_bound_says_nothing():
    assert learned(None) == "unknown"
    assert learned(Interval(value=0.95, low=None, high=None, undefined=0)) == "unknown"


def test_it_is_said_what_each_system_learns(compared):
    assert answers(compared) == [
        f"Sharp & <b> learns {EASY}; does not learn {HARD}; cannot be judged on {OPEN}.",
        f"Middling learns {EASY} in part, or not clearly; does not learn {HARD}.",
        f"Blind learns none of 2; cannot be judged on {OPEN}.",
    ]


def test_it_is_said_which_system_is_best_on_each(compared):
    easy, hard, unknown = best_ones(compared)
    assert easy == (
        f"{EASY}: Sharp & <b> has the highest micro-F1 and is significantly better than every "
        "other system."
    )
    assert "none is shown to be best" in hard
    assert unknown.startswith(f"{OPEN}: Sharp & <b> has the highest micro-F1")
    assert not_shown_worse(compared.corpora[0].compared) == ["Sharp & <b>"]
    assert len(not_shown_worse(compared.corpora[1].compared)) == 3


def test_notes_say_what_is_not_known(compared, compare_made, side_by_side):
    told = " ".join(notes(compared))
    assert f"not known of {OPEN}" in told
    assert "one training seed" not in told
    single = compare_made(SYSTEMS, 1, bayes_optimal=BAYES, groups_known=False)
    told = " ".join(notes(side_by_side({EASY: single})))
    assert "one training seed" in told
    assert "Groups are unknown" in told
    assert "not known of" not in told


def test_the_table_for_programs_has_numbers_in_columns(compared):
    frame = pd.read_csv(StringIO(corpora_frame(compared).to_csv(index=False)))
    rows = frame.set_index(["title", "system"])
    assert len(rows) == 3 + 3 + 2
    for on in compared.corpora:
        for one in on.compared.systems:
            row, title = rows.loc[(on.corpus, one.info.title)], one.info.title
            share = on.compared.share_of_possible(title, "micro_f1")
            assert row["micro_f1"] == one.metrics["micro_f1"].mean.value
            assert row["micro_f1_of_every_label"] == on.compared.of_every_label["micro_f1"]
            if share is None:
                assert np.isnan(row["micro_f1_share_of_possible"])
                assert row["learned"] == "unknown"
                continue
            found = [row[f"micro_f1_share_of_possible{end}"] for end in ("", "_low", "_high")]
            assert found == [share.value, share.low, share.high]
            assert row["learned"] == learned(share)
    assert rows.loc[EASY, "best"].tolist() == [True, False, False]
    assert rows.loc[(EASY, "Blind"), "verdict_of_best"] == "better"


def test_the_heat_map_has_true_numbers_and_says_what_is_not_known(compared):
    figure = corpora_figure(compared)
    (drawn,) = figure.data
    shares = [
        compared.corpora[0].compared.share_of_possible(title, "micro_f1").value for title in SYSTEMS
    ]
    assert list(drawn.z[0]) == shares
    assert list(drawn.text[0]) == [f"{share:.2f}" for share in shares]
    assert shares[2] < 0 == drawn.zmin < drawn.zmax == 1
    assert list(drawn.z[2]) == [None] * 3
    assert list(drawn.text[2]) == ["?"] * 3
    assert figure.layout.yaxis.ticktext[0] == EASY
    assert figure.layout.xaxis.ticktext[0] == "Sharp &amp; &lt;b&gt;"
    assert "synthetic" in figure.layout.title.text


@pytest.mark.parametrize("width", [46, 80, 140])
def test_the_table_fits_the_terminal(compared, width):
    text = corpora_text(compared, width)
    assert max(map(len, text.splitlines())) <= width
    share = compared.corpora[0].compared.share_of_possible("Sharp & <b>", "micro_f1")
    assert f"{share.value:.3f} *" in text
    assert (f"[{share.low:.3f}, {share.high:.3f}]" in text) == (width > 46)
    assert "unknown" in text
    assert "SYNTHETIC" in text


def test_the_table_for_a_paper_says_what_the_record_says(compared, parsed_latex):
    text = corpora_latex(compared)
    head, *rows = parsed_latex(text)
    assert head[1:] == [r"Sharp \& \textless{}b\textgreater{}", "Middling", "Blind"]
    assert [row[0] for row in rows[::2]] == [EASY, HARD, OPEN]
    shares = [compared.corpora[0].compared.share_of_possible(t, "micro_f1") for t in SYSTEMS]
    assert rows[0][1] == rf"\textbf{{{shares[0].value:.3f}}}"
    assert rows[0][2:] == [f"{one.value:.3f}".replace("-", "$-$") for one in shares[1:]]
    assert f"[{shares[0].low:.3f}, {shares[0].high:.3f}]" in rows[1][1]
    assert sum("dagger" in cell for cell in rows[2]) == 2
    assert rows[4][1:] == ["--"] * 3
    assert "SYNTHETIC" in text.partition(r"\begin")[0]


def test_the_page_shows_every_share(compared):
    page = render_corpora(compared)
    assert "Sharp &amp; &lt;b&gt;" in page
    assert "Sharp & <b>" not in page
    for on in compared.corpora:
        for one in on.compared.systems:
            for name in ("micro_f1", "macro_f1"):
                assert f"{one.metrics[name].mean.value:.3f}" in page
                if share := on.compared.share_of_possible(one.info.title, name):
                    assert f">{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]<" in page
    assert page.count(">Bayes-optimal unknown<") == 2 * 2
    assert page.count(">learns<") == 1
    assert "SYNTHETIC" in page


@pytest.mark.skipif(not chromium.PROGRAM, reason="there is no Chromium on this machine")
def test_nothing_is_wrong_with_the_page_in_a_browser(compared, tmp_path):
    (tmp_path / "page.html").write_text(render_corpora(compared), encoding="utf-8")
    with chromium.running(tmp_path) as browser:
        for width in (1600, 390):
            assert browser.problems(tmp_path / "page.html", width) == []
