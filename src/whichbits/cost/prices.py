"""Prices of devices: dated, sourced, and the user's own over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from whichbits.core.errors import UserError
from whichbits.hardware.catalogue import catalogue, find

STALE_AFTER_DAYS = 180
WITHOUT_DEFAULT = frozenset({"cpu"})
"""Devices that have a price only where the user gives one."""
BY_USER = "given by the user"
FORM = (
    "write presets: {NAME: {description: TEXT, devices: {DEVICE: {usd_per_hour: {COUNT: DOLLARS larger than 0}, source: TEXT, "
    "as_of: YYYY-MM-DD}}}}"
)

Dollars = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Price(_Data):
    """What a device costs.

    `usd_per_hour` maps a number of devices rented together to the price of all of them; `as_of` is None for a price that the
    user gave.
    """

    usd_per_hour: Annotated[Mapping[Count, Dollars], Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    as_of: date | None

    def per_hour(self, count: int = 1) -> float:
        """US dollars per hour of `count` devices.

        A number that is not listed is priced per device as in the largest listed bundle that fits into it, or, where all are
        larger, as in the smallest one (the paper's pro-rata rule).
        """
        if count < 1:
            raise ValueError(f"count of devices is {count}, must be at least 1")
        fitting = [size for size in self.usd_per_hour if size <= count]
        bundle = max(fitting) if fitting else min(self.usd_per_hour)
        return self.usd_per_hour[bundle] * count / bundle


class PriceList(_Data):
    """Prices by device, in the order of their file."""

    name: str
    description: str
    devices: Mapping[str, Price]

    def find(self, device: str) -> Price | None:
        """The price of a device, by any name of the hardware catalogue; None where it has none."""
        return self.devices.get(_listed_name(device, self.devices))

    def price(self, device: str) -> Price:
        """The price of a device, by any name of the hardware catalogue; raises UserError for one that has none."""
        found = self.find(device)
        if found is None:
            raise UserError(
                f"device '{device}' has no price in the price list '{self.name}' (known: {', '.join(self.devices)})",
                remedy=f"check its name (`whichbits hardware`), or give its price: --price {device}=USD_PER_HOUR",
            )
        return found

    def warnings(self, today: date, devices: Iterable[str] | None = None) -> tuple[str, ...]:
        """One line for each of `devices` (default: all) whose price is older than 180 days."""
        wanted = self.devices if devices is None else devices
        names = [name for name in wanted if _listed_name(name, self.devices) in self.devices]
        aged = ((name, self.price(name)) for name in names)
        return tuple(
            f"the price of {name} is of {price.as_of.isoformat()}, {(today - price.as_of).days} days old; "
            f"give today's with --price {name}=USD_PER_HOUR"
            for name, price in aged
            if price.as_of is not None and (today - price.as_of).days > STALE_AFTER_DAYS
        )


class _Preset(_Data):
    description: str
    devices: Mapping[str, Price]


class _File(_Data):
    presets: Mapping[str, _Preset]


def prices(preset: str | Path = "default", overrides: Mapping[str, float] | None = None) -> PriceList:
    """The price list of a preset, with the user's own prices of one device over it.

    `preset` is a name in the built-in file, or the path of a YAML file of the same form that holds one preset. `overrides`
    maps a device (of the list or of the hardware catalogue, or "cpu") to US dollars per hour of one. Raises UserError for an
    unknown preset or device, a malformed file, or a price that is not positive.
    """
    chosen, found = _preset(preset)
    devices = dict(found.devices)
    given: dict[str, str] = {}
    for device, dollars in (overrides or {}).items():
        name = _listed_name(device, devices)
        if given.setdefault(name, device) != device:
            raise UserError(f"price: {given[name]} and {device} are one device", remedy="give it one price")
        if name not in devices and name not in WITHOUT_DEFAULT and name not in catalogue():
            known = ", ".join([*devices, *sorted(WITHOUT_DEFAULT)])
            remedy = f"use one of {known}, or a device of `whichbits hardware`"
            raise UserError(f"price: unknown device '{device}'", remedy=remedy)
        devices[name] = Price(usd_per_hour={1: _positive(device, dollars)}, source=BY_USER, as_of=None)
    return PriceList(name=chosen, description=found.description, devices=devices)


def parse_override(text: str) -> tuple[str, float]:
    """Device and US dollars per hour of `--price DEVICE=USD_PER_HOUR`."""
    device, separator, amount = text.partition("=")
    try:
        dollars = float(amount)
    except ValueError:
        dollars = None
    if not separator or not device.strip() or dollars is None:
        raise UserError(f"price: '{text}' is not DEVICE=USD_PER_HOUR", remedy="write it as in --price h100=2.10")
    return device.strip().lower(), _positive(device.strip(), dollars)


def _listed_name(device: str, listed: Iterable[str]) -> str:
    """The name under which `listed` has a device, else its id in the hardware catalogue, else the name as given."""
    names = {_identity(name): name for name in listed}
    identity = _identity(device)
    return names.get(identity, identity)


def _identity(device: str) -> str:
    if device.lower() in WITHOUT_DEFAULT:  # to find this machine's processor is to measure it
        return device.lower()
    try:
        return find(device).id
    except UserError:  # a price list may hold what the catalogue does not, such as a kind of CPU instance
        return device.lower()


def _positive(device: str, dollars: float) -> float:
    if not 0 < dollars < float("inf"):
        raise UserError(
            f"price: {device} costs {dollars} USD per hour", remedy="give a price in dollars, larger than 0 and finite"
        )
    return dollars


def _preset(preset: str | Path) -> tuple[str, _Preset]:
    builtin = _read(files("whichbits.cost").joinpath("prices.yaml").read_text("utf-8"), "prices.yaml")
    if isinstance(preset, str) and preset in builtin:
        return preset, builtin[preset]
    path = Path(preset)
    if not path.is_file():
        raise UserError(
            f"price list '{preset}' is neither a preset nor a file", remedy=f"use one of {', '.join(builtin)}, or a path"
        )
    try:
        own = _read(path.read_text(encoding="utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise UserError(f"price list {path} is not UTF-8 text ({error.reason})", remedy="save it as UTF-8") from error
    if len(own) != 1:
        raise UserError(f"price list {path} holds {len(own)} presets", remedy="keep one preset in the file")
    return next(iter(own.items()))


def _read(text: str, name: str) -> Mapping[str, _Preset]:
    try:
        content: Any = yaml.safe_load(text)
        return _File.model_validate(content).presets
    except yaml.YAMLError as error:
        raise UserError(
            f"price list {name} is not YAML: {' '.join(str(error).split())}", remedy="fix the line named"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise UserError(
            f"price list {name}: {field or 'file'} is {first['input']!r}: {first['msg']}",
            remedy=FORM,
        ) from error
