"""The kinds of steps by name: one file each; an installed package adds one by an entry point of the group `whichbits.steps`.

The entry point names a `Kind`. Of ours each comes after the kinds whose steps it reads; other packages come last, by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from whichbits.core.entry_points import Registry
from whichbits.schema.summaries import summary_class
from whichbits.schema.summary import Summary
from whichbits.studies.steps.step import Kind

GROUP = "whichbits.steps"
_STEPS = "whichbits.studies.steps"

REGISTRY: Registry[Kind] = Registry(
    "steps",
    "kind of step",
    GROUP,
    (f"{_STEPS}.step", "Kind"),
    {
        name: (f"{_STEPS}.{name}", name.upper())
        for name in (
            "quantize",
            "probe",
            "evaluate",
            "evaluate_shard",
            "judge",
            "generate",
            "generate_shard",
            "compare",
            "distribution",
            "serve",
            "prefill_decode",
        )
    },
    own_name=lambda kind: kind.name,
)


class Kinds(Mapping[str, Kind]):
    """All kinds of steps by name, in the order in which they are planned."""

    def __getitem__(self, name: str) -> Kind:
        """The kind of that name. Raises UserError as `Registry.get`."""
        return REGISTRY.get(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in REGISTRY

    def __iter__(self) -> Iterator[str]:
        return iter(REGISTRY.names())

    def __len__(self) -> int:
        return len(REGISTRY.names())


KINDS = Kinds()


def shard_kinds() -> tuple[str, ...]:
    """Names of the kinds whose steps are shards of others."""
    return tuple(name for name, kind in KINDS.items() if kind.shards is not None)


def summary_of(kind: str, found: Any) -> Summary:
    """The summary that a step of a kind has written. Raises KeyError for an unknown kind, ValidationError for what is none."""
    if kind in KINDS:
        # One of another package declares the class of its summaries where it is imported.
        former = KINDS[kind].former
        found = found if former is None else former(found)
    return summary_class(kind).model_validate(found)


def preloaded() -> tuple[str, ...]:
    """Modules that the process which jobs are forked from imports once for all of them, each once.

    Importing them takes longer than most steps.
    """
    modules = (module for kind in KINDS.values() for module in kind.preload)
    return tuple(dict.fromkeys((__name__, "pyarrow.parquet", *modules)))
