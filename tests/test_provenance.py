"""Fingerprints: equal for equal things, other for anything that decides what comes out."""

from __future__ import annotations

import pytest

from mmer import provenance
from mmer.errors import InputError
from mmer.files import write_text
from mmer.provenance import SourceFile, fingerprint
from mmer.samples.table import record_batches


@pytest.fixture
def source(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "clip1.pt").write_text("content")
    return SourceFile.of(tmp_path, tmp_path / "sub" / "clip1.pt")


def test_a_file_is_known_by_its_relative_path_and_bytes(source, tmp_path):
    assert source.name == "sub/clip1.pt"
    assert source.size == 7
    source.check(tmp_path)


def test_a_file_that_changed_or_went_is_refused(source, tmp_path):
    (tmp_path / "sub" / "clip1.pt").write_text("CONTENT!")
    with pytest.raises(InputError, match="other content"):
        source.check(tmp_path)
    (tmp_path / "sub" / "clip1.pt").unlink()
    with pytest.raises(InputError, match="nothing"):
        source.check(tmp_path)


def test_files_settings_and_code_all_count(source):
    made = fingerprint([source], {"a": 1}, (write_text,))
    assert made == fingerprint([source], {"a": 1}, (write_text,))
    renamed = source.model_copy(update={"name": "other.pt"})
    assert made != fingerprint([renamed], {"a": 1}, (write_text,))
    assert made != fingerprint([source], {"a": 2}, (write_text,))
    assert made != fingerprint([source], {"a": 1}, (record_batches,))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ("def f(x):\n    return x  # a remark\n", True),
        ('def f(x):\n    """What it does."""\n\n    return x\n', True),
        ("def f(x):\n    return x + 1\n", False),
    ],
)
def test_only_statements_of_the_code_count(other, same):
    one = provenance._statements("def f(x):\n    return x\n")
    assert (provenance._statements(other) == one) is same


def test_the_package_is_known_by_every_byte_of_its_source(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "_PACKAGE", tmp_path)
    (tmp_path / "inner").mkdir()
    found = []
    for text in ("x = 1\n", "x = 1  # one\n", "x = 1\n"):
        (tmp_path / "inner/module.py").write_text(text)
        found.append(provenance.package_digest.__wrapped__())
    assert found[0] == found[2] != found[1]
