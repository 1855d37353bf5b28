"""The sample table: what goes in comes out, whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mmer.errors import InputError
from mmer.samples import seal
from mmer.samples.batches import pack
from mmer.samples.joining import join_tables
from mmer.samples.table import Persons, Sample, SampleTable, write_table


def test_samples_come_back_as_they_went_in(tmp_path, toy_info, toy_samples):
    samples = toy_samples(700)  # more than one record batch
    samples[3].features["visual"] = None
    samples[4].words = None
    path = tmp_path / "table.arrow"
    assert len(write_table(path, toy_info, iter(samples))) == 700
    table = SampleTable(path)
    assert table.info == toy_info
    for sample, row in zip(samples, table.arrow().to_pylist(), strict=True):
        for modality, expected in sample.features.items():
            if expected is None:
                assert row[modality] is None
            else:
                np.testing.assert_array_equal(np.array(row[modality], np.float32), expected)
        assert row["labels"] == sample.labels.tolist()
        assert (row["sample_id"], row["group_id"]) == (sample.sample_id, sample.group_id)
        assert (row["start"], row["end"], row["words"]) == (sample.start, sample.end, sample.words)


def test_values_that_are_not_finite_become_zero_and_are_counted(tmp_path, toy_info, toy_samples):
    samples = toy_samples(5)
    audio = np.ones((3, 5), np.float32)
    audio[0, 1], audio[2, 0], audio[2, 4] = -np.inf, np.nan, np.inf
    samples[2].features["audio"] = audio
    samples[1].features["audio"] = None
    rows = write_table(tmp_path / "t.arrow", toy_info, samples).arrow().to_pylist()
    assert [row["cleaned"] for row in rows] == [[0, 0, 3 if i == 2 else 0] for i in range(5)]
    np.testing.assert_array_equal(rows[2]["audio"], np.nan_to_num(audio, posinf=0, neginf=0))


def test_a_modality_absent_everywhere_keeps_its_type(tmp_path, toy_info, toy_samples):
    samples = toy_samples(3)
    for sample in samples:
        sample.features["text"] = None
    table = write_table(tmp_path / "t.arrow", toy_info, samples).arrow()
    assert table["text"].null_count == 3
    assert table.schema.field("text").type.value_type.list_size == 6


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.features.update(audio=np.zeros((2, 9), np.float32)), "rows of width 5"),
        (lambda s: s.features.update(audio=np.zeros(5, np.float32)), "rows of width 5"),
        (lambda s: setattr(s, "labels", np.array([0, 1])), "3 values, each 0 or 1"),
        (lambda s: setattr(s, "labels", np.array([0, 1, 2])), "3 values, each 0 or 1"),
    ],
)
def test_a_sample_that_does_not_fit_is_refused_by_name(
    tmp_path, toy_info, toy_samples, change, words
):
    samples = toy_samples(4)
    change(samples[2])
    with pytest.raises(InputError, match=words) as caught:
        write_table(tmp_path / "t.arrow", toy_info, samples)
    assert samples[2].sample_id in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_split_is_an_error_and_keeps_the_old_table(tmp_path, toy_info, toy_samples):
    path = tmp_path / "t.arrow"
    write_table(path, toy_info, toy_samples(4))
    before = path.read_bytes()
    with pytest.raises(InputError, match="the split is empty"):
        write_table(path, toy_info, [])
    assert path.read_bytes() == before


def test_a_kill_while_writing_leaves_the_old_table(tmp_path, toy_info, toy_samples):
    path = tmp_path / "t.arrow"
    write_table(path, toy_info, toy_samples(4))
    before = path.read_bytes()
    script = f"""
import sys, time
from pathlib import Path
from mmer.samples.table import TableInfo, Sample, write_table
import numpy as np
info = TableInfo.from_json({toy_info.to_json()!r}, "test")
def samples():
    for i in range(10**6):
        if i == 600:
            print("half way", flush=True)
            time.sleep(60)
        widths = info.widths
        rows = {{m: np.ones((2, widths[m]), np.float32) for m in widths}}
        yield Sample(str(i), str(i), rows, np.zeros(3, np.uint8))
write_table(Path({str(path)!r}), info, samples())
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"half way\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert path.read_bytes() == before
    assert len(SampleTable(path)) == 4


def test_a_table_cut_off_is_never_taken_for_a_whole_one(tmp_path, toy_info, toy_samples):
    path = tmp_path / "t.arrow"
    write_table(path, toy_info, toy_samples(600))
    whole = path.read_bytes()
    for share in (0.0, 0.3, 0.9, 0.999):
        cut = tmp_path / f"cut{share}.arrow"
        cut.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InputError, match="a sample table"):
            SampleTable(cut)


def test_a_missing_table_and_a_foreign_one_are_named(tmp_path):
    import pyarrow as pa

    with pytest.raises(InputError, match=r"nowhere\.arrow"):
        SampleTable(tmp_path / "nowhere.arrow")
    foreign = tmp_path / "foreign.arrow"
    table = pa.table({"x": [1]})
    with pa.OSFile(str(foreign), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InputError, match="the key 'mmer'"):
        SampleTable(foreign)


def test_memory_stays_bounded_while_a_long_stream_is_written(tmp_path, toy_info):
    import tracemalloc

    def stream(count):
        rows = {m: np.ones((20, w), np.float32) for m, w in toy_info.widths.items()}
        for i in range(count):
            features = {m: x.copy() for m, x in rows.items()}
            yield Sample(str(i), str(i), features, np.zeros(3, np.uint8))

    peaks = []
    for count in (600, 6000):
        tracemalloc.start()
        write_table(Path(tmp_path / f"{count}.arrow"), toy_info, stream(count))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]


def with_persons(toy_info, samples):
    """Two persons who speak in turn, one segment a step."""
    for i, sample in enumerate(samples):
        sample.person = i % 2
        for modality, rows in sample.features.items():
            if rows is not None:
                sample.step_persons[modality] = np.arange(len(rows)) % 2
                sample.step_segments[modality] = np.arange(len(rows))
    persons = Persons(names=("Ann", "Ben"), traits=((0.1, 0.2), (0.3, 0.4)))
    return toy_info.model_copy(update={"persons": persons})


def test_steps_know_their_person_and_segment(tmp_path, toy_info, toy_samples):
    samples = toy_samples(200)
    samples[7].features["audio"] = None
    table = write_table(tmp_path / "t.arrow", with_persons(toy_info, samples), samples)
    assert table.info.persons.names == ("Ann", "Ben")
    index = np.array([7, 3, 150])
    batch = pack(table).gather(index)
    assert batch.persons.target.tolist() == [1, 1, 0]
    for modality in toy_info.modalities:
        for b, i in enumerate(index):
            rows = samples[i].features[modality]
            length = 0 if rows is None else len(rows)
            shown = batch.persons.persons[modality][b].tolist()
            assert shown[:length] == [t % 2 for t in range(length)]
            segments = batch.persons.segments[modality][b].tolist()
            assert segments == [*range(length), *([0] * (len(segments) - length))]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: setattr(s, "person", 2), "one of 2 persons"),
        (lambda s: setattr(s, "person", None), "one of 2 persons"),
        (lambda s: s.step_persons.pop("text"), "persons of text"),
        (lambda s: s.step_segments.update(text=np.zeros(99)), "segments of text"),
        (lambda s: s.step_persons.update(text=s.step_persons["text"] + 2), "numbers below 2"),
    ],
)
def test_persons_that_do_not_fit_are_refused(tmp_path, toy_info, toy_samples, change, words):
    samples = toy_samples(4)
    info = with_persons(toy_info, samples)
    change(samples[2])
    with pytest.raises(InputError, match=words):
        write_table(tmp_path / "t.arrow", info, samples)


def test_where_every_sample_has_one_label_others_are_refused(tmp_path, toy_info, toy_samples):
    info = toy_info.model_copy(update={"one_label": True})
    samples = toy_samples(4)
    for sample in samples:
        sample.labels = np.eye(len(info.labels), dtype=np.uint8)[1]
    assert write_table(tmp_path / "one.arrow", info, samples).info.one_label
    for count in (0, 2):
        samples[2].labels = (np.arange(len(info.labels)) < count).astype(np.uint8)
        with pytest.raises(InputError, match=r"\[labels\]: expected exactly one"):
            write_table(tmp_path / "other.arrow", info, samples)


def test_a_table_is_not_taken_for_another(toy_table):
    table = toy_table(5, split="valid")
    table.expect("valid", "made-for-tests")
    with pytest.raises(InputError, match="split"):
        table.expect("test")
    with pytest.raises(InputError, match="fingerprint"):
        table.expect("valid", "another")


def test_what_is_zero_throughout_is_absent_and_counted_unless_it_is_to_stay(
    tmp_path, toy_info, toy_samples
):
    def made(**update):
        samples = toy_samples(4)
        samples[0].features["visual"] = np.zeros((3, 4), np.float32)
        samples[1].features["visual"] = None
        samples[2].features["visual"] = np.zeros((0, 4), np.float32)
        samples[3].features["audio"] = np.full((2, 5), -np.inf)
        info = toy_info.model_copy(update=update)
        return write_table(tmp_path / "t.arrow", info, samples).arrow().to_pylist()

    for absent in (True, False):
        rows = made(zeros_are_absent=absent)
        found = [[row[m] is None for m in ("text", "visual", "audio")] for row in rows]
        assert found == [
            [False, absent, False],
            [False, True, False],
            [False, True, False],
            [False, False, absent],
        ]
        nowhere = [False, False, False]
        assert [row["all_zero"] for row in rows] == [
            [False, True, False],
            nowhere,
            nowhere,
            [False, False, True],
        ]
        assert rows[3]["cleaned"] == [0, 0, 10]


def overwrite(path):
    content = bytearray(path.read_bytes())
    middle = len(content) // 2 // 4 * 4
    content[middle : middle + 4096] = np.full(1024, 1e30, np.float32).tobytes()
    path.write_bytes(content)


def test_a_table_that_was_overwritten_is_refused_when_it_is_used(toy_table):
    table = toy_table(600)
    assert len(table) == 600
    before = table.path.stat()
    overwrite(table.path)
    os.utime(table.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match="expected the bytes that were written"):
        table.arrow()
    with pytest.raises(InputError, match="expected the bytes that were written"):
        pack(SampleTable(table.path))


def test_any_byte_of_a_table_counts(toy_table):
    path = toy_table(5).path
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InputError):
            SampleTable(path).arrow()
    path.write_bytes(whole)
    assert len(SampleTable(path)) == 5


def test_a_table_is_read_through_once(toy_table, monkeypatch):
    read = []
    check = seal.check
    monkeypatch.setattr(seal, "check", lambda path, told: read.append(path) or check(path, told))
    path = toy_table(50).path
    for _ in range(3):
        SampleTable(path).arrow()
    assert read == [path]


def test_an_empty_table_can_be_a_part(tmp_path, toy_info, toy_samples):
    parts = []
    for number, samples in enumerate(([], toy_samples(200), toy_samples(3, seed=1))):
        part = tmp_path / f"part{number}.arrow"
        parts.append(write_table(part, toy_info, samples, may_be_empty=True).path)
    joined = join_tables(tmp_path / "t.arrow", toy_info, parts).arrow()
    rows = [row for part in parts for row in SampleTable(part).arrow().to_pylist()]
    assert joined.to_pylist() == rows
    assert [len(column.chunks) for column in joined.columns] == [1] * joined.num_columns
    with pytest.raises(InputError, match="the split is empty"):
        join_tables(tmp_path / "none.arrow", toy_info, parts[:1])


def test_parts_of_another_table_are_not_joined(tmp_path, toy_table, toy_info):
    part = toy_table(5, split="valid").path
    with pytest.raises(InputError, match=r"expected a part of toy train.*found valid"):
        join_tables(tmp_path / "t.arrow", toy_info, [part])


def test_joined_steps_know_their_persons(tmp_path, toy_info, toy_samples):
    samples = toy_samples(200)
    samples[7].features["audio"] = np.zeros((3, 5), np.float32)
    info = with_persons(toy_info, samples)
    parts = [
        write_table(tmp_path / f"{begin}", info, samples[begin : begin + 100]).path
        for begin in (0, 100)
    ]
    joined = join_tables(tmp_path / "t.arrow", info, parts).arrow().to_pylist()
    assert joined == write_table(tmp_path / "whole", info, samples).arrow().to_pylist()
    assert joined[7]["audio_person"] is None
