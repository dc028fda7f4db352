"""The catalogue of accelerators: peak rates, memory, links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import yaml

from whichbits.errors import UserError


@dataclass(frozen=True)
class Hardware:
    """One kind of device, as its maker describes it.

    `peak` holds dense rates by number type (`bf16`, `fp16`, `int8`, `fp8`, `fp4`) in operations a second; `bandwidth` bytes a
    second; `memory` bytes; `link` and `network` bytes a second in one direction, between devices of a node and between nodes.
    """

    id: str
    name: str
    maker: str
    architecture: str
    memory_kind: str
    capability: float
    units: int
    clock_hz: float
    memory: float
    bandwidth: float
    peak: Mapping[str, float]
    link: float
    link_kind: str
    node: int
    network: float
    power_w: float
    source: str
    aliases: tuple[str, ...] = ()


def normalized(name: str) -> str:
    """`name` in lower case without anything but letters and digits, so that `A100 SXM-80GB` finds `a100_sxm_80gb`."""
    return "".join(character for character in name.lower() if character.isalnum())


def _entry(identifier: str, fields: Mapping[str, Any]) -> Hardware:
    return Hardware(
        id=identifier,
        name=fields["name"],
        maker=fields["maker"],
        architecture=fields["architecture"],
        memory_kind=fields["memory"],
        capability=float(fields["capability"]),
        units=int(fields["units"]),
        clock_hz=fields["clock_ghz"] * 1e9,
        memory=fields["memory_gb"] * 2**30,
        bandwidth=fields["bandwidth"] * 1e9,
        peak=MappingProxyType({kind: rate * 1e12 for kind, rate in fields["peak"].items()}),
        link=fields["link"] * 1e9,
        link_kind=fields["link_kind"],
        node=int(fields["node"]),
        network=fields["network"] * 1e9,
        power_w=float(fields["power_w"]),
        source=fields["source"],
        aliases=tuple(fields["aliases"]),
    )


@cache
def catalogue() -> Mapping[str, Hardware]:
    """Every known device by its id."""
    text = files("whichbits.cost").joinpath("hardware.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return MappingProxyType({identifier: _entry(identifier, fields) for identifier, fields in yaml.load(text, loader).items()})


@cache
def _names() -> Mapping[str, Hardware]:
    return {normalized(name): entry for entry in catalogue().values() for name in (entry.id, entry.name, *entry.aliases)}


def find(name: str) -> Hardware:
    """The device called `name` (id, name or alias; case, spaces and dashes do not matter), or `cpu`: this one, measured.

    Raises UserError where there is none.
    """
    key = normalized(name)
    if key == "cpu":
        from whichbits.cost.cpu import this_cpu

        return this_cpu()
    names = _names()
    entry = names.get(key) or names.get("nvidia" + key) or names.get(key.removeprefix("nvidia"))
    if entry is None:
        known = ", ".join(sorted(entry.name for entry in catalogue().values()))
        raise UserError(f"hardware: {name!r} is not in the catalogue", remedy=f"one of {known}")
    return entry
