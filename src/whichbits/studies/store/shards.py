"""Shards that a store holds: results of parts of steps, which are there until the step itself is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from whichbits.schema.shard import PartOf
from whichbits.studies.store.result import read_model, results_folder, those_there


@dataclass(frozen=True)
class StoredShard:
    """A finished shard."""

    kind: str
    key: str
    part: PartOf


def stored_shards(folder: Path, kinds: Iterable[str]) -> list[StoredShard]:
    """The finished shards, which are steps of these kinds, in a store's folder. Raises UserError where one is damaged."""
    paths = [path for kind in kinds for path in sorted(results_folder(folder).glob(f"{kind}/*/result.json"))]
    return list(those_there(paths, _stored_shard))


def _stored_shard(path: Path) -> StoredShard:
    return StoredShard(path.parent.parent.name, path.parent.name, read_model(path, ("inputs", "part"), PartOf))
