"""Probes: small SYNTHETIC corpora that each isolate one structure, to see who can learn it.

===========================  ======================================================================
probe                        what tells of a label
===========================  ======================================================================
probe_mean                   the mean over time
probe_moment                 one moment, at any step
probe_order                  which of two moments comes first; both always occur
probe_exclusive_or           the exclusive-or of a bit in one modality and a bit in another
probe_co_occurrence          of two labels every modality, of two others these labels alone
probe_one_modality           one modality alone, another for each label
probe_absent_at_random       the mean; samples lack modalities
probe_absent_in_blocks       the mean; whole groups lack a modality
probe_rare                   the mean; 2 % of the samples have a label
probe_shift                  the mean; in the test split frequent labels are rare, and rare ones not
probe_dependent              the mean; samples of a group share labels and a shift
===========================  ======================================================================

All have three modalities and four labels, and steps of true length that the modalities share. The
Bayes-optimal score follows from the exact posterior of each label given all that a sample shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from mmer.corpora.corpus import Corpus, Ingestion
from mmer.corpora.probes.between_modalities import (
    AbsentAtRandom,
    AbsentInBlocks,
    ExclusiveOr,
    OneModality,
)
from mmer.corpora.probes.files import write_probe
from mmer.corpora.probes.in_time import Mean, Moment, Order
from mmer.corpora.probes.of_labels import CoOccurrence, Dependent, Rare, Shift
from mmer.corpora.probes.probe import MODALITIES, Probe
from mmer.corpora.probes.reader import FILE, ParquetOptions, read_parquet


class ProbeIngestion(Ingestion):
    """How probes are read: one reader, and its options under its name."""

    reader: Literal["parquet"] = "parquet"
    parquet: ParquetOptions = ParquetOptions()


def write_synthetic(folder: Path, probe: Probe) -> dict[str, float]:
    """Write a probe's samples into an empty folder; returns the Bayes-optimal score."""
    return write_probe(folder, probe)


def _corpus(structure: str, probe: type[Probe], caveat: str = "") -> Corpus:
    return Corpus(
        title=structure,
        ingestion=ProbeIngestion,
        readers={"parquet": read_parquet},
        synthetic=probe,
        write_synthetic=write_synthetic,
        download_instructions=f"Put samples in one Parquet file there, {FILE}.",
        modalities=MODALITIES,
        family="probes",
        caveat=caveat,
    )


MEAN = _corpus("mean over time", Mean)
MOMENT = _corpus("one moment", Moment)
ORDER = _corpus("order of two moments", Order)
EXCLUSIVE_OR = _corpus("exclusive-or of two modalities", ExclusiveOr)
CO_OCCURRENCE = _corpus("co-occurrence of labels", CoOccurrence)
ONE_MODALITY = _corpus("one modality per label", OneModality)
ABSENT_AT_RANDOM = _corpus("modalities absent at random", AbsentAtRandom)
ABSENT_IN_BLOCKS = _corpus("modalities absent in blocks", AbsentInBlocks)
RARE = _corpus("rare labels", Rare)
SHIFT = _corpus(
    "prevalence that shifts",
    Shift,
    "the Bayes-optimal score knows the rates of the test split, which no system is told; who knows "
    "all else, and has thresholds from validation, goes about two thirds of the way",
)
DEPENDENT = _corpus("dependence within groups", Dependent)
