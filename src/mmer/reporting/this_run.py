"""What a page says of the run that made it: enough to make it again.

Nodes are not told how they were started. Whoever starts a run announces it in the environment,
which the processes that its nodes run in inherit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from platform import python_version

from pydantic import Field

from mmer.schema import Record

_VARIABLE = "MMER_THIS_RUN"
_PACKAGES = ("mmer", "kedro", "torch", "numpy", "scikit-learn", "pyarrow")


class ThisRun(Record):
    """A run, as its pages tell it.

    Attributes:
        name: Of the run, which is also the version of what it writes.
        began: Date and time (UTC), as readers write them.
        command: What starts it again, as one line of a shell.
        facts: What else decides the result: name -> text.
    """

    name: str
    began: str
    command: str
    facts: dict[str, str] = Field(default={})

    @property
    def told(self) -> Mapping[str, str]:
        """All but the command: name -> text."""
        return {"run": self.name, "began (UTC)": self.began, **self.facts, **_versions()}


@contextmanager
def announced(run: ThisRun) -> Iterator[None]:
    """Pages that are made meanwhile, in this process or in those it starts, tell of this run."""
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = run.to_json()
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE, None)
        if before is not None:
            os.environ[_VARIABLE] = before


def this_run() -> ThisRun | None:
    """The run that is under way; None if none has been announced."""
    text = os.environ.get(_VARIABLE)
    return ThisRun.from_json(text, "this run") if text else None


def _versions() -> dict[str, str]:
    found = [f"Python {python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return {"versions": ", ".join(found)}
