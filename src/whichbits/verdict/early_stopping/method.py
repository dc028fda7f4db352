"""What a method of early stopping is: it says how wide the interval of each look must be, and when going on is futile."""

from __future__ import annotations

from typing import ClassVar, Protocol


class EarlyStopping(Protocol):
    """A method of looking at results several times. Looks are counted from 1."""

    name: ClassVar[str]
    """What a specification calls it."""

    @property
    def looks(self) -> int:
        """How often results are looked at, at most."""
        ...

    def level(self, look: int) -> float:
        """Confidence for which the interval of a look is computed, so that those of all looks hold together as stated.

        The interval of the look at which an evaluation stops is then a repeated confidence interval (Jennison and Turnbull,
        J. R. Statist. Soc. B 51, 1989): it holds whatever the reason to stop was.
        """
        ...

    def chance_to_decide(self, look: int, z: float) -> float:
        """Probability that the last look tells the value from its bound, where the distance is `z` standard errors now."""
        ...

    def futile(self, look: int, z: float) -> bool:
        """Whether going on is not worth it. The error stays as stated, whether this is heeded or not."""
        ...

    def p_value(self, look: int, p: float) -> float:
        """One-sided p-value of a stop at this look that holds for all looks, from the plain one-sided `p` of this look."""
        ...
