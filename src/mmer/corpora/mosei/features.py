"""The modalities of CMU-MOSEI, and the features that its official files hold of them."""

from __future__ import annotations

from typing import Literal, get_args

Modality = Literal["text", "visual", "audio"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
EXTRACTORS: dict[Modality, str] = {"text": "GloVe 300", "visual": "FACET 4.2", "audio": "COVAREP"}
WIDTHS: dict[Modality, int] = {"text": 300, "visual": 35, "audio": 74}
