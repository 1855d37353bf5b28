"""Numbers in text, with commas between them."""

from __future__ import annotations

import pytest

from mmer.errors import InputError
from mmer.formats.number_table import read_lines, read_numbers


def test_rows_are_lines(tmp_path) -> None:
    path = tmp_path / "numbers.csv"
    path.write_text("1, 2.5,-3e2\r\n4,5,6\n\n")
    assert read_numbers(path).tolist() == [[1, 2.5, -300], [4, 5, 6]]
    assert read_lines(path) == ["1, 2.5,-3e2", "4,5,6"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "rows of numbers, found an empty file"),
        (b"\n\n", "an empty file"),
        (b"1,2\n3\n", r"line 2\]: expected 2 numbers, as in line 1, found 1"),
        (b"1,2\n\n3,4\n", r"line 2\]: expected finite numbers"),
        (b"a,b\n1,2\n", r"line 1\]: expected finite numbers.*found 'a,b'"),
        (b"1,nan\n", "finite numbers"),
        (b"1,inf\n", "finite numbers"),
        (b"1,2,\n", "finite numbers"),
        (b"\xff\xfe", "a text file"),
    ],
)
def test_what_are_no_numbers_is_refused(tmp_path, content, message) -> None:
    path = tmp_path / "numbers.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_numbers(path)


def test_a_missing_file_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_numbers(tmp_path / "nothing.csv")
