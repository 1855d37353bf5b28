"""The corpora that can be read. To add one: a folder here, and a line below."""

from mmer.corpora import m3ed, mosei
from mmer.corpora.corpus import Corpus

CORPORA: dict[str, Corpus] = {
    "mosei": mosei.CORPUS,
    "mosei_unaligned": mosei.CORPUS,
    "m3ed": m3ed.CORPUS,
}
"""Name -> corpus; the names are those of pipelines and of sections in the parameter files."""
