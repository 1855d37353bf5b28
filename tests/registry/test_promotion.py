"""The rule by which a candidate becomes champion, and the table that says who is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from mmer.errors import InputError
from mmer.evaluation.assessment import EvaluationSettings
from mmer.evaluation.champions import PROMOTED, TAKEN_BACK, Champions, Entry, Move, Version
from mmer.evaluation.promotion import (
    Contender,
    Contenders,
    Decision,
    Evidence,
    PromotionSettings,
    _differences,
    _margins,
    decide,
    not_worse,
)
from mmer.metrics.intervals import Difference
from mmer.reporting.promotion import champions_frame, champions_text, promotion_page

EVALUATION = EvaluationSettings(resamples=200)
SYNTHETIC = PromotionSettings(synthetic=True)


def version(number: int, evidence: Evidence | None = None) -> Version:
    return Version(
        name="toy-synthetic",
        number=str(number),
        system="toy",
        title="Toy",
        model=f"model {number}",
        fingerprint=evidence.scores.info.fingerprint if evidence else "",
        synthetic=True,
        micro_f1=0.5,
    )


def move(number: int, before: int | str, after: int, kind: str = PROMOTED) -> Move:
    told = f"to {number}"
    return Move(
        name="toy", kind=kind, number=str(number), before=str(before), after=after, told=told
    )


def table(*moves: Move) -> Champions:
    written = [
        Entry(
            place=place, move=m, version=version(int(m.number)), when="2026-01-01", by="me", run=""
        )
        for place, m in enumerate(moves, start=1)
    ]
    return Champions.of("toy", True, reversed(written))


def judged(
    candidate: Evidence,
    champion: Evidence | None = None,
    settings: PromotionSettings = SYNTHETIC,
    **options,
) -> Decision:
    first = Contender(version(2, candidate), candidate)
    second = Contender(version(1, champion), champion) if champion else None
    options = {"champions": table(), "evaluations": 2, **options}
    return decide(Contenders(first, second, **options), settings, EVALUATION)


def refused_for(decision: Decision) -> set[str]:
    assert decision.verdict == "refused"
    assert decision.move is None
    return {check.rule for check in decision.refusals}


def test_a_better_candidate_is_promoted_with_the_evidence(make_evidence):
    found = judged(make_evidence(0.8), make_evidence(0.3, 1))
    assert found.verdict == "promoted"
    assert found.move.number == "2"
    assert found.move.before == "1"
    assert found.differences.metrics["micro_f1"].low > 0
    assert f"{found.differences.metrics['micro_f1'].difference:+.3f}" in found.told


def test_a_worse_candidate_and_one_not_shown_to_be_better_are_refused_with_the_reason(
    make_evidence,
):
    worse = judged(make_evidence(0.3), make_evidence(0.8, 1))
    assert "better than the champion, or the constant systems" in refused_for(worse)
    assert "over version 1): -0." in worse.told
    same = judged(make_evidence(0.5), make_evidence(0.5))
    assert refused_for(same) == {"better than the champion, or the constant systems"}
    assert "+0.000 [+0.000, +0.000], p 1, needed lower end above 0" in same.told


def test_the_gain_asked_for_is_that_of_the_lower_end(make_evidence):
    contenders = make_evidence(0.8), make_evidence(0.3, 1)
    one = judged(*contenders).differences.metrics["micro_f1"]
    between = (one.low + one.difference) / 2
    refused = judged(*contenders, PromotionSettings(synthetic=True, gain=between))
    assert refused_for(refused) == {"better than the champion, or the constant systems"}


def test_the_best_of_many_tries_must_be_better_by_more_than_luck(make_evidence):
    """Bonferroni: the p-value counts as often as versions were tried against the champion."""
    contenders = make_evidence(0.6), make_evidence(0.45, 1)
    many = PromotionSettings(synthetic=True, most_evaluations=10**6, label_margin=1)
    p_value = judged(*contenders).differences.metrics["micro_f1"].corrected_p_value
    most = int(0.05 / p_value)
    assert judged(*contenders, many, evaluations=2).verdict == "promoted"
    refused = judged(*contenders, many, evaluations=30 * most)
    assert refused_for(refused) == {"better than the champion, or the constant systems"}
    assert f"times {30 * most - 1} evaluated" in refused.told
    first = judged(make_evidence(0.6), None, many, evaluations=10**6)
    assert "better than the champion, or the constant systems" in refused_for(first)


def test_what_was_hidden_from_the_champion_must_have_been_hidden_from_the_candidate(make_evidence):
    better, champion = make_evidence(0.8), make_evidence(0.3, 1)
    robustness = better.robustness.model_copy(update={"by_missing_rate": ()})
    found = judged(replace(better, robustness=robustness), champion)
    assert refused_for(found) == {"absent modalities not worse"}
    assert "not measured" in found.told


def test_one_label_that_gets_worse_is_enough(make_evidence):
    good, bad = make_evidence(0.9), make_evidence(0.1, 1)
    mixed = []
    for one, other in ((good, make_evidence(0.3)), (bad, good)):
        values = one.scores.scores.copy()
        values[:, 2] = other.scores.scores[:, 2]
        mixed.append(replace(one, scores=replace(one.scores, scores=values)))
    worse, champion = mixed
    found = judged(worse, champion)
    (label,) = [c for c in found.refusals if c.rule == "no label worse"]
    assert label.of == "F1 of label 2"
    assert label.needed.startswith("at least -0.05, or")
    assert judged(worse, champion).differences.metrics["micro_f1"].low > 0
    lenient = PromotionSettings(synthetic=True, label_margin=1, calibration_margin=1)
    assert judged(worse, champion, lenient).verdict == "promoted"


def test_a_larger_calibration_error_is_refused(make_evidence):
    better, champion = make_evidence(0.9), make_evidence(0.3, 1)
    told = [
        one.model_copy(
            update={"calibrator": one.calibrator.model_copy(update={"temperature": 50.0})}
        )
        for one in better.calibration.probabilities
    ]
    flat = better.calibration.model_copy(update={"probabilities": tuple(told)})
    found = judged(replace(better, calibration=flat), champion)
    assert refused_for(found) == {"calibration not worse"}
    assert "needed at most +0.02" in found.told


def test_worse_without_modalities_is_refused(make_evidence):
    fragile = make_evidence(0.8, hidden=0.0)
    robust = make_evidence(0.3, 1, hidden=0.3)
    found = judged(fragile, robust)
    assert refused_for(found) == {"absent modalities not worse"}
    assert {c.of for c in found.checks if c.rule == "absent modalities not worse"} == {
        "speech alone",
        "face alone",
        "each hidden at 0.5",
    }
    assert judged(make_evidence(0.8, hidden=0.4), robust).verdict == "promoted"


def test_the_first_champion_has_to_beat_the_constant_systems(make_evidence):
    assert judged(make_evidence(0.8)).verdict == "promoted"
    noise = judged(make_evidence(0.0))
    assert refused_for(noise) == {"better than the champion, or the constant systems"}
    assert "over All" in noise.told
    constant = replace(make_evidence(0.8))
    info = constant.scores.info.model_copy(update={"fixed_threshold": 0.5})
    constant = replace(constant, scores=replace(constant.scores, info=info))
    assert refused_for(judged(constant)) == {"looks at features"}
    alone = make_evidence(0.8)
    comparison = alone.comparison.model_copy(
        update={"assessments": alone.comparison.assessments[:1], "differences": ()}
    )
    none_beside = judged(replace(alone, comparison=comparison))
    assert refused_for(none_beside) == {"better than the champion, or the constant systems"}


def test_synthetic_is_refused_unless_asked_for(make_evidence):
    found = judged(make_evidence(0.8), settings=PromotionSettings())
    assert refused_for(found) == {"real recordings"}
    assert "promotion.synthetic" in found.told


def test_other_data_are_refused_unless_the_candidate_may_be_a_first_one(make_evidence):
    candidate = make_evidence(0.8, fingerprint="other")
    found = judged(candidate, make_evidence(0.3, 1))
    assert refused_for(found) == {"same test samples"}
    assert "another fingerprint" in found.told
    assert found.differences is None
    anew = PromotionSettings(synthetic=True, as_first=True)
    assert judged(candidate, make_evidence(0.9, 1), anew).verdict == "promoted"


def test_too_many_evaluations_and_what_was_taken_back_are_refused(make_evidence):
    candidate, few = make_evidence(0.8), PromotionSettings(synthetic=True, most_evaluations=2)
    assert judged(candidate, settings=few, evaluations=2).verdict == "promoted"
    found = judged(candidate, settings=few, evaluations=3)
    assert refused_for(found) == {"evaluations on these test samples"}
    assert ": 3, needed at most 2" in found.told
    past = table(move(1, "", 0), move(2, 1, 1), move(1, 2, 2, TAKEN_BACK))
    back = judged(candidate, make_evidence(0.3, 1), champions=past)
    assert refused_for(back) == {"not taken back before"}
    again = PromotionSettings(synthetic=True, taken_back=True)
    promoted = judged(candidate, make_evidence(0.3, 1), again, champions=past)
    assert (promoted.verdict, promoted.move.after) == ("promoted", 3)


def test_damaged_files_of_either_are_refused_and_nothing_is_compared(make_evidence):
    good = Contender(version(2), make_evidence(0.8))
    damaged = Contender(version(1), None, "files.json: another")
    for pair in ((good, damaged), (replace(damaged, version=version(3)), good)):
        found = decide(Contenders(*pair, table(), 1), SYNTHETIC, EVALUATION)
        assert refused_for(found) == {"files as they were registered"}
        assert found.differences is None
    as_first = PromotionSettings(synthetic=True, as_first=True)
    anew = decide(Contenders(good, damaged, table(), 1), as_first, EVALUATION)
    assert (anew.verdict, anew.move.before) == ("promoted", "1")


def test_the_champion_again_is_unchanged(make_evidence):
    same = Contender(version(1), make_evidence(0.8))
    found = decide(Contenders(same, same, table(), 1), PromotionSettings(), EVALUATION)
    assert (found.verdict, found.move) == ("unchanged", None)
    assert found.told == "version 1 is champion already"
    damaged = Contender(version(1), None, "system.safetensors: another")
    found = decide(Contenders(damaged, damaged, table(), 1), PromotionSettings(), EVALUATION)
    assert refused_for(found) == {"files as they were registered"}
    assert found.told.startswith("version 1 is champion and should not be used")


def test_a_gain_of_so_few_groups_that_it_may_be_luck_is_refused(make_evidence):
    candidate, champion = make_evidence(0.8), make_evidence(0.3, 1)
    groups = tuple(f"group {k % 3}" for k in range(120))
    few = [
        replace(one, scores=replace(one.scores, group_ids=groups)) for one in (candidate, champion)
    ]
    found = judged(*few)
    one = found.differences.metrics["micro_f1"]
    assert one.low > 0
    assert not one.significant
    assert "better than the champion, or the constant systems" in refused_for(found)
    assert "p 0.17, needed lower end above 0, and p at most 0.05" in found.told


@pytest.mark.parametrize("named", ["better", "worse"])
def test_a_label_without_an_interval_may_not_fall_by_more_than_the_margin(make_evidence, named):
    candidate, champion = make_evidence(0.8), make_evidence(0.3, 1)
    pair = (candidate, champion) if named == "better" else (champion, candidate)
    one = _differences(*pair, EVALUATION)
    undefined = {label: Difference() for label in one.label_f1}
    without = one.model_copy(update={"label_f1": undefined})
    checks = _margins(*pair, without, PromotionSettings())
    labels = [check for check in checks if check.rule == "no label worse"]
    assert [check.holds for check in labels] == [named == "better"] * 3
    assert all("no interval" in check.found for check in labels)


def test_a_candidate_that_needs_what_the_champion_does_without_is_refused(make_evidence):
    candidate, champion = make_evidence(0.8), make_evidence(0.3, 1)

    def judged_with(ours, theirs, **rule: bool) -> Decision:
        first = version(2, candidate).model_copy(update={"may_lack": ours})
        second = version(1, champion).model_copy(update={"may_lack": theirs})
        pair = Contender(first, candidate), Contender(second, champion)
        settings = PromotionSettings(synthetic=True, **rule)
        return decide(Contenders(*pair, table(), 2), settings, EVALUATION)

    found = judged_with(("face",), ("face", "speech"))
    assert refused_for(found) == {"does without what the champion does without"}
    assert "needs speech" in found.told
    assert "was not noted" in judged_with(None, ("face",)).told
    assert judged_with(("face", "speech"), ("face",)).verdict == "promoted"
    assert judged_with((), ("face",), needs_more=True).verdict == "promoted"
    assert judged_with((), None).verdict == "promoted"


def test_a_candidate_need_only_be_as_good_as_the_one_that_stands(make_evidence):
    settings = PromotionSettings()
    good, bad = make_evidence(0.8), make_evidence(0.3, 1)
    assert all(check.holds for check in not_worse(good, good, settings, EVALUATION))
    assert all(check.holds for check in not_worse(good, bad, settings, EVALUATION))
    refusals = [c for c in not_worse(bad, good, settings, EVALUATION) if not c.holds]
    assert refusals[0].rule == "not worse"
    assert not_worse(good, make_evidence(0.8, fingerprint="o"), settings, EVALUATION) == ()


def test_evidence_of_several_models_is_refused(make_evidence):
    one, other = make_evidence(0.5), make_evidence(0.5, model="other")
    with pytest.raises(InputError, match="model"):
        replace(one, robustness=other.robustness)
    with pytest.raises(InputError, match="Calibrate again"):
        replace(one, calibration=other.calibration)


@pytest.mark.parametrize("wrong", [{"gain": -0.1}, {"most_evaluations": 0}, {"gane": 0.1}])
def test_a_rule_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValidationError):
        PromotionSettings(**wrong)


def test_of_two_entries_decided_on_after_the_same_one_the_first_counts():
    found = table(move(1, "", 0), move(2, 1, 1), move(3, 1, 1), move(4, 2, 2))
    assert [entry.move.number for entry in found.entries] == ["1", "2", "4"]
    assert (found.champion, found.last) == ("4", 4)


def test_taking_back_goes_one_champion_further_each_time():
    moves = [move(1, "", 0), move(2, 1, 1), move(3, 2, 2)]
    for expected, champion in ((("1", "2"), "2"), (("1",), "1")):
        back = table(*moves).back()
        assert back.number == champion
        moves.append(back)
        assert table(*moves).standing == expected
    with pytest.raises(InputError, match="version 1 alone"):
        table(*moves).back()
    assert table(*moves).was_taken_back("3")
    assert not table(*moves).was_taken_back("1")
    moves.append(move(4, 1, 5))
    assert table(*moves).standing == ("1", "4")


def test_what_cannot_return_is_skipped_and_a_move_that_is_unfinished_goes_first():
    moves = [move(1, "", 0), move(2, 1, 1), move(3, 2, 2)]
    back = table(*moves).back(["2"])
    assert (back.number, back.before) == ("1", "3")
    assert back.told.endswith("skipped: 2")
    assert table(*moves, back).standing == ("1",)
    with pytest.raises(InputError, match=r"none that can be used before version 3 \(1, 2\)"):
        table(*moves).back(["1", "2"])
    unfinished = table(*moves).model_copy(update={"unfinished": True})
    assert unfinished.back() == moves[-1]


def test_a_champion_from_before_the_table_can_be_returned_to():
    assert table(move(5, 2, 0)).back().number == "2"
    with pytest.raises(InputError, match="no champion"):
        table().back()


def test_the_page_says_why_and_shows_who_was_champion(make_evidence):
    found = judged(make_evidence(0.3), make_evidence(0.8, 1))
    champions = table(move(1, "", 0))
    page = promotion_page(found, champions)
    assert "Version 2 of toy-synthetic: refused" in page
    assert "SYNTHETIC" in page
    assert page.count("✗ does not hold") == len(found.refusals) > 0
    assert "Evaluations on these test samples so far: <b>2</b> of at most 50" in page
    assert "version 1 alone" not in page
    overtaken = promotion_page(judged(make_evidence(0.8), make_evidence(0.3, 1)), champions)
    assert "overtaken, version 1 became champion meanwhile" in overtaken


def test_the_table_as_numbers_and_for_a_terminal():
    champions = table(move(1, "", 0), move(2, 1, 1), move(1, 2, 2, TAKEN_BACK))
    frame = champions_frame(champions)
    assert frame["version"].tolist() == ["1", "2", "1"]
    assert frame["what"].tolist() == ["promoted", "promoted", "taken back"]
    text = champions_text(champions, 60)
    assert "now version 1" in text
    assert max(map(len, text.splitlines())) <= 60
    assert "no champion yet" in champions_text(table())
    assert champions_frame(table()).empty
