"""CMU-MOSEI unaligned, as the published programs take it: `mosei_senti_data_noalign.pkl`.

A pickle: per split `text` (n, 50, 300), `vision` (n, 500, 35), `audio` (n, 500, 74) and mostly `id`
(video, start, end). It holds sentiment only; the emotions come from `train_valid_test.pt` BY ROW
NUMBER, as the published programs take them. That the rows belong together is checked row by row:
the two files hold vectors of the same words.
"""

from __future__ import annotations

from pathlib import Path

from mmer.corpora.corpus import CorpusSource
from mmer.corpora.mosei import tailor
from mmer.corpora.mosei.features import EXTRACTORS, Modality
from mmer.corpora.mosei.identities import Identities, read_identities, without_identities
from mmer.corpora.mosei.padded import (
    PaddedOptions,
    PaddedSplit,
    padded_source,
    split_features,
)
from mmer.corpora.mosei.same_words import check_same_words
from mmer.errors import InputError
from mmer.formats.plain import field, sequences
from mmer.formats.restricted_pickle import read_pickle
from mmer.formats.torch_archive import read_torch
from mmer.samples.table import SPLITS, Split

FILE = "mosei_senti_data_noalign.pkl"
FIELDS: dict[Modality, str] = {"text": "text", "visual": "vision", "audio": "audio"}
_NOT_COMPARED = (
    f"rows of {FILE} and {tailor.FILE} were joined by their number and not compared "
    "(trust_row_order)"
)


class NoalignOptions(PaddedOptions):
    """How the unaligned features are read; see also `PaddedOptions`.

    Attributes:
        trust_row_order: True joins the two files' rows without comparing them. For files whose text
            features are not of one kind, so that nothing tells whether their rows belong together.
    """

    trust_row_order: bool = False


def read_noalign(folder: Path, options: NoalignOptions) -> CorpusSource:
    """Open the unaligned features, join the aligned file's emotions row by row, offer the samples.

    Raises:
        InputError: A file is missing, damaged or not what the options say, or a row is not of the
            same words in both.
        UntrustedDataError: A file asks for code to be run.
    """
    features, labels = folder / FILE, folder / tailor.FILE
    content, label_content = read_pickle(features), read_torch(labels)
    sets = tailor.label_sets(labels, label_content, options.labels)
    splits: dict[Split, PaddedSplit] = {}
    for split in SPLITS:
        rows = split_features(features, content, split, FIELDS, options)
        count, name = len(rows["text"]), tailor.FIELDS["text"]
        texts = field(labels, label_content, split, name)
        words = sequences(labels, f"{split}/{name}", texts)
        if {count, len(words)} != {len(sets[split])}:
            expected = f"as many samples as sets of emotions in {labels.name}, {len(sets[split])}"
            raise InputError(features, split, expected, f"{count}, and {len(words)} texts there")
        if not options.trust_row_order:
            check_same_words(features, f"{split}/{FIELDS['text']}", rows["text"], words)
        known = _identities(features, split, content, count)
        splits[split] = PaddedSplit(rows, sets[split], *known)
    notes = (_NOT_COMPARED,) if options.trust_row_order else ()
    return padded_source(
        (features, labels), options, splits, EXTRACTORS, aligned=False, notes=notes
    )


def _identities(where: Path, split: str, content: object, count: int) -> Identities:
    """Names of samples and videos, start and end, as far as the file has them."""
    if "id" not in (fields := field(where, content, split)):
        return without_identities(split, count)
    return read_identities(where, f"{split}/id", fields["id"], count)
