"""`train_valid_test.pt`: what was put in comes out without its padding, and faults are named."""

from __future__ import annotations

import look_alikes
import numpy as np
import pytest
import torch

from mmer.corpora.mosei.features import MODALITIES
from mmer.corpora.mosei.padded import PaddedOptions
from mmer.corpora.mosei.tailor import read_tailor
from mmer.errors import InputError
from mmer.samples.table import SPLITS

OPTIONS = PaddedOptions(widths=look_alikes.WIDTHS)


@pytest.fixture
def words() -> dict[str, list[np.ndarray]]:
    return look_alikes.word_vectors(np.random.default_rng(1))


@pytest.fixture
def content(words) -> dict:
    return look_alikes.tailor_content(np.random.default_rng(2), words)


def _read(tmp_path, content, options=OPTIONS, legacy=False):
    path = look_alikes.write_torch(tmp_path / "train_valid_test.pt", content, legacy)
    return read_tailor(path, options)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_samples_are_what_was_written_without_padding(tmp_path, words, side, legacy) -> None:
    content = look_alikes.tailor_content(np.random.default_rng(2), words, side)
    source = _read(tmp_path, content, legacy=legacy)
    assert source.alignment == "word"
    assert {m: f.width for m, f in source.features.items()} == look_alikes.WIDTHS
    for split in SPLITS:
        for i, sample in enumerate(look_alikes.samples(source, split)):
            true = (
                slice(0, len(words[split][i]))
                if side == "right"
                else slice(-len(words[split][i]), None)
            )
            for modality in MODALITIES:
                expected = content[split][f"src-{modality}"][i][true]
                np.testing.assert_array_equal(sample.features[modality], expected)
            present = {e for e, on in zip(source.labels, sample.labels, strict=True) if on}
            ids = content[split]["tgt"][i][1:-1]
            assert present == {look_alikes.EMOTIONS[e - 4] for e in ids}
        assert i + 1 == look_alikes.COUNTS[split]


@pytest.mark.parametrize(
    "container",
    [
        np.stack,
        lambda rows: torch.from_numpy(np.stack(rows)),
        lambda rows: list(map(torch.from_numpy, rows)),
    ],
    ids=["stacked", "tensor", "tensors"],
)
def test_any_container_gives_the_same_samples(tmp_path, content, container) -> None:
    expected = [s.features for s in look_alikes.samples(_read(tmp_path, content), "train")]
    for split in SPLITS:
        for m in MODALITIES:
            content[split][f"src-{m}"] = container(content[split][f"src-{m}"])
    for sample, features in zip(
        look_alikes.samples(_read(tmp_path, content), "train"), expected, strict=True
    ):
        for m in MODALITIES:
            np.testing.assert_array_equal(sample.features[m], features[m])


def test_emotions_in_the_files_order_are_mapped_to_the_requested_one(tmp_path, content) -> None:
    expected = [s.labels for s in look_alikes.samples(_read(tmp_path, content), "train")]
    vocabulary = content["dict"]["tgt"]
    for i, name in enumerate(reversed(look_alikes.EMOTIONS)):
        vocabulary[name] = 4 + i
    for split in SPLITS:
        content[split]["tgt"] = [
            [2, *(13 - emotion for emotion in ids[1:-1]), 3] for ids in content[split]["tgt"]
        ]
    found = [s.labels for s in look_alikes.samples(_read(tmp_path, content), "train")]
    np.testing.assert_array_equal(found, expected)


def test_another_order_may_be_requested(tmp_path, content) -> None:
    labels = tuple(sorted(look_alikes.EMOTIONS))
    expected = [s.labels for s in look_alikes.samples(_read(tmp_path, content), "train")]
    source = _read(tmp_path, content, PaddedOptions(labels=labels, widths=look_alikes.WIDTHS))
    columns = [look_alikes.EMOTIONS.index(label) for label in labels]
    found = [s.labels for s in look_alikes.samples(source, "train")]
    np.testing.assert_array_equal(found, np.array(expected)[:, columns])


def test_padding_can_be_kept(tmp_path, content) -> None:
    options = PaddedOptions(widths=look_alikes.WIDTHS, keep_padding=True)
    for sample in look_alikes.samples(_read(tmp_path, content, options), "train"):
        assert {len(rows) for rows in sample.features.values()} == {6}


def _without(content, split, field):
    del content[split][field]


def _set(value, *keys):
    def fault(content):
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return fault


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda c: c.pop("valid"), "a field 'valid'"),
        (lambda c: c["test"].pop("src-audio"), r"\[test\]: expected a field 'src-audio'"),
        (lambda c: c["test"]["src-audio"].pop(), "as many samples in each modality as labels"),
        (_set([], "valid", "tgt"), r"\[valid/tgt\]: expected a list of emotions for each sample"),
        (_set([2, 3, 4], "train", "tgt", 1), r"\[train/tgt\[1\]\]"),
        (_set([2, 4, 4, 3], "train", "tgt", 1), "each at most once"),
        (_set([2, 99, 3], "train", "tgt", 1), "found 2, 99, 3"),
        (_set([np.zeros(2), 4, 3], "train", "tgt", 1), "array of shape"),
        (_set([2, np.zeros(2), 3], "train", "tgt", 1), "array of shape"),
        (_set(None, "dict", "tgt"), "a dict of names and their ids"),
        (_set(4, "dict", "tgt", "calm"), "the emotions happy, sad"),
        (_set(np.zeros((6, 5)), "train", "src-text", 2), r"src-text\[2\]\]: .* rows of width 4"),
        (_set(np.zeros((5, 4)), "train", "src-text", 2), "as many steps in each modality"),
        (_set(np.zeros((4, 6, 4), "c8"), "train", "src-text"), "numpy type"),
    ],
)
def test_faults_are_named(tmp_path, content, fault, message) -> None:
    fault(content)
    with pytest.raises(InputError, match=message) as caught:
        _read(tmp_path, content)
    assert "train_valid_test.pt" in str(caught.value)
