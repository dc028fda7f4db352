"""What a figure is, as results carry it to verdict and report: a measure of similarity or a metric of serving."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from whichbits.schema.frozen import Frozen, Stored

Better = Literal["higher", "lower", "neither"]


class Reference(Stored):
    """A value that a figure is seen against."""

    value: float
    title: str
    """What it is, as a legend says it."""


class Described(Stored):
    """What every figure says of itself."""

    key: str
    """Its name in results and tables, and of its column in `items.parquet`."""
    title: str
    unit: str = ""
    """`s` is shown as ms where that reads better, `%` is of shares from 0 to 1."""
    better: Better
    """Which way is better: nearer to the base, or faster."""


class Measure(Described):
    """A measure of how alike a candidate is to the base: Σ `sums` / Σ `weights` over units, which are texts or windows."""

    sums: str = ""
    """Column of the items that is summed; default: the one of its key. Units that have none are left out."""
    weights: str | None = None
    """Column of what the sum is divided by; None counts every unit alike."""
    exponential: bool = False
    """Whether it is exp of that mean."""
    reference: Reference | None = None
    shown: bool = True
    """Whether verdict and report have it, with its interval over units; else it is in the step's items and summary alone."""

    @property
    def column(self) -> str:
        """Column of the items that is summed."""
        return self.sums or self.key


class Measured(Stored):
    """A measure with its value."""

    measure: Measure
    value: float | None
    """None where no unit has one."""


class ServingMetric(Described):
    """A metric of serving: of each request, with its mean and percentiles, or of a load level as a whole.

    Values are above 0: verdicts average them, and compare them, as ratios.
    """

    per: Literal["request", "level"]
    percentiles: tuple[float, ...] = ()
    """What a verdict gives beside the mean, where it is of requests."""
    throughput: bool = False
    """Of a level: a rate, whose error within a round is that of the latency, its inverse (Little's law)."""
    always: bool = False
    """A round without it, or where one of its requests lacks it, is not valid."""
    brief: bool = True
    """Whether a table with a line a load has it."""


class ChosenMeasures(Frozen):
    """Which measures a step computes, as a part of its inputs."""

    only_if_given: ClassVar[frozenset[str]] = frozenset({"measures", "packages"})

    measures: tuple[str, ...] | None = None
    """Names; None for all of ours."""
    packages: Mapping[str, str] | None = None
    """Versions of the packages that bring them; None where all are ours."""
