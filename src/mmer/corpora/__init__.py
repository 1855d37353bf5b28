"""The corpora that can be read. To add one: a folder here, and a line below."""

from mmer.corpora import m3ed, memor, mosei, probes
from mmer.corpora.corpus import Corpus

CORPORA: dict[str, Corpus] = {
    "mosei": mosei.CORPUS,
    "mosei_unaligned": mosei.CORPUS,
    "m3ed": m3ed.CORPUS,
    "memor": memor.CORPUS,
    "memor_impersonal": memor.IMPERSONAL,
    "probe_mean": probes.MEAN,
    "probe_moment": probes.MOMENT,
    "probe_order": probes.ORDER,
    "probe_exclusive_or": probes.EXCLUSIVE_OR,
    "probe_co_occurrence": probes.CO_OCCURRENCE,
    "probe_one_modality": probes.ONE_MODALITY,
    "probe_absent_at_random": probes.ABSENT_AT_RANDOM,
    "probe_absent_in_blocks": probes.ABSENT_IN_BLOCKS,
    "probe_rare": probes.RARE,
    "probe_shift": probes.SHIFT,
    "probe_dependent": probes.DEPENDENT,
}
"""Name -> corpus; the names are those of pipelines and of sections in the parameter files."""
