"""The table of champions: which version of a corpus's model is trusted, and which ones were before.

It is a log. Each entry has a number of its own, larger than those before it, and says after which
entry it was decided on (`after`). Of two entries decided on after the same one, the first counts;
the second was overtaken: what it was decided on is no longer so, and it changes nothing. So there
is one champion whoever writes at once, as long as somebody gives the numbers one at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from mmer.errors import InputError
from mmer.schema import Record

PROMOTED, TAKEN_BACK = "promoted", "taken back"


class Version(Record):
    """A version in the registry, by what its tags say.

    Attributes:
        name, number: Of the registered model, and of this version of it.
        system, title: Key in SYSTEMS, and name for readers.
        model: Digest of the fitted system.
        fingerprint: Of the tables that it was fitted and evaluated on.
        micro_f1: On the test samples.
        may_lack: Modalities that it has learned to do without; None if that was not noted.
    """

    name: str
    number: str
    system: str
    title: str
    model: str
    fingerprint: str
    synthetic: bool
    micro_f1: float | None
    may_lack: tuple[str, ...] | None = None


class Move(Record):
    """The champion's name is to go to another version.

    Attributes:
        name: Of the registered model.
        number: Of the version that becomes champion.
        before: Of the one that is it now; empty if there is none.
        after: Number of the last entry in the table when this was decided; 0 if there was none.
        told: Why, in a sentence.
    """

    name: str
    kind: Literal["promoted", "taken back"]
    number: str
    before: str
    after: int
    told: str


class Entry(Record):
    """A move that was written down.

    Attributes:
        place: In the table: larger than those of all entries before it.
        version: The champion from here on.
        when, by, run: Time in UTC (ISO 8601), user, and the MLflow run that wrote it.
    """

    place: int
    move: Move
    version: Version
    when: str
    by: str
    run: str


class Champions(Record):
    """All entries that count, oldest first.

    Attributes:
        name: Of the registered model.
        synthetic: Whether it is of synthetic corpora.
        unfinished: Whether the last move was written down and not carried out: the alias is not at
            the champion, although that version is there.
    """

    name: str
    synthetic: bool
    entries: tuple[Entry, ...]
    unfinished: bool = False

    @classmethod
    def of(cls, name: str, synthetic: bool, written: Iterable[Entry]) -> Champions:
        """Leave out the entries that were overtaken."""
        entries: list[Entry] = []
        for entry in sorted(written, key=lambda one: one.place):
            # An entry that somebody has deleted meanwhile overtakes nobody.
            if not entries or entry.move.after >= entries[-1].place:
                entries.append(entry)
        return cls(name=name, synthetic=synthetic, entries=tuple(entries))

    @property
    def last(self) -> int:
        """Place of the last entry; 0 if there is none."""
        return self.entries[-1].place if self.entries else 0

    @property
    def standing(self) -> tuple[str, ...]:
        """Numbers of the champion, last, and of those it may be taken back to.

        What was taken back, or was skipped then, is not among them.
        """
        numbers: list[str] = []
        for entry in self.entries:
            move = entry.move
            if not numbers and move.before:
                numbers.append(move.before)
            if move.kind == TAKEN_BACK:
                numbers = numbers[:-1]
                while move.number in numbers and numbers[-1] != move.number:
                    numbers.pop()
            if numbers[-1:] != [move.number]:
                numbers.append(move.number)
        return tuple(numbers)

    @property
    def champion(self) -> str:
        """Number of the champion; empty if there is none."""
        return self.standing[-1] if self.entries else ""

    def was_taken_back(self, number: str) -> bool:
        """Whether this version was champion and was taken back."""
        return any(e.move.kind == TAKEN_BACK and e.move.before == number for e in self.entries)

    def back(self, unusable: Collection[str] = ()) -> Move:
        """The move by which the champion before this one returns.

        If the last move is unfinished, it is this one again: nobody has yet seen the champion that
        it made.

        Args:
            unusable: Numbers of those that cannot return and are skipped.

        Raises:
            InputError: There is none.
        """
        if self.unfinished:
            return self.entries[-1].move
        now, earlier = self.champion, list(self.standing[:-1])
        skipped: list[str] = []
        while earlier and (earlier[-1] in unusable or earlier[-1] == now):
            skipped.insert(0, earlier.pop())
        if not earlier:
            found = f"version {now} alone" if now else "no champion"
            if skipped:
                found = f"none that can be used before version {now} ({', '.join(skipped)})"
            raise InputError(self.name, "champions", "a champion to return to", found)
        before = earlier[-1]
        told = f"version {now} taken back, version {before} returns"
        if skipped:
            told += f"; gone or damaged, and skipped: {', '.join(skipped)}"
        return Move(
            name=self.name, kind=TAKEN_BACK, number=before, before=now, after=self.last, told=told
        )
