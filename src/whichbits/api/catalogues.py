"""`whichbits formats` and `whichbits hardware`: what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whichbits.formats.format import Format


@dataclass(frozen=True)
class Device:
    """A device of the catalogue, with its price."""

    name: str
    memory_gb: float
    """GiB."""
    bandwidth_gb_s: float
    """GB a second."""
    tflops: Mapping[str, float]
    """Peak rate of dense products by type of number, TFLOP a second."""
    usd_per_hour: float | None
    """None where the price list has none."""


def list_formats() -> tuple[Format, ...]:
    """The catalogue of formats."""
    from whichbits.formats.catalogue import load

    return tuple(load().values())


def list_hardware() -> tuple[Device, ...]:
    """The devices that are known: memory, bandwidth, peak rates, price."""
    from whichbits.api.predict import hourly_prices
    from whichbits.hardware.catalogue import catalogue

    listed = hourly_prices({})
    return tuple(
        Device(
            name=entry.id,
            memory_gb=entry.memory / 2**30,
            bandwidth_gb_s=entry.bandwidth / 1e9,
            tflops={kind: rate / 1e12 for kind, rate in entry.peak.items()},
            usd_per_hour=listed.get(entry.name),
        )
        for entry in catalogue().values()
    )
