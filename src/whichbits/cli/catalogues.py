"""The commands `formats` and `hardware`: what is known, a row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import whichbits
from whichbits.cli.options import AsJson

if TYPE_CHECKING:
    from whichbits.api.catalogues import Device
    from whichbits.cli.tables import Row
    from whichbits.formats.format import Format


def formats(as_json: AsJson = False) -> None:
    """List the formats."""
    from whichbits.cli.tables import print_results

    print_results(whichbits.list_formats(), as_json, _format)


def hardware(as_json: AsJson = False) -> None:
    """List known hardware, with peak rates and prices."""
    from whichbits.cli.tables import print_results

    print_results(whichbits.list_hardware(), as_json, _device)


def _device(device: Device) -> Row:
    rates = {f"{kind}_tflops": device.tflops.get(kind) for kind in ("bf16", "int8", "fp8", "fp4")}
    return {
        "hardware": device.name,
        "memory_gb": round(device.memory_gb),
        "bandwidth_gb_s": round(device.bandwidth_gb_s),
        **{name: None if rate is None else round(rate) for name, rate in rates.items()},
        "usd_per_hour": device.usd_per_hour,
    }


def _format(format: Format) -> Row:
    from whichbits.formats.catalogue import aliases_of

    def bits(args: Any) -> str:
        return "16" if args is None else f"{args.num_bits}-bit {args.type}, {args.strategy}"

    return {
        "format": format.name,
        "aliases": ", ".join(aliases_of(format.name)),
        "weights": bits(format.weights),
        "activations": bits(format.activations),
        "for": format.purpose,
        "not_made": format.refused or "",
    }
