from __future__ import annotations

import pytest

from mmer.evaluation.published import CAVEATS, published_counts, published_scores


@pytest.mark.parametrize("corpus", ["mosei", "mosei_unaligned"])
def test_mosei_goes_under_any_suffix(corpus):
    assert {score.system for score in published_scores(corpus)} >= {"CARAT", "AMP", "TAILOR"}
    assert published_counts(corpus).counts["samples", "test"] == 4659


def test_corpora_without_published_figures():
    assert published_scores("m3ed") == []
    assert published_scores("moseiX") == []
    assert published_counts("unknown") is None


def test_ranges_are_in_order_and_name_a_source():
    for score in published_scores("mosei"):
        assert 0 < score.micro_f1[0] <= score.micro_f1[1] < 1
        assert score.source


def test_the_caveats_name_the_swap():
    assert any("swapped" in caveat and "recall" in caveat for caveat in CAVEATS)
