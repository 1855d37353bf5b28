"""What a message shows of a file cannot be taken for something else."""

from __future__ import annotations

import pytest

from mmer.errors import InputError, UntrustedDataError, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b[31mred", r"\x1b[2J\x1b[31mred"),
        ("id\r\nINFO all is well", r"id\r\nINFO all is well"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\x9b31m", r"\x9b31m"),
        ("\ud800", r"\ud800"),
        ("高兴 été 😀 'quoted'", "高兴 été 😀 'quoted'"),
    ],
)
def test_only_visible_characters_are_shown(text, shown) -> None:
    assert printable(text) == shown
    for kind in (InputError, UntrustedDataError):
        error = kind(f"file {text}", f"key {text}", f"not {text}", text, f"See {text}.")
        assert str(error) == (
            f"file {shown} [key {shown}]: expected not {shown}, found {shown}. See {shown}."
        )
        assert error.found == text
