"""The one error that a user's mistake raises."""

from __future__ import annotations

ARROW = " → "
"""Between message and remedy, in a line."""


class UserError(Exception):
    """A mistake that the user can fix: the message names field and value, the remedy says what to do.

    The command line prints it in one line and exits with code 2.
    """

    def __init__(self, message: str, *, remedy: str) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}{ARROW}{self.remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (self.message, self.remedy))


def _rebuild(message: str, remedy: str) -> UserError:
    """Make the error again on the other side of a process boundary."""
    return UserError(message, remedy=remedy)


def parted(line: str) -> tuple[str, str | None]:
    """Message and remedy of a line that an error was written as; None where it has no remedy."""
    message, arrow, remedy = line.partition(ARROW)
    return message, remedy if arrow else None
