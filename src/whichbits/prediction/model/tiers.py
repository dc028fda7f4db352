"""Tiers of certainty: how near a question is to what was measured, and so how wide its interval is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from whichbits.hardware.catalogue import Hardware, catalogue
from whichbits.models.shape import Shape
from whichbits.prediction.model.coefficients import Coefficients
from whichbits.prediction.model.kernels import Engine, proxy, version_numbers
from whichbits.prediction.model.work import Floats

TIERS = ("measured", "interpolated", "calibrated", "same-architecture", "other-architecture", "roofline-only")
"""From the nearest to the farthest:

measured: this very row was; interpolated: this model, format and engine on this device at other loads or lengths, in a
version between those that were measured; calibrated: this format, or its proxy (kernels.yaml), on this device, with another
model, engine or version; same-architecture, other-architecture: transferred; roofline-only: a kind of kernel, model or maker
that no measurement of a server stands behind.
"""
LEVELS = (80, 95)
"""Per cent of left-out measurements that the two intervals held."""


def tier(coefficients: Coefficients, shape: Shape, hardware: Hardware, format: str, engine: Engine) -> str:
    """The tier of a question; `measured` is told from `interpolated` by whoever knows the rows."""
    support = coefficients.support
    versions = [version_numbers(release) for release in coefficients.releases.get(engine.generation, ())]
    between = bool(versions) and min(versions) <= engine.version <= max(versions)
    if not shape.experts and between and (shape.id, hardware.id, format, engine.generation) in support:
        return "interpolated"
    devices = {h for _, h, f, _ in support if f in (format, proxy(format))}
    if shape.experts or not devices:
        return "roofline-only"
    if hardware.id in devices:
        return "calibrated"
    known = catalogue()
    if any(known[h].architecture == hardware.architecture for h in devices if h in known):
        return "same-architecture"
    makers = {known[h].maker for h in devices if h in known}
    return "other-architecture" if hardware.maker in makers else "roofline-only"


def quantiles(errors: Floats) -> tuple[float, float]:
    """Bounds of |error| that hold for 80 and 95 % of new ones (conformal: the rank counts the new one)."""
    ordered = np.sort(np.abs(errors))
    ranks = [min(len(ordered), int(np.ceil((len(ordered) + 1) * level / 100))) for level in LEVELS]
    return float(ordered[ranks[0] - 1]), float(ordered[ranks[1] - 1])


def widened(tables: Sequence[Mapping[str, tuple[float, float]]]) -> list[dict[str, tuple[float, float]]]:
    """Tables of quantiles in the order of TIERS, none narrower than the one before; a missing entry takes its neighbour's."""
    result: list[dict[str, tuple[float, float]]] = []
    for table in tables:
        before = result[-1] if result else {}
        keys = before.keys() | table.keys()
        merged = {}
        for key in keys:
            bounds = [t[key] for t in (before, table) if key in t]
            merged[key] = (max(b[0] for b in bounds), max(b[1] for b in bounds))
        result.append(merged)
    return result


def interval(value: float, half_width: float) -> tuple[float, float]:
    """Interval around `value` whose logarithm has this half-width."""
    return value * float(np.exp(-half_width)), value * float(np.exp(half_width))


def spread_of(
    errors: Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]], tier: str, load: str, waiting_share: float
) -> dict[str, tuple[float, float]]:
    """Half-widths (of the logarithm) of each quantity at a tier and load.

    Under load the latency is the time to the first token and those between tokens; its half-width is theirs in that mixture.
    The time to the first token of a lone request was measured nowhere by itself: it gets the naive roofline's half-width.
    """
    table = errors[tier]
    first = errors["roofline-only"]["synchronous"]["latency_s"] if load == "synchronous" else table["loaded"]["ttft_s"]
    if load == "loaded":
        between = table["loaded"]["tpot_s"]
        mixed = tuple((1 - waiting_share) * b + waiting_share * f for b, f in zip(between, first, strict=True))
        both = (mixed[0], mixed[1])
        return {"ttft_s": first, "tpot_s": between, "latency_s": both, "qps": both}
    whole = table["synchronous"]["latency_s"] if load == "synchronous" else table["max"]["qps"]
    return {"ttft_s": first, "tpot_s": whole, "latency_s": whole, "qps": whole}
