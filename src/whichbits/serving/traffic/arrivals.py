"""When the requests of an open loop arrive: one class a kind of arrival."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from whichbits.schema import serve
from whichbits.schema.workload import Ramp


class Arrivals(Protocol):
    """Moments at which requests arrive, whatever the server does."""

    @property
    def rate(self) -> float:
        """Requests per second, on average."""
        ...

    @property
    def kind(self) -> serve.Arrivals | None:
        """As it stands in results; None of what has no name there."""
        ...

    def times(self, requests: int, seed: int) -> NDArray[np.float64]:
        """Moments of so many arrivals, seconds from the beginning, ascending, shape [requests]."""
        ...


@dataclass(frozen=True)
class Random:
    """Gaps of a gamma distribution: its shape is the burstiness, 1 is a Poisson process, less is bursts.

    The definition of vLLM's `--burstiness`: the gaps' coefficient of variation is burstiness^-1/2.
    """

    kind: ClassVar[serve.Arrivals] = "rate"

    rate: float
    burstiness: float = 1.0

    def times(self, requests: int, seed: int) -> NDArray[np.float64]:
        """A function of the seed."""
        gaps = np.random.default_rng(seed).gamma(self.burstiness, 1 / (self.rate * self.burstiness), requests)
        return np.cumsum(gaps)


@dataclass(frozen=True)
class Even:
    """The same gap always."""

    kind: ClassVar[serve.Arrivals] = "rate"

    rate: float

    def times(self, requests: int, seed: int) -> NDArray[np.float64]:
        """Whatever the seed."""
        return np.arange(1, requests + 1) / self.rate


@dataclass(frozen=True)
class Growing:
    """A Poisson process of which the rate goes evenly from a to b in T seconds."""

    kind: ClassVar[serve.Arrivals] = "ramp"

    ramp: Ramp

    @property
    def rate(self) -> float:
        """(a + b) / 2."""
        return (self.ramp.begin + self.ramp.end) / 2

    @property
    def requests(self) -> int:
        """Requests to expect in all."""
        return max(1, round(self.rate * self.ramp.seconds))

    def times(self, requests: int, seed: int) -> NDArray[np.float64]:
        """By time rescaling: arrival n is where a·t + (b − a)·t² / 2T is the n-th event of a process of rate 1.

        What comes after T keeps the rate b. Where the rate falls, the integral has its highest point there.
        """
        unit = np.cumsum(np.random.default_rng(seed).exponential(1.0, requests))
        begin, end, seconds = self.ramp.begin, self.ramp.end, self.ramp.seconds
        slope = (end - begin) / seconds
        inside = np.minimum(unit, self.rate * seconds)
        # The root of slope/2·t² + begin·t = inside, in a form that holds for slope 0 too.
        ramped = 2 * inside / (begin + np.sqrt(np.maximum(begin**2 + 2 * slope * inside, 0.0)))
        times: NDArray[np.float64] = ramped + (unit - inside) / end
        return times


@dataclass(frozen=True)
class Recorded:
    """The moments of a log, or of what another tool has sent; the first at 0."""

    seconds: tuple[float, ...]
    kind: serve.Arrivals | None = "trace"

    @property
    def rate(self) -> float:
        """Arrivals after the first in the log's time."""
        return (len(self.seconds) - 1) / (self.seconds[-1] - self.seconds[0])

    def times(self, requests: int, seed: int) -> NDArray[np.float64]:
        """The first ones, whatever the seed."""
        return np.array(self.seconds[:requests])
