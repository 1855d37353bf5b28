"""What is shown: an evaluation, comparisons of systems and of parts, made from a seed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from mmer.calibration.calibration import Calibration, calibrate
from mmer.calibration.settings import CalibrationSettings
from mmer.corpora.beside_published import CountBesidePublished
from mmer.corpora.data_report import DataReport, Finding
from mmer.corpora.split_report import Quantiles, SplitReport
from mmer.evaluation.assessment import (
    Comparison,
    EvaluationSettings,
    assess,
    compare_systems,
    judged_by,
)
from mmer.evaluation.attention import (
    Explanation,
    Explanations,
    ModalityAttention,
    most_confident,
)
from mmer.evaluation.costs import ComparedCosts, Cost, Machine, Spent
from mmer.evaluation.deletion import Deletion, LabelDeletion
from mmer.evaluation.failures import (
    CoOccurrence,
    Failures,
    by_label_count,
    by_length,
    most_confident_errors,
)
from mmer.evaluation.robustness import Robustness, measure_robustness
from mmer.metrics.decisions import decide
from mmer.metrics.intervals import Interval
from mmer.metrics.resampled import Judged
from mmer.metrics.scores import Scores
from mmer.metrics.seeds import ComparedCorpora, ComparedOn, ComparedSystems, compare_seeds
from mmer.samples.table import Features, TableInfo

HOSTILE = "<script>alert('x')</script>"
_SAMPLES = 240


@dataclass(frozen=True)
class Evaluated:
    """What the pages are made of."""

    scores: Scores
    calibration: Calibration
    comparison: Comparison
    failures: Failures
    robustness: Robustness
    explanations: Explanations


@pytest.fixture(scope="session")
def make_data() -> Callable[..., DataReport]:
    """What tables of two modalities hold, of which one is absent from all samples of one split."""

    def made(labels: tuple[str, ...] = ("happy", "sad"), **info: object) -> DataReport:
        shown = labels[:30]
        counts = {label: 8 - i for i, label in enumerate(shown)} | dict.fromkeys(labels[30:], 1)
        split = SplitReport(
            samples=20,
            groups=7,
            persons=None,
            lengths={"words": Quantiles.of(np.arange(1, 9)), "face": None},
            seconds=None,
            label_counts=counts,
            label_rates={label: count / 20 for label, count in counts.items()},
            co_occurrence=np.diag([counts[label] for label in shown]).tolist(),
            labels_per_sample=0.6,
            without_label=10,
            missing={"words": 0, "face": 20},
            all_zero={"words": 0, "face": 5},
            without_features=0,
            cleaned_values={"words": 0, "face": 0},
            cleaned_samples={"words": 0, "face": 0},
            constant_features={"words": (), "face": ()},
        )
        told = {
            "corpus": "toy",
            "split": "train",
            "labels": labels,
            "features": {m: Features(name=m, width=w) for m, w in {"words": 3, "face": 2}.items()},
            "alignment": "word",
            "synthetic": True,
            "fingerprint": "made-for-tests",
            **info,
        }
        persons = split.model_copy(update={"persons": 3} if told.get("persons") else {})
        return DataReport(
            info=TableInfo(**told),
            splits=dict.fromkeys(("train", "valid", "test"), persons),
            frequent_labels=shown,
            duplicates=(),
            shared_persons=(),
            published=(
                CountBesidePublished(
                    what="samples",
                    split="train",
                    ours=20,
                    published=25,
                    explanations=(f"5 were left out by {HOSTILE}",),
                ),
                CountBesidePublished(what="groups", split="train", ours=7, published=9),
            ),
            findings=(
                Finding(severity="warning", split="test", text="no sample has the label sad"),
                Finding(severity="note", split="all", text="every sample lacks face"),
            ),
        )

    return made


@pytest.fixture(scope="session")
def noisy_scores(toy_scores) -> Callable[..., Scores]:
    """Test scores in which the truth shows, more the larger `signal` is."""

    def made(
        samples: int = 60,
        noise: int = 0,
        *,
        signal: float = 0.4,
        truth: np.ndarray | None = None,
        **info: object,
    ) -> Scores:
        rng = np.random.default_rng(noise)
        if truth is None:
            truth = (rng.random((samples, 3)) < 0.4).astype(np.uint8)
        values = signal * truth + (1 - signal) * rng.random(truth.shape)
        told = {"labels": ("happy", "sad", "anger"), **info}
        return toy_scores(values, truth, "test", groups_of=4, **told)

    return made


@pytest.fixture(scope="session")
def evaluated(noisy_scores) -> Callable[..., Evaluated]:
    """Evaluate scores beside those of other systems, under a fixed threshold of 0.5."""

    def made(scores: Scores, *others: Scores, resamples: int = 50) -> Evaluated:
        settings = EvaluationSettings(resamples=resamples, missing_rates=(0.0, 0.5))
        systems = []
        for one in (scores, *others):
            calibration = _calibration(one)
            systems.append((one, calibration, assess(one, calibration, settings)))
        calibration, thresholds = systems[0][1], np.array(systems[0][1].thresholds)
        present, judged = decide(scores.scores, thresholds), judged_by(scores, calibration)
        robustness = measure_robustness(
            lambda shown: scores.scores * shown["words"][:, None],
            scores,
            calibration,
            settings,
            ("words", "face"),
        )
        return Evaluated(
            scores,
            calibration,
            compare_systems(systems, settings),
            Failures(
                model=scores.info.model,
                by_length=by_length(judged, np.arange(len(present)), settings),
                by_label_count=by_label_count(judged, settings),
                most_confident_errors=most_confident_errors(
                    scores, thresholds, [("so", HOSTILE)] * len(present), most=2
                ),
                co_occurrence=CoOccurrence(
                    labels=scores.labels,
                    true=scores.truth.astype(int).T @ scores.truth,
                    predicted=present.astype(int).T @ present,
                ),
            ),
            robustness,
            _explanations(scores, thresholds),
        )

    return made


def _calibration(scores: Scores) -> Calibration:
    valid = replace(scores, info=scores.info.model_copy(update={"split": "valid"}))
    return calibrate(valid, CalibrationSettings(method="fixed", fixed=0.5, minimum_positives=5))


def _explanations(scores: Scores, thresholds: np.ndarray) -> Explanations:
    """One example: words with a hostile one among them, and a modality of eight steps."""
    label, n = next(iter(most_confident(scores, thresholds, "correct").items()))
    words = ModalityAttention(
        modality="words", weights=((0.8, 0.2), (0.0, 0.0), (0.5, 0.5)), words=("so", HOSTILE)
    )
    steps = tuple(np.arange(8) / 28)
    face = ModalityAttention(modality="face", weights=(steps,) * 3, words=None)
    example = Explanation(
        sample_id=scores.sample_ids[n],
        correct_for=(label,),
        wrong_for=(),
        true=tuple(np.array(scores.labels)[scores.truth[n] > 0]),
        scores=tuple(scores.scores[n]),
        modalities=(words, face),
    )
    difference = Interval(value=0.159, low=0.071, high=0.248, undefined=0)
    tested = LabelDeletion(
        label=scores.labels[0], samples=17, attended=0.213, drawn=0.054, difference=difference
    )
    untested = LabelDeletion(
        label=scores.labels[1], samples=0, attended=None, drawn=None, difference=None
    )
    return Explanations(
        model=scores.info.model,
        labels=scores.labels,
        examples=(example,),
        deletion=Deletion(labels=(tested, untested)),
    )


@pytest.fixture(scope="session")
def compare_made(noisy_scores) -> Callable[..., ComparedSystems]:
    """See `compared_systems`; what is asked for again is not made again."""
    known: dict[str, ComparedSystems] = {}

    def made(*what: object, **how: object) -> ComparedSystems:
        key = repr((what, how))
        if key not in known:
            known[key] = compared_systems(noisy_scores, *what, **how)
        return known[key]

    return made


@pytest.fixture(scope="session")
def side_by_side() -> Callable[[Mapping[str, ComparedSystems]], ComparedCorpora]:
    """Comparisons by the title of their corpus."""

    def made(corpora: Mapping[str, ComparedSystems]) -> ComparedCorpora:
        return ComparedCorpora(
            corpora=tuple(ComparedOn(corpus=title, compared=one) for title, one in corpora.items())
        )

    return made


@pytest.fixture(scope="session")
def parsed_latex() -> Callable[[str], list[list[str]]]:
    """Rows of cells of a table for a paper, which has to be one that LaTeX can set."""

    def parsed(text: str) -> list[list[str]]:
        lines = [line for line in text.splitlines() if not line.startswith("%")]
        body = "\n".join(lines)
        assert not re.search(r"(?<!\\)[#%_~^]", re.sub(r"\$\^\\dagger\$", "", body))
        assert body.isascii()
        assert len(re.findall(r"(?<!\\)\$", body)) % 2 == 0
        for line in lines:
            bare = re.sub(r"\\[{}]", "", line)
            assert bare.count("{") == bare.count("}"), line
        assert lines[0].startswith(r"\begin{tabular}{@{}l")
        assert lines[-1] == r"\end{tabular}"
        assert [line for line in lines if line in (r"\toprule", r"\bottomrule")] == [
            r"\toprule",
            r"\bottomrule",
        ]
        rows = [line.removesuffix(r" \\") for line in lines if line.endswith(r" \\")]
        columns = lines[0].count("r", len(r"\begin{tabular}")) + 1
        cells = [re.split(r"(?<!\\) & ", row) for row in rows]
        for row in cells:
            assert len(row) == columns or row[0].startswith(rf"\multicolumn{{{columns}}}"), row
        return cells

    return parsed


@pytest.fixture(scope="session")
def make_costs() -> Callable[..., ComparedCosts]:
    """See `costs_of_systems`."""
    return costs_of_systems


def compared_systems(
    make: Callable[..., Scores],
    signals: Mapping[str, float],
    seeds: int = 3,
    *,
    unseeded: tuple[str, ...] = (),
    whole: str | None = None,
    resamples: int = 500,
    **info: object,
) -> ComparedSystems:
    """Systems (title -> how much of the truth shows in their scores) on one truth.

    Args:
        make: The fixture `noisy_scores`.
        unseeded: Systems that draw no random numbers.
        whole: Of an ablation the whole system, the others being named by the part they lack.
    """
    systems, truth = {}, make(_SAMPLES, 0).truth
    for place, (name, signal) in enumerate(signals.items()):
        part = name if whole is not None and place else None
        title = f"{whole} without {name}" if part else whole or name
        drawn = [
            make(
                _SAMPLES,
                1 + 50 * place + seed,
                truth=truth,
                signal=signal,
                title=title,
                system=whole or name,
                without=part,
                model=f"digest {place} {seed}",
                seed=None if name in unseeded else seed + 1,
                **info,
            )
            for seed in range(1 if name in unseeded else seeds)
        ]
        systems[title] = [Judged(one, np.full(one.truth.shape[1], 0.5)) for one in drawn]
    return compare_seeds(systems, resamples=resamples, against_first=whole is not None)


def costs_of_systems(compared: ComparedSystems, energy: float | None = None) -> ComparedCosts:
    """Every seed takes longer than the last, and every system ten times as long as the last."""
    machine = Machine(
        processor="Some Processor",
        device="cpu",
        threads=2,
        energy=() if energy is None else ("package-0",),
    )
    return ComparedCosts.of(
        Cost(
            system=one.info.system,
            title=one.info.title,
            seed=seed,
            parameters=1234567 + place,
            training=Spent(
                seconds=2.5 * 10**place + number, memory=150_000_000 + place, energy=energy
            ),
            scoring=Spent(seconds=0.5, memory=None, energy=energy),
            scored_samples=_SAMPLES,
            machine=machine,
        )
        for place, one in enumerate(compared.systems)
        for number, seed in enumerate(one.seeds or (None,))
    )
