"""Losses that are larger than the bits of a format explain: signs of a damaged or mistaken checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from whichbits.formats.catalogue import load
from whichbits.verdict.accuracy import Suite
from whichbits.verdict.caveat_codes import ImplausibleLoss

FLOORS: Mapping[int, float] = {16: 95.0, 8: 80.0, 4: 50.0}
"""Recovery, %, that weights of so many bits keep in every study known to us, even rounded to nearest and in small models."""


def implausible_losses(formats: Mapping[str, str], suites: Mapping[str, Suite]) -> Iterator[ImplausibleLoss]:
    """Candidates whose whole interval of recovery lies below what weights of their bits keep.

    `formats` maps each candidate to its format's name, `suites` to the suite that decides on it.
    """
    catalogue = load()
    for candidate, suite in suites.items():
        format = catalogue.get(formats.get(candidate, candidate).partition("+")[0])
        if format is None:
            continue
        bits = format.weights.num_bits if format.weights else 16
        floor = FLOORS.get(bits)
        kept = suite.finding.recovery
        if floor is not None and kept.high < floor:
            yield ImplausibleLoss(candidate=candidate, weight_bits=bits, recovery=kept, floor=floor)
