"""The sample-table dataset: what is up to date is kept, unread; anything else is made anew."""

from __future__ import annotations

import resource
import signal
from dataclasses import replace

import pytest
from kedro.io import DatasetError

from mmer.corpora.source import SampleStream
from mmer.datasets.sample_table import SampleTable


@pytest.fixture
def dataset(tmp_path):
    return SampleTable(filepath=str(tmp_path / "deep" / "train.arrow"))


def unreadable():
    raise AssertionError("an up-to-date table was read again")
    yield


def test_a_stream_becomes_a_table(dataset, toy_info, toy_samples):
    assert not dataset.exists()
    dataset.save(SampleStream(toy_info, toy_samples(5)))
    assert dataset.exists()
    assert len(dataset.load()) == 5


def test_an_equal_fingerprint_reads_nothing(dataset, toy_info, toy_samples, caplog):
    dataset.save(SampleStream(toy_info, toy_samples(5)))
    with caplog.at_level("INFO"):
        dataset.save(SampleStream(toy_info, unreadable()))
    assert "up to date: reused" in caplog.text
    assert len(dataset.load()) == 5


@pytest.mark.parametrize("fingerprint", ["another", ""])
def test_another_fingerprint_makes_the_table_anew(dataset, toy_info, toy_samples, fingerprint):
    dataset.save(SampleStream(replace(toy_info, fingerprint=fingerprint), toy_samples(5)))
    dataset.save(SampleStream(replace(toy_info, fingerprint=fingerprint[:1]), toy_samples(7)))
    assert len(dataset.load()) == 7


def test_a_half_written_table_is_made_anew(dataset, toy_info, toy_samples, tmp_path):
    dataset.save(SampleStream(toy_info, toy_samples(5)))
    path = tmp_path / "deep" / "train.arrow"
    path.write_bytes(path.read_bytes()[:-40])
    dataset.save(SampleStream(toy_info, toy_samples(6)))
    assert len(dataset.load()) == 6


def test_a_failure_half_way_keeps_the_old_table(dataset, toy_info, toy_samples):
    dataset.save(SampleStream(toy_info, toy_samples(5)))

    def failing():
        yield from toy_samples(3)
        raise OSError("the disk is gone")

    with pytest.raises(DatasetError, match="the disk is gone"):
        dataset.save(SampleStream(replace(toy_info, fingerprint="new"), failing()))
    assert len(dataset.load()) == 5


def test_a_full_disk_keeps_the_old_table(dataset, toy_info, toy_samples):
    dataset.save(SampleStream(toy_info, toy_samples(5)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        with pytest.raises(DatasetError, match="File too large"):
            dataset.save(SampleStream(replace(toy_info, fingerprint="new"), toy_samples(3000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert len(dataset.load()) == 5
    assert [path.name for path in dataset._filepath.parent.iterdir()] == ["train.arrow"]
