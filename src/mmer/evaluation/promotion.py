"""When a candidate takes the champion's place: a rule, applied to scores that are stored.

Both are judged on the same test samples, each by what was chosen for it on validation. Nothing is
scored anew, so a promotion is no further look at the test samples.

What counts as an evaluation on the test samples is a version in the registry: a model with its
thresholds that a finished run has scored them with and has brought there. The same model with the
same thresholds tells nothing new and counts once. All versions on the same test samples count,
whichever their system and however features were read, for `candidate` is the best of them: of many
that are equally good, the best looks better than it is, and no interval says so. So the p-value of
the gain is multiplied by their number (Bonferroni): of champions that 50 equally good versions are
tried against, 7 % would lose their place instead of 36 % (`benchmarks/promotions.py`, micro-F1
alone). A version that was deleted still counts. What is scored without being brought to the
registry (comparisons of systems and seeds) is not known here and does not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from mmer.calibration.calibration import Calibration
from mmer.errors import InputError
from mmer.evaluation.assessment import Comparison, EvaluationSettings, check_model, judged_by
from mmer.evaluation.champions import PROMOTED, Champions, Move, Version
from mmer.evaluation.robustness import Robustness
from mmer.metrics.intervals import (
    LEVEL,
    Difference,
    Differences,
    check_paired,
    compare,
    enough_resamples,
)
from mmer.metrics.metrics import HEADLINE
from mmer.metrics.scores import Scores
from mmer.schema import Record, Settings

MAIN, CALIBRATION = "micro_f1", "calibration_error"
_AS_FIRST = "the parameter promotion.as_first"
_ROUNDING = 1e-12
_MOST_P = round(1 - LEVEL, 12)


class PromotionSettings(Settings):
    """The rule.

    The lower end of the difference in micro-F1 decides. Nothing else may get worse by more than a
    margin. That no label does could not be shown where labels are rare, their intervals are too
    wide; so a label counts as worse if the difference exceeds the margin and is not chance alone
    (its interval leaves 0 out). The other margins are for the differences themselves.

    Attributes:
        gain: What the lower end of the difference in micro-F1 must exceed.
        label_margin: By how much F1 of any label may be worse.
        calibration_margin: By how much the calibration error may be larger.
        absent_margin: By how much micro-F1 may be worse with modalities hidden.
        most_evaluations: On these test samples, of all versions; see the module.
        synthetic: Whether a synthetic model may be champion (of its own registered model).
        as_first: Whether a candidate that cannot be compared with the champion, which is of other
            tables or damaged, is judged like a first one instead of being refused.
        taken_back: Whether a version that was champion and was taken back may be it again.
        needs_more: Whether a candidate may need modalities that the champion can do without.
    """

    gain: float = Field(0.0, ge=0, lt=1)
    label_margin: float = Field(0.05, ge=0, le=1)
    calibration_margin: float = Field(0.02, ge=0, le=1)
    absent_margin: float = Field(0.03, ge=0, le=1)
    most_evaluations: int = Field(50, ge=1)
    synthetic: bool = False
    as_first: bool = False
    taken_back: bool = False
    needs_more: bool = False


@dataclass(frozen=True)
class Evidence:
    """What a version is judged by; it is kept beside it.

    Attributes:
        scores: On the test samples.
        comparison: The system, first, beside the simple ones of its run, on the same samples.

    Raises:
        InputError: They are not all of one model.
    """

    scores: Scores
    calibration: Calibration
    robustness: Robustness
    comparison: Comparison

    def __post_init__(self) -> None:
        info = self.scores.info
        self.calibration.check(info.model, info.fingerprint)
        assessed = self.comparison.assessments[0].info.model
        check_model(info.model, robustness=self.robustness.model, comparison=assessed)
        if info.split != "test":
            raise InputError(f"scores of {info.title}", "split", "test", info.split)


@dataclass(frozen=True)
class Contender:
    """A version, with what it is judged by; none, but why, if that cannot be believed."""

    version: Version
    evidence: Evidence | None
    damage: str = ""


@dataclass(frozen=True)
class Contenders:
    """Who stands against whom, and after what.

    Attributes:
        evaluations: On the candidate's test samples, so far.
    """

    candidate: Contender
    champion: Contender | None
    champions: Champions
    evaluations: int


class Check(Record):
    """One condition: the rule, of what, what it asks for, what was found, and whether it holds."""

    rule: str
    of: str
    needed: str
    found: str
    holds: bool


class Decision(Record):
    """Whether the candidate becomes champion, and all that this rests on.

    Attributes:
        checks: All must hold; of a candidate that is champion already, that its files do.
        differences: Candidate minus champion; None where they cannot be compared.
    """

    candidate: Version
    champion: Version | None
    verdict: Literal["promoted", "refused", "unchanged"]
    checks: tuple[Check, ...]
    differences: Differences | None
    evaluations: int
    after: int
    settings: PromotionSettings

    @property
    def refusals(self) -> tuple[Check, ...]:
        """The conditions that do not hold."""
        return tuple(check for check in self.checks if not check.holds)

    @property
    def told(self) -> str:
        """What was decided, and why, in a sentence."""
        this = f"version {self.candidate.number}"
        over = f"version {self.champion.number}" if self.champion else "no champion"
        if self.verdict == "unchanged":
            return f"{this} is champion already"
        if self.verdict == "promoted":
            gains = [f"{one.of} {one.found}" for one in self.checks if one.rule == _GAIN]
            return f"{this} promoted over {over}: {HEADLINE[MAIN]} {'; '.join(gains)}"
        why = "; ".join(
            f"{one.rule}{one.of and f' ({one.of})'}: {one.found}, needed {one.needed}"
            for one in self.refusals
        )
        if self.champion and self.champion.number == self.candidate.number:
            return f"{this} is champion and should not be used; what does not hold: {why}"
        return f"{this} refused over {over}; what does not hold: {why}"

    @property
    def move(self) -> Move | None:
        """What there is to do in the registry."""
        if self.verdict != "promoted":
            return None
        return Move(
            name=self.candidate.name,
            kind=PROMOTED,
            number=self.candidate.number,
            before=self.champion.number if self.champion else "",
            after=self.after,
            told=self.told,
        )


_GAIN = "better than the champion, or the constant systems"


def decide(
    contenders: Contenders, settings: PromotionSettings, evaluation: EvaluationSettings
) -> Decision:
    """Judge the candidate by the rule."""
    candidate, champion = contenders.candidate, contenders.champion
    checks: list[Check] = []
    differences = None
    same = champion is not None and champion.version.number == candidate.version.number
    if same:
        checks.append(_files(candidate, "their digests", candidate.damage))
    else:
        checks += _of_the_candidate(contenders, settings)
        if candidate.evidence and not (champion and champion.damage and not settings.as_first):
            found, differences = _beside(candidate.evidence, contenders, settings, evaluation)
            checks += found
    verdict: Literal["promoted", "refused", "unchanged"]
    holds = all(check.holds for check in checks)
    verdict = "refused" if not holds else "unchanged" if same else "promoted"
    return Decision(
        candidate=candidate.version,
        champion=champion.version if champion else None,
        verdict=verdict,
        checks=tuple(checks),
        differences=differences,
        evaluations=contenders.evaluations,
        after=contenders.champions.last,
        settings=settings,
    )


def not_worse(
    new: Evidence, standing: Evidence, settings: PromotionSettings, evaluation: EvaluationSettings
) -> tuple[Check, ...]:
    """Whether a new model may take the name of the candidate that stands: by the same rule, but
    it need only be as good, not shown to be better. None if they are of other test samples.
    """
    if _apart(new, standing):
        return ()
    differences = _differences(new, standing, evaluation)
    one = differences.metrics[MAIN]
    least = one.difference is not None and one.difference >= -_ROUNDING
    name = HEADLINE[MAIN]
    gain = Check(rule="not worse", of=name, needed="at least 0", found=_signed(one), holds=least)
    return (gain, *_margins(new, standing, differences, settings))


def _of_the_candidate(contenders: Contenders, settings: PromotionSettings) -> list[Check]:
    """What can be said without a comparison."""
    candidate, champion = contenders.candidate, contenders.champion
    version, most = candidate.version, settings.most_evaluations
    taken_back = contenders.champions.was_taken_back(version.number)
    checks = [
        Check(
            rule="real recordings",
            of="",
            needed="a real corpus, or the parameter promotion.synthetic",
            found="synthetic" if version.synthetic else "real",
            holds=settings.synthetic or not version.synthetic,
        ),
        Check(
            rule="evaluations on these test samples",
            of="",
            needed=f"at most {most}",
            found=str(contenders.evaluations),
            holds=contenders.evaluations <= most,
        ),
        Check(
            rule="not taken back before",
            of="",
            needed="never taken back, or the parameter promotion.taken_back",
            found="taken back" if taken_back else "never taken back",
            holds=settings.taken_back or not taken_back,
        ),
    ]
    checks.append(_files(candidate, "their digests", candidate.damage))
    if champion:
        damage = "" if settings.as_first else champion.damage
        checks.append(_files(champion, f"their digests, or {_AS_FIRST}", damage))
        checks += _without(version.may_lack, champion.version.may_lack, settings)
    return checks


def _files(one: Contender, needed: str, against: str) -> Check:
    return Check(
        rule="files as they were registered",
        of=f"version {one.version.number}",
        needed=needed,
        found=one.damage or "their digests",
        holds=not against,
    )


def _without(
    ours: tuple[str, ...] | None, theirs: tuple[str, ...] | None, settings: PromotionSettings
) -> list[Check]:
    """That requests which the champion answers are answered still; unknown of older champions."""
    if not theirs:
        return []
    more = [name for name in theirs if name not in (ours or ())]
    unknown = "what it can do without was not noted"
    return [
        Check(
            rule="does without what the champion does without",
            of="",
            needed=f"{', '.join(theirs)}, or the parameter promotion.needs_more",
            found=unknown if ours is None else f"needs {', '.join(more)}" if more else "the same",
            holds=settings.needs_more or not more,
        )
    ]


def _beside(
    candidate: Evidence,
    contenders: Contenders,
    settings: PromotionSettings,
    evaluation: EvaluationSettings,
) -> tuple[list[Check], Differences | None]:
    """The candidate beside the champion; beside the constant systems if it is to be the first."""
    champion, tries = contenders.champion, contenders.evaluations
    if champion is None or champion.evidence is None:
        return _beside_constants(candidate, tries, settings), None
    apart = _apart(candidate, champion.evidence)
    if apart and settings.as_first:
        return _beside_constants(candidate, tries, settings), None
    needed = f"those of the champion, or {_AS_FIRST}"
    same = Check(
        rule="same test samples", of="", needed=needed, found=apart or "the same", holds=not apart
    )
    if apart:
        return [same], None
    tries = max(1, tries - 1)  # the champion was not tried against itself
    differences = _differences(candidate, champion.evidence, evaluation, tries)
    over = f"over version {champion.version.number}"
    gain = _gain(differences.metrics[MAIN], over, tries, settings)
    margins = _margins(candidate, champion.evidence, differences, settings)
    return [same, gain, *margins], differences


def _beside_constants(candidate: Evidence, tries: int, settings: PromotionSettings) -> list[Check]:
    """What looks at no feature is what a first champion has to beat; itself it never is one."""
    comparison, info = candidate.comparison, candidate.scores.info
    looks = info.fixed_threshold is None
    checks = [
        Check(
            rule="looks at features",
            of="",
            needed="a system with something to learn",
            found=info.title,
            holds=looks,
        )
    ]
    beside = zip(comparison.assessments[1:], comparison.differences, strict=True)
    constant = [(a.info.title, d) for a, d in beside if a.info.fixed_threshold is not None]
    checks += [
        _gain(one.metrics[MAIN], f"over {title}", tries, settings) for title, one in constant
    ]
    if not constant:
        none = "none in the run that trained it"
        checks.append(Check(rule=_GAIN, of="", needed="one to beat", found=none, holds=False))
    return checks


def _gain(one: Difference, of: str, tries: int, settings: PromotionSettings) -> Check:
    """That the gain is more than luck, also the luck of the best of so many tries (Bonferroni)."""
    above = one.low is not None and one.low > settings.gain
    p_value = min(1.0, tries * (one.corrected_p_value or 1.0))
    tried = f", times {tries} evaluated" if tries > 1 else ""
    return Check(
        rule=_GAIN,
        of=of,
        needed=f"lower end above {settings.gain:g}, and p{tried} at most {_MOST_P:g}",
        found=f"{_signed(one)}, p{tried} {p_value:.2g}",
        holds=above and bool(one.significant) and p_value <= _MOST_P + _ROUNDING,
    )


def _margins(
    first: Evidence, second: Evidence, differences: Differences, settings: PromotionSettings
) -> list[Check]:
    """Where the first must not be worse than the second by more than a margin."""
    ours, theirs = (one.comparison.assessments[0].intervals.label_f1 for one in (first, second))
    checks = [
        _label(label, one, _minus(ours[label].value, theirs[label].value), settings.label_margin)
        for label, one in differences.label_f1.items()
    ]
    error, margin = differences.metrics[CALIBRATION], settings.calibration_margin
    checks.append(
        Check(
            rule="calibration not worse",
            of="calibration error",
            needed=f"at most +{margin:g}",
            found=_signed(error),
            holds=error.difference is None or error.difference <= margin + _ROUNDING,
        )
    )
    for hidden, difference in _hidden(first.robustness, second.robustness).items():
        found = "not measured" if difference is None else f"{difference:+.3f}"
        checks.append(
            Check(
                rule="absent modalities not worse",
                of=hidden,
                needed=f"at least -{settings.absent_margin:g}",
                found=found,
                holds=difference is not None and difference >= -settings.absent_margin - _ROUNDING,
            )
        )
    return checks


def _label(label: str, one: Difference, plain: float | None, margin: float) -> Check:
    """That F1 of a label is not worse.

    Args:
        plain: The difference, known also where there is no interval for it. Then nothing says that
            it is chance.
    """
    undefined = one.difference is None
    found = plain if one.difference is None else one.difference
    within = found is None or found >= -margin - _ROUNDING
    return Check(
        rule="no label worse",
        of=f"F1 of {label}",
        needed=f"at least -{margin:g}, or an interval that reaches 0",
        found=f"{found:+.3f}, no interval" if undefined and found is not None else _signed(one),
        holds=within or not (undefined or one.significant),
    )


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _hidden(first: Robustness, second: Robustness) -> dict[str, float | None]:
    """What was hidden from the second -> the first's micro-F1 minus its; None if unknown."""
    ours, theirs = _by_hidden(first), _by_hidden(second)
    return {name: _minus(ours.get(name), value) for name, value in theirs.items()}


def _by_hidden(robustness: Robustness) -> dict[str, float]:
    every = max((one.modalities for one in robustness.by_subset), key=len, default=())
    figures = {
        f"{' and '.join(one.modalities)} alone": one.intervals[MAIN].value
        for one in robustness.by_subset
        if one.modalities != every
    }
    for one in robustness.by_missing_rate:
        if one.rate:
            figures[f"each hidden at {one.rate:g}"] = one.intervals[MAIN].value
    return {name: value for name, value in figures.items() if value is not None}


def _differences(
    first: Evidence, second: Evidence, evaluation: EvaluationSettings, tries: int = 1
) -> Differences:
    judged = [judged_by(one.scores, one.calibration) for one in (first, second)]
    resamples = enough_resamples(evaluation.resamples, first.scores, tries)
    options = {"resamples": resamples, "seed": evaluation.seed}
    return compare(judged[0], judged[1:], **options)[0]


def _apart(first: Evidence, second: Evidence) -> str:
    """In what the test samples of two differ; empty if they are the same."""
    try:
        check_paired(first.scores, second.scores)
    except InputError as error:
        return f"another {error.key}"
    return ""


def _signed(one: Difference) -> str:
    if one.difference is None:
        return "undefined"
    return f"{one.difference:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"
