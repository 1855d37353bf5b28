"""Records and settings: what they refuse, and that what is written comes back."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from mmer.errors import InputError
from mmer.schema import Record, Settings


class Toy(Record):
    number: float | None
    names: tuple[str, ...] = ()


class ToySettings(Settings):
    size: int = 3


def test_a_record_comes_back_equal():
    toy = Toy(number=None, names=("a", "b"))
    assert Toy.from_json(toy.to_json(), "here") == toy


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"number": 1, "extra": 2}', "extra"),
        ("{}", "number"),
        ('{"number": "much"}', "number"),
        ('{"number": NaN}', ""),
        ('{"number": 1', ""),
        ("[]", ""),
    ],
)
def test_what_is_no_such_record_is_refused_with_its_place(text, place):
    with pytest.raises(InputError, match=r"a record of Toy") as caught:
        Toy.from_json(text, "some/file.json")
    assert "some/file.json" in str(caught.value)
    assert place in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.json"):
        Toy.read(tmp_path / "nowhere.json")


def test_settings_refuse_what_they_do_not_know():
    with pytest.raises(ValidationError, match="sise"):
        ToySettings.model_validate({"sise": 4})
    with pytest.raises(ValidationError, match="frozen"):
        ToySettings().size = 4
