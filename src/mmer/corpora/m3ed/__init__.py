"""M3ED: multi-party dialogues of Chinese television series, in the published feature pickles.

Zhao et al. (2022), "M3ED: Multi-modal Multi-scene Multi-label Emotional Dialogue Database".
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mmer.corpora.corpus import Corpus, Ingestion, Published
from mmer.corpora.m3ed.reader import FILES, M3edOptions, read_pkl
from mmer.corpora.m3ed.synthetic import SyntheticM3ed, write_synthetic


class M3edIngestion(Ingestion):
    """How M3ED is read: one reader, and its options under its name."""

    reader: Literal["pkl"] = "pkl"
    pkl: M3edOptions = M3edOptions()


CORPUS = Corpus(
    title="M3ED",
    ingestion=M3edIngestion,
    readers={"pkl": read_pkl},
    synthetic=SyntheticM3ed,
    write_synthetic=write_synthetic,
    download_instructions=(
        f"Put one of M3ED's feature pickles (such as {FILES[-1]}) there. "
        "M3ED's authors give access to it (AIM3-RUC/RUCM3ED on GitHub)."
    ),
    modalities=("text", "visual", "audio"),
    published=Published.read(Path(__file__).with_name("published.json")),
)
