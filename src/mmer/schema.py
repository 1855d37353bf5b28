"""The two kinds of typed object: what a user sets, and what one stage hands to the next.

Both are checked when they are made and when they are read back; an unknown name, a missing field or
a wrong type is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator

from mmer.errors import InputError


class Settings(BaseModel):
    """Base of everything that parameter files set.

    What takes several values takes them on a command line, where lists cannot be written, as words
    with spaces between, or as one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _listed(cls, given: Any, info: ValidationInfo) -> Any:
        if info.field_name and isinstance(given, str | int | float):
            kind = cls.model_fields[info.field_name].annotation
            if get_origin(kind) is tuple:
                return tuple(str(given).split())
        return given


class Record(BaseModel):
    """Base of what stages hand to each other and datasets keep as JSON.

    Figures that are undefined are None, never NaN, so that what is written is JSON.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def to_json(self) -> str:
        """One line of JSON, the same for equal records."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes, where: object) -> Self:
        """The inverse of `to_json`; an InputError that names `where` if it is no such record."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise InputError(where, place, f"a record of {cls.__name__}", first["msg"]) from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of one record; an InputError if there is none."""
        try:
            return cls.from_json(path.read_bytes(), path)
        except OSError as error:
            raise InputError(path, "", f"a record of {cls.__name__}", error) from error
