"""The catalogue of accelerators: peak rates, memory, links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import yaml

from whichbits.core.data_files import DataFile, data_files
from whichbits.core.errors import UserError


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


MAKERS = ("nvidia", "amd", "huawei")
"""Makers whose devices engines have kernels for."""

PRINTED = (*MAKERS, "tesla", "geforce", "instinct")
"""Words that drivers print in front of a device's name, and that change nothing in it."""

NUMBER_TYPES = ("bf16", "fp16", "int8", "fp8", "fp4")
"""Types that `peak` has rates of."""

FIELDS = (
    "name", "aliases", "maker", "architecture", "memory", "capability", "units", "clock_ghz", "memory_gb", "bandwidth", "peak",
    "link", "link_kind", "node", "network", "power_w", "source",
)  # fmt: skip
"""What a file says of a device."""


def _entry(identifier: str, fields: Mapping[str, Any]) -> Hardware:
    if fields["maker"] not in MAKERS:
        raise ValueError(f"maker {fields['maker']!r} is not one of {', '.join(MAKERS)}")
    for what, stated, known in (("field", fields, FIELDS), ("number type", fields["peak"], NUMBER_TYPES)):
        if unknown := [name for name in stated if name not in known]:
            raise ValueError(f"{what} {unknown[0]!r} of {identifier} is not known")
    return Hardware(
        id=str(identifier),
        name=str(fields["name"]),
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
        aliases=tuple(map(str, fields.get("aliases", ()))),
    )


GROUP = "whichbits.hardware"
VARIABLE = "WHICHBITS_HARDWARE"
"""Where files of devices from outside are named: entry points of this group, and this environment variable."""


@cache
def catalogue() -> Mapping[str, Hardware]:
    """Every known device by its id: those of hardware.yaml, and of files of its form from outside.

    Raises UserError for such a file that is not of that form, or has an id, a name or an alias that is taken.
    """
    own = files("whichbits.hardware").joinpath("hardware.yaml").read_text(encoding="utf-8")
    devices: dict[str, Hardware] = {}
    owners = {"cpu": ""}  # device by name; `cpu` is this machine's
    for file in (DataFile("hardware.yaml", own), *data_files(GROUP, VARIABLE)):
        try:
            found = yaml.load(file.text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            read = {identifier: _entry(identifier, fields) for identifier, fields in found.items()}
        except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
            wrong = f"a device has no {error.args[0]}" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise UserError(
                f"{file.name} is not of the form of the catalogue of devices: {wrong:.300}",
                remedy="give each device the fields of src/whichbits/hardware/hardware.yaml",
            ) from error
        for entry in read.values():
            for name in _spelled(entry):
                if owners.setdefault(_bare(name), entry.id) != entry.id or entry.id in devices:
                    raise UserError(
                        f"{file.name}: there is a device {name!r} already", remedy="give it another id, name and aliases"
                    )
        devices |= read
    return MappingProxyType(devices)


NEAR = 3
"""Names that an error proposes."""


def _bare(name: str) -> str:
    """The normalized name without the makers' words in front."""
    key = normalized(name)
    stripped = next((key.removeprefix(word) for word in PRINTED if key.startswith(word) and key != word), key)
    return key if stripped == key else _bare(stripped)


@cache
def _names() -> Mapping[str, Hardware]:
    return {_bare(name): entry for entry in catalogue().values() for name in _spelled(entry)}


def _spelled(entry: Hardware) -> tuple[str, ...]:
    return entry.id, entry.name, *entry.aliases


def find(name: str) -> Hardware:
    """The device called `name`, or `cpu`: this one, measured.

    An id, a name or an alias, also as the driver prints it (`NVIDIA H100 80GB HBM3`); case, spaces, dashes and the maker in
    front do not matter, all else does: a name that is none of these is never taken for its nearest, since siblings (PCIe and
    SXM, 40 and 80 GB, a slice of a device) differ. Raises UserError with the nearest names where there is none.
    """
    key = _bare(name)
    if key == "cpu":
        from whichbits.hardware.cpu import this_cpu

        return this_cpu()
    entry = _names().get(key)
    if entry is None:
        near = dict.fromkeys(_names()[found].name for found in get_close_matches(key, _names(), NEAR, cutoff=0.5))
        known = ", ".join(sorted(entry.name for entry in catalogue().values()))
        raise UserError(
            f"hardware: {name!r:.200} is not in the catalogue",
            remedy=f"nearest are {', '.join(near)}; known are {known}" if near else f"one of {known}",
        )
    return entry
