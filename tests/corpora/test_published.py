from __future__ import annotations

import pytest

from mmer.corpora import CORPORA


def test_the_published_size_of_mosei():
    counts = CORPORA["mosei"].published.counts
    assert counts["samples"]["test"] == 4659
    assert CORPORA["mosei"].published.also_counted  # a second source, which differs by a few
    counts = CORPORA["m3ed"].published.counts
    assert (counts["samples"], counts["groups"]["all"]) == ({"all": 990}, 56)


def test_ranges_are_in_order_and_name_a_source():
    scores = CORPORA["mosei"].published.scores
    assert {score.system for score in scores} >= {"CARAT", "AMP", "TAILOR"}
    for score in scores:
        assert 0 < score.micro_f1[0] <= score.micro_f1[1] < 1
        assert score.setting in ("aligned", "unaligned")
        assert score.source


@pytest.mark.parametrize("system", ["AMP", "TAILOR"])
def test_what_was_not_read_in_the_paper_says_so(system):
    [score] = [s for s in CORPORA["mosei"].published.scores if s.system == system]
    assert "third party" in score.source


def test_the_caveats_name_the_swap():
    assert any(
        "swapped" in caveat and "recall" in caveat for caveat in CORPORA["mosei"].published.caveats
    )
