"""MEmoR: several people in clips of a television series, and what each feels at which moment.

Shen et al. (2020), "MEmoR: A Dataset for Multimodal Emotion Reasoning in Videos".
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mmer.corpora.corpus import Corpus, Ingestion, Published
from mmer.corpora.memor.annotations import ANNOTATIONS, CLIPS, TEST_IDS, TRAIN_IDS
from mmer.corpora.memor.reader import MemorOptions, read_memor
from mmer.corpora.memor.synthetic import MODALITIES, SyntheticImpersonal, SyntheticMemor
from mmer.corpora.memor.synthetic_files import write_synthetic


class MemorIngestion(Ingestion):
    """How MEmoR is read: one reader, and its options under its name."""

    reader: Literal["official"] = "official"
    official: MemorOptions = MemorOptions()


_MADE = (
    "made by mmer: a clip has two to four characters and as many segments; each segment has a mood "
    "and a speaker, of whom there is text and mostly audio, and each character is seen in half of "
    "the segments. {persons}. A modality shows another emotion at random with a fixed probability, "
    "and everybody's emotion is annotated in every segment"
)
_MATTER = (
    "A character feels as the mood is with a fixed probability, and else as it happens; half of "
    "the characters show what they feel, the others the opposite, which their traits tell. So who "
    "shows what, and what kind of person that is, decides the labels"
)
_DO_NOT_MATTER = (
    "Everybody feels as the mood is and shows it, whatever their traits. So nothing depends on who "
    "shows what"
)


def _corpus(title: str, synthetic: type[SyntheticMemor], persons: str) -> Corpus:
    return Corpus(
        title=title,
        ingestion=MemorIngestion,
        readers={"official": read_memor},
        synthetic=synthetic,
        write_synthetic=write_synthetic,
        download_instructions=(
            f"Put {ANNOTATIONS}, {CLIPS}, {TRAIN_IDS}, {TEST_IDS} and the folder features there. "
            "MEmoR's authors give access to them (sunlightsgy/MEmoR on GitHub)."
        ),
        modalities=MODALITIES,
        published=Published.read(Path(__file__).with_name("published.json")),
        made=_MADE.format(persons=persons),
        persons=True,
        subfolders=("features",),
    )


CORPUS = _corpus("MEmoR", SyntheticMemor, _MATTER)
IMPERSONAL = _corpus("MEmoR, impersonal", SyntheticImpersonal, _DO_NOT_MATTER)
