"""Ingestion: open a corpus's official files and check them before anything else runs."""

from __future__ import annotations

from typing import Any

from pydantic import Field, TypeAdapter, field_validator, model_validator

from mmer.corpora.readers import READERS
from mmer.corpora.source import CorpusSource, RawCorpus
from mmer.errors import InputError
from mmer.pipelines.parameters import Parameters


class IngestionParameters(Parameters):
    """Which reader opens the files, and its settings.

    Attributes:
        corpus: Name of the corpus, as tables, models and reports will state it.
        reader: A key of `mmer.corpora.readers.READERS`.
        options: That reader's settings.
    """

    corpus: str
    reader: str
    options: Any = Field(default_factory=dict)

    @field_validator("reader")
    @classmethod
    def _known(cls, reader: str) -> str:
        if reader not in READERS:
            raise ValueError(f"expected one of {', '.join(READERS)}, found {reader!r}")
        return reader

    @model_validator(mode="after")
    def _typed_options(self) -> IngestionParameters:
        settings, _ = READERS[self.reader]
        try:
            options: Any = TypeAdapter(settings).validate_python(self.options)
        except InputError as error:
            raise ValueError(str(error)) from error
        object.__setattr__(self, "options", options)
        return self


def open_corpus(raw: RawCorpus, parameters: IngestionParameters) -> CorpusSource:
    """Open the files and check them; samples are read later, split by split.

    Raises:
        InputError: A file is missing or not what the corpus's official files are.
    """
    _, read = READERS[parameters.reader]
    return read(raw.path, parameters.options, corpus=parameters.corpus, synthetic=raw.synthetic)
