"""CMU-MOSEI: labelled segments of monologues on YouTube, in the files that are passed on of it.

Zadeh et al. (2018), "Multimodal language analysis in the wild: CMU-MOSEI dataset and interpretable
dynamic fusion graph".
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from mmer.corpora.corpus import Corpus, Ingestion, Published
from mmer.corpora.mosei.csd import FILES, LABELS, WORDS, CsdOptions, read_csd
from mmer.corpora.mosei.mmsa import MmsaOptions, read_mmsa
from mmer.corpora.mosei.noalign import NoalignOptions, read_noalign
from mmer.corpora.mosei.padded import PaddedOptions
from mmer.corpora.mosei.synthetic.corpus import SyntheticMosei, write_synthetic
from mmer.corpora.mosei.tailor import read_tailor
from mmer.corpora.mosei.tensors import TensorsOptions, read_tensors


class MoseiIngestion(Ingestion):
    """How CMU-MOSEI is read.

    "csd" reads the official computational sequences; the others, files in which they are passed on
    already cut into samples.
    """

    reader: Literal[
        "csd", "tensors_pkl", "tailor_pt", "noalign_pkl", "mmsa_aligned", "mmsa_unaligned"
    ] = "csd"
    csd: CsdOptions = CsdOptions()
    tensors_pkl: TensorsOptions = TensorsOptions()
    tailor_pt: PaddedOptions = PaddedOptions()
    noalign_pkl: NoalignOptions = NoalignOptions()
    mmsa_aligned: MmsaOptions = MmsaOptions()
    mmsa_unaligned: MmsaOptions = MmsaOptions()


CORPUS = Corpus(
    title="CMU-MOSEI",
    ingestion=MoseiIngestion,
    readers={
        "csd": read_csd,
        "tensors_pkl": read_tensors,
        "tailor_pt": read_tailor,
        "noalign_pkl": read_noalign,
        "mmsa_aligned": partial(read_mmsa, "aligned_50.pkl"),
        "mmsa_unaligned": partial(read_mmsa, "unaligned_50.pkl"),
    },
    synthetic=SyntheticMosei,
    write_synthetic=write_synthetic,
    download_instructions=(
        "Put the computational sequences "
        f"({', '.join(file.name for file in (*FILES.values(), LABELS))} and, for words in the "
        f"explanations, {WORDS.name}) there; the CMU-MultimodalSDK (CMU-MultiComp-Lab on GitHub) "
        "downloads them. For files already cut into samples, choose another reader."
    ),
    modalities=("text", "visual", "audio"),
    published=Published.read(Path(__file__).with_name("published.json")),
)
