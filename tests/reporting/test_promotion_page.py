"""The page of a promotion: what it says first."""

from __future__ import annotations

from mmer.evaluation.champions import Champions, Version
from mmer.evaluation.promotion import Check, Decision, PromotionSettings
from mmer.reporting.promotion import promotion_page

VERSION = Version(
    name="toy",
    number="1",
    system="toy",
    title="Toy",
    model="digest",
    fingerprint="tables",
    synthetic=False,
    micro_f1=0.5,
)


def check(rule: str, of: str, holds: bool) -> Check:
    return Check(rule=rule, of=of, needed="at most 1", found="2", holds=holds)


def test_a_refusal_is_told_in_a_sentence_and_what_does_not_hold_stands_first():
    decision = Decision(
        candidate=VERSION,
        champion=None,
        verdict="refused",
        checks=(
            check("few evaluations", "", True),
            check("no label worse", "one label", False),
            check("no label worse", "another label", False),
        ),
        differences=None,
        evaluations=1,
        after=0,
        settings=PromotionSettings(),
    )
    page = promotion_page(decision, Champions.of("toy", False, []))
    assert '<p class="answer">2 of 3 conditions not met: no label worse.</p>' in page
    assert page.index("another label") < page.index("few evaluations")
    assert "Both were judged" not in page
