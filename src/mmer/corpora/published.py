"""What others have published: scores of CARAT and its relatives, sizes of the corpora."""

from __future__ import annotations

from dataclasses import dataclass

CARAT = (
    "Peng, Chen, Shou, Chen: CARAT: Contrastive Feature Reconstruction and Aggregation for "
    "Multi-Modal Multi-Label Emotion Recognition. AAAI 2024, 38(13):14581-14589; arXiv 2312.10201"
)


@dataclass(frozen=True)
class PublishedScore:
    """One row of published figures; a range where several people report it.

    Attributes:
        system: What was scored.
        corpus: On which corpus' test split.
        setting: "aligned" or "unaligned" features.
        micro_f1: Lowest and highest reported.
        accuracy: Intersection over union, lowest and highest reported; None if not at hand.
        source: Who reports it.
    """

    system: str
    corpus: str
    setting: str
    micro_f1: tuple[float, float]
    accuracy: tuple[float, float] | None
    source: str


_SCORES = (
    PublishedScore(
        "CARAT, reproduced",
        "mosei",
        "aligned",
        (0.565, 0.568),
        (0.475, 0.484),
        "three independent reproductions with the authors' program",
    ),
    PublishedScore("CARAT", "mosei", "unaligned", (0.544, 0.544), None, "Peng et al., AAAI 2024"),
    PublishedScore("AMP", "mosei", "unaligned", (0.535, 0.535), None, "Ge et al., WWW 2023"),
    PublishedScore("TAILOR", "mosei", "unaligned", (0.529, 0.529), None, "Zhang et al., AAAI 2022"),
)

CAVEATS = (
    "Precision and recall are swapped in the published rows of this line of work (TAILOR, CARAT, "
    "RAMer, LDDU): the programs hand truth and prediction to the metric in the wrong order. What "
    "is printed as precision is recall, and the other way round. Micro-F1 and accuracy do not "
    "change. Here, precision is the share of predicted labels that are true.",
    "The published programs use one fixed threshold for every label (0.25 on CMU-MOSEI). There it "
    "predicts about 1.8 labels per clip where 1.36 are true. Here, thresholds are chosen on "
    "validation.",
    "Accuracy is intersection over union per sample. As in the published programs, a sample with "
    "no true label counts 0 even if nothing is predicted for it; the other way of counting stands "
    "beside it.",
    "The published validation drops its last batch and draws anew each epoch, so the epoch that is "
    "kept depends on chance. Here, every validation sample counts. One program of this "
    "line picks its epoch on the test split; none of the choices here looks at it.",
    "The published programs treat padding as if it were input, and start the contrast's queue with "
    "random vectors. Both are corrected here unless the reference setting is chosen.",
    "Published figures come without intervals. A difference of one point may well be noise: "
    "compare it with the width of the intervals above.",
    "Rare labels are hardly learned: in one unaligned run of the published program, F1 of surprise "
    "was 0.12 and of fear 0.04. Averages over samples hide this; macro-F1 shows it.",
)


@dataclass(frozen=True)
class CorpusCounts:
    """Published sizes of a corpus.

    Attributes:
        counts: (what, split) -> number; split "all" for the sum over splits.
        why_fewer: First word of what -> what explains it if we have fewer.
        why_more: The same for more.
    """

    counts: dict[tuple[str, str], int]
    why_fewer: dict[str, str]
    why_more: dict[str, str]


_MOSEI = CorpusCounts(
    counts={
        ("samples", "train"): 16326,
        ("samples", "valid"): 1871,
        ("samples", "test"): 4659,
        ("groups", "train"): 2249,
        ("groups", "valid"): 300,
        ("groups", "test"): 678,
        ("samples with happy", "test"): 2502,
        ("samples with sad", "test"): 1129,
        ("samples with anger", "test"): 1071,
        ("samples with disgust", "test"): 805,
        ("samples with surprise", "test"): 441,
        ("samples with fear", "test"): 385,
    },
    why_fewer={
        "samples": "a segment counts only if it is present in all the source files; videos that "
        "one of them lacks, or segments without a word, are left out",
        "groups": "these are the videos of the standard folds, of which only those with at least "
        "one complete segment are left",
    },
    why_more={
        "samples": "the standard folds hold 16327, 1871 and 4662 labelled segments, of which the "
        "published sets leave out a few",
        "groups": "videos outside of the standard folds have been counted in",
    },
)
_M3ED = CorpusCounts(
    counts={("samples", "all"): 990, ("groups", "all"): 990},
    why_fewer={
        "samples": "dialogues are missing from the source file",
        "groups": "dialogues are missing from the source file",
    },
    why_more={
        "samples": "a sample is a whole dialogue in the published corpus; the source file cuts "
        "them otherwise",
        "groups": "the source file cuts the dialogues otherwise",
    },
)
_CORPORA = {"mosei": _MOSEI, "m3ed": _M3ED}


def published_scores(corpus: str) -> list[PublishedScore]:
    """Published figures on a corpus, under whatever suffix ("mosei_unaligned") it goes here."""
    return [score for score in _SCORES if score.corpus == corpus.split("_")[0]]


def published_counts(corpus: str) -> CorpusCounts | None:
    """Published sizes of a corpus, under whatever suffix it goes here; None if not at hand."""
    return _CORPORA.get(corpus.split("_")[0])
