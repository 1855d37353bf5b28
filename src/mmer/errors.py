"""What mmer raises for input it cannot accept: the place, what was expected, what was found."""

from __future__ import annotations


class InputError(Exception):
    """Bad input from a user: a file, a parameter, a table that does not fit another.

    Args:
        where: The file, catalog entry or parameter at fault.
        key: The place inside it (an id, a column, a field); empty if the whole is meant.
        expected: What would have been accepted.
        found: What was there instead.
        remedy: What the user can do next; empty if `expected` says it.
    """

    def __init__(
        self, where: object, key: object, expected: str, found: object, remedy: str = ""
    ) -> None:
        self.where, self.key = str(where), str(key)
        self.expected, self.found, self.remedy = expected, str(found), remedy
        super().__init__(self.where, self.key, expected, self.found, remedy)

    def __str__(self) -> str:
        place = f"{self.where} [{self.key}]" if self.key else self.where
        message = f"{place}: expected {self.expected}, found {self.found}."
        return printable(f"{message} {self.remedy}" if self.remedy else message)


def printable(text: str) -> str:
    """Text from a file as a terminal may show it: what is no visible character is spelled out.

    That is what moves the cursor, changes colours, ends a line or turns the direction of writing.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class UntrustedDataError(InputError):
    """A file asks for code to be run (a pickle naming a type outside the allow-list)."""
