"""The look-alike folders: one for every reader that there is, and the reader reads it."""

from __future__ import annotations

import look_alikes
import numpy as np
import pytest

from mmer.corpora import CORPORA

READERS = look_alikes.readers()


@pytest.mark.parametrize(("corpus", "reader"), READERS)
def test_every_reader_has_a_folder_that_it_reads(corpus, reader, tmp_path) -> None:
    look_alikes.FOLDERS[corpus, reader](tmp_path, np.random.default_rng(1))
    options = look_alikes.options(corpus, reader)
    source = CORPORA[corpus].readers[reader](tmp_path, options)
    assert set(source.groups) - {"valid"} == {"train", "test"}
    for split in source.groups:
        samples = look_alikes.samples(source, split)
        assert samples
        assert {sample.group_id for sample in samples} <= set(source.groups[split])
        assert all(len(sample.labels) == len(source.labels) for sample in samples)
