"""Coefficients of the performance model with what they rest on, as a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from whichbits.core.errors import UserError
from whichbits.prediction.output import write_whole

Support = tuple[str, str, str, str]
"""Shape id, hardware id, format and engine that were measured together."""


@dataclass(frozen=True)
class Parameter:
    """A coefficient before it sees data: its value, and the standard deviation of its logarithm."""

    prior: float
    spread: float


@dataclass(frozen=True)
class Coefficients:
    """Values by name, the standard deviations of their logarithms, what was measured, and how far predictions were off.

    `errors[tier][load][quantity]` holds the 80 and 95 % quantiles of |log(predicted / measured)|; `ratio_errors` the same of
    ratios between two formats; `interval_inflation[device]` is how many times as far predictions of a calibrated device were
    off its own measurements, if more; `sources` counts the measurements of each source; `releases[generation]` are the
    versions of an engine that were measured, by `Engine.generation`.
    """

    values: Mapping[str, float]
    spreads: Mapping[str, float]
    support: tuple[Support, ...] = ()
    errors: Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]] = field(default_factory=dict)
    ratio_errors: Mapping[str, Mapping[str, tuple[float, float]]] = field(default_factory=dict)
    interval_inflation: Mapping[str, float] = field(default_factory=dict)
    sources: Mapping[str, int] = field(default_factory=dict)
    releases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def inflation(self, device: str, tier: str) -> float:
        """What the half-widths of a tier are multiplied by on a device; a roofline's are wide enough."""
        return 1.0 if tier == "roofline-only" else self.interval_inflation.get(device, 1.0)

    def save(self, path: Path) -> None:
        """Write to a JSON file; raises UserError where that cannot be."""
        write_whole("coefficients", path, json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")


@cache
def parameters() -> Mapping[str, Parameter]:
    """All parameters of the model by name."""
    text = files("whichbits.prediction.model").joinpath("parameters.yaml").read_text(encoding="utf-8")
    entries: Mapping[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return {name: Parameter(float(entry["prior"]), float(entry["spread"])) for name, entry in entries.items()}


def priors() -> Coefficients:
    """The model before any measurement of a server: a roofline alone."""
    return Coefficients(
        values={name: parameter.prior for name, parameter in parameters().items()},
        spreads={name: parameter.spread for name, parameter in parameters().items()},
    )


FARTHEST = 1000.0
"""Factor from its prior beyond which a coefficient means nothing."""


def meaningless(values: Mapping[str, float]) -> str | None:
    """The first coefficient that is no number or farther than FARTHEST from its prior (a device's: from 1), in words."""
    known = parameters()
    for name, value in values.items():
        prior = known[name].prior if name in known else 1.0
        if not prior / FARTHEST <= value <= prior * FARTHEST:
            return f"{name} is {value:g}, where about {prior:g} is meant"
    return None


def _from_json(text: str) -> Coefficients:
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("no table of coefficients")
    for name in ("values", "spreads", "errors", "ratio_errors", "interval_inflation", "sources", "releases"):
        if not isinstance(fields.get(name, {}), dict):
            raise ValueError(f"{name} is no table")
    fields["support"] = tuple(tuple(entry) for entry in fields["support"])
    fields["releases"] = {engine: tuple(versions) for engine, versions in fields.get("releases", {}).items()}
    return Coefficients(**fields)


def _leaves(table: Any) -> list[Any]:
    """All that is not a mapping or a sequence in nested ones."""
    if isinstance(table, Mapping):
        return [leaf for value in table.values() for leaf in _leaves(value)]
    return [leaf for value in table for leaf in _leaves(value)] if isinstance(table, list | tuple) else [table]


@cache
def shipped() -> Coefficients:
    """The coefficients that come with the package."""
    return _from_json(files("whichbits.prediction.model").joinpath("coefficients.json").read_text(encoding="utf-8"))


def load(path: Path) -> Coefficients:
    """Coefficients that `save` wrote; raises UserError for another file, and for one of a version with other coefficients."""
    try:
        found = _from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"coefficients: cannot read {path}: {error}", remedy="give a file that whichbits calibrate wrote"
        ) from error
    numbers = [*found.values.values(), *found.spreads.values(), *found.interval_inflation.values(), *_leaves(found.errors)]
    if not all(isinstance(n, int | float) and isfinite(n) and n > 0 for n in [*numbers, *_leaves(found.ratio_errors)]):
        raise UserError(f"coefficients: {path} has numbers that are not positive", remedy="calibrate again")
    if found.errors.keys() != shipped().errors.keys() or found.ratio_errors.keys() != shipped().ratio_errors.keys():
        raise UserError(f"coefficients: {path} does not have the errors of each tier", remedy="calibrate again")
    wrong = meaningless(found.values)
    if wrong:
        raise UserError(f"coefficients: {path}: {wrong}", remedy="calibrate again")
    missing = parameters().keys() - found.values.keys() | ({"releases"} if not found.releases else set())
    if missing:
        raise UserError(f"coefficients: {path} lacks {', '.join(sorted(missing))}", remedy="calibrate again with this version")
    return found
