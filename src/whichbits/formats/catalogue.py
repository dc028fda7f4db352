"""The catalogue of formats: by name, by alias, with a quantized key-value cache, and the kernels that run them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import ValidationError

from whichbits.core.data_files import DataFile, data_files
from whichbits.core.errors import UserError
from whichbits.formats.format import Format, QuantizationArgs
from whichbits.formats.kernels import Device, EngineKernel, minimal_compute_capability


@dataclass(frozen=True)
class KvCache:
    """What keys and values can be stored in with any format."""

    title: str
    values: QuantizationArgs
    elsewhere: str


@dataclass(frozen=True)
class Catalogue:
    """Formats and key-value caches by name, in the order of their files, the name that each alias stands for, and kernels.

    `elsewhere` says of a format why a device has none of the kernels.
    """

    formats: Mapping[str, Format]
    kv_caches: Mapping[str, KvCache]
    aliases: Mapping[str, str]
    elsewhere: Mapping[str, str]
    kernels: tuple[EngineKernel, ...]


GROUP = "whichbits.formats"
VARIABLE = "WHICHBITS_FORMATS"
"""Where files of formats from outside are named: entry points of this group, and this environment variable."""

SECTIONS = ("formats", "kv_caches", "kernels")
"""What a file of the catalogue can have."""

NO_KERNEL = "no kernel for it is known"


@cache
def catalogue() -> Catalogue:
    """The catalogue, read once: catalogue.yaml, and files of its form from outside.

    Raises UserError for such a file that is not of that form, or has a name that is taken.
    """
    own = files("whichbits.formats").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    made = Catalogue({}, {}, {}, {}, ())
    for file in (DataFile("catalogue.yaml", own), *data_files(GROUP, VARIABLE)):
        try:
            made = _with(made, file.name, yaml.load(file.text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        except (yaml.YAMLError, ValidationError, TypeError, AttributeError, KeyError, ValueError) as error:
            raise UserError(
                f"{file.name} is not of the form of the catalogue of formats: {' '.join(str(error).split()):.300}",
                remedy="write formats: {NAME: {title: TEXT, purpose: TEXT, storage: LAYOUT, stored_bits: 8, weights: {...}}}",
            ) from error
    return made


def _with(known: Catalogue, file: str, content: Any) -> Catalogue:
    """The catalogue with the contents of one more file."""
    if unknown := [section for section in content if section not in SECTIONS]:
        raise ValueError(f"{unknown[0]!r} is not one of {', '.join(SECTIONS)}")
    kernels = known.kernels + tuple(
        EngineKernel(engine=engine, **row) for engine, rows in content.get("kernels", {}).items() for row in rows
    )
    formats, aliases, elsewhere = dict(known.formats), dict(known.aliases), dict(known.elsewhere)
    for name, stated in content.get("formats", {}).items():
        fields = dict(stated)
        names = (name, *fields.pop("aliases", ()))
        if taken := [each for each in names if each in formats or each in aliases]:
            raise UserError(f"{file}: there is a format {taken[0]!r} already", remedy="give it another name")
        aliases |= dict.fromkeys(names[1:], name)
        elsewhere[name] = fields.pop("elsewhere", NO_KERNEL)
        capability = minimal_compute_capability(kernels, name)
        formats[name] = Format(name=name, minimal_compute_capability=capability, **fields)
    caches = dict(known.kv_caches)
    for name, fields in content.get("kv_caches", {}).items():
        if name in caches:
            raise UserError(f"{file}: there is a key-value cache {name!r} already", remedy="give it another name")
        stated = {**fields, "values": QuantizationArgs.model_validate(fields["values"])}
        caches[name] = KvCache(**stated)
    return Catalogue(
        MappingProxyType(formats), MappingProxyType(caches), MappingProxyType(aliases), MappingProxyType(elsewhere), kernels
    )


def load() -> Mapping[str, Format]:
    """The formats by name, in the catalogue's order."""
    return catalogue().formats


def load_kv_caches() -> Mapping[str, KvCache]:
    """The key-value caches by name."""
    return catalogue().kv_caches


def aliases_of(name: str) -> tuple[str, ...]:
    """Other names of the format called `name`, in the catalogue's order."""
    return tuple(alias for alias, meant in catalogue().aliases.items() if meant == name)


def kernels_of(engine: str, device: Device) -> tuple[EngineKernel, ...]:
    """What is known of the kernels of an engine on a kind of device, in the catalogue's order."""
    return tuple(kernel for kernel in catalogue().kernels if kernel.engine == engine and device in kernel.devices)


def without_kernel(spelled: str, device: Device, capability: float) -> str | None:
    """Why no engine has a native kernel for a format, or for its key-value cache, on a device; None where one has.

    `device` is of this compute capability, if CUDA. Raises UserError where there is no such format.
    """
    known = catalogue()
    own, plus, cache_name = canonical(spelled).partition("+")
    reasons = {own: known.elsewhere[own], **({cache_name: known.kv_caches[cache_name].elsewhere} if plus else {})}
    for name, reason in reasons.items():
        if not any(kernel.runs(name, device, capability) for kernel in known.kernels):
            return reason
    return None


def find_name(spelled: str) -> str | None:
    """The catalogue's name of a format that is called by it or by an alias; None where there is no such format.

    Capitals, blanks around it and `_` for `-` make no difference. `NAME+CACHE` has a quantized key-value cache.
    """
    known = catalogue()
    own, plus, cache_name = _parts(spelled)
    own = known.aliases.get(own, own)
    if own not in known.formats or (plus and cache_name not in known.kv_caches):
        return None
    return f"{own}{plus}{cache_name}"


def canonical(spelled: str) -> str:
    """The catalogue's name of a format, as `find_name`. Raises UserError where there is no such format."""
    name = find_name(spelled)
    if name is None:
        known, hint = catalogue(), _did_you_mean(spelled)
        raise UserError(
            f"format {spelled!r} is not known",
            remedy=f"{hint}choose one of {', '.join(known.formats)}; "
            f"for a quantized key-value cache add +{' or +'.join(known.kv_caches)}",
        )
    return name


def get(spelled: str) -> Format:
    """The format called by its name or an alias, as `find_name`. Raises UserError where there is none."""
    name = canonical(spelled)
    own, plus, cache_name = name.partition("+")
    format = load()[own]
    if not plus:
        return format
    cache = load_kv_caches()[cache_name]
    return format.model_copy(update={"name": name, "title": f"{format.title}, {cache.title}", "kv_cache": cache.values})


def _parts(spelled: str) -> tuple[str, str, str]:
    return spelled.strip().lower().replace("_", "-").partition("+")


def _did_you_mean(spelled: str) -> str:
    """The nearest names, those of formats in place of aliases, with the nearest cache where one was asked for."""
    known = catalogue()
    own, plus, cache_name = _parts(spelled)
    caches = get_close_matches(cache_name, known.kv_caches, n=1) if plus else [""]
    near = get_close_matches(own, [*known.formats, *known.aliases], n=3)
    names = dict.fromkeys(f"{known.aliases.get(name, name)}{plus}{cache}" for name in near for cache in caches)
    return f"did you mean {' or '.join(names)}? " if names else ""
