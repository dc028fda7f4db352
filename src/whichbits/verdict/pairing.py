"""Joining two runs of one task item by item; whatever does not match is an error, never a smaller join."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from whichbits.core.errors import UserError
from whichbits.verdict.paired import Paired

Columns = dict[str, list[Any]]


class PairingError(UserError):
    """Two runs that should have answered the same questions did not, so no difference between them means anything."""

    def __init__(self, message: str) -> None:
        super().__init__(message, remedy="delete the folders of these steps in the store and run the study again")


def read_columns(path: Path, columns: Sequence[str], former: Mapping[str, str] = MappingProxyType({})) -> Columns:
    """Columns of a Parquet file as lists; PairingError where one is missing, UserError where the file cannot be read.

    `former` holds the names that columns have in files of store schema 1.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        present = parquet.read_schema(path).names
        stored = {name: name if name in present else former.get(name, name) for name in columns}
        absent = [name for name in columns if stored[name] not in present]
        if absent:
            raise PairingError(f"{path} has no column {', '.join(absent)}")
        table: Columns = parquet.read_table(path, columns=list(stored.values())).to_pydict()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(
            f"store: {path} cannot be read: {' '.join(str(error).split())}",
            remedy=f"delete the folder {path.parent} and run the study again; only this step is computed anew",
        ) from error
    return {name: table[stored[name]] for name in columns}


def among(columns: Columns, others: Columns) -> Columns:
    """The rows of a table whose `item` is in another."""
    items = set(others["item"])
    kept = [number for number, item in enumerate(columns["item"]) if item in items]
    return {name: [values[number] for number in kept] for name, values in columns.items()}


SCORE_COLUMNS = ("item", "prompt_hash", "target_hash", "cluster", "score")


def pair_scores(base: Columns, candidate: Columns, *, chance: float, what: str) -> Paired:
    """Join two tables of `SCORE_COLUMNS` on `item`, in the order of the item's name.

    Raises PairingError, which names `what` is being joined and the first item at fault, where items are missing or double,
    prompts, targets or clusters differ, or a score is no number from 0 to 1.
    """
    sides = [_by_item(columns, f"{what}, {side}") for columns, side in ((base, "base"), (candidate, "candidate"))]
    if missing := sides[0].keys() ^ sides[1].keys():
        item = min(missing, key=str)
        side = "the base only" if item in sides[0] else "the candidate only"
        raise PairingError(f"{what}: {len(missing)} items are in one run but not in the other, first {item!r} in {side}")
    items = sorted(sides[0], key=str)
    pairs = [(sides[0][item], sides[1][item]) for item in items]
    for item, (left, right) in zip(items, pairs, strict=True):
        for column in ("prompt_hash", "target_hash", "cluster"):
            if left[column] != right[column]:
                raise PairingError(f"{what}: {column} of item {item!r} differs: {left[column]!r} and {right[column]!r}")
    clusters = [left["cluster"] for left, _ in pairs]
    if None in clusters and any(cluster is not None for cluster in clusters):
        raise PairingError(f"{what}: some items have a cluster and others have none")
    return Paired(
        base=np.array([left["score"] for left, _ in pairs], dtype=np.float64),
        score=np.array([right["score"] for _, right in pairs], dtype=np.float64),
        chance=chance,
        cluster=None if not clusters or clusters[0] is None else tuple(clusters),
    )


def _by_item(columns: Columns, what: str) -> dict[Any, dict[str, Any]]:
    """Rows of a table of scores by item."""
    rows: dict[Any, dict[str, Any]] = {}
    for values in zip(*(columns[name] for name in SCORE_COLUMNS), strict=True):
        row = dict(zip(SCORE_COLUMNS, values, strict=True))
        if row["item"] in rows:
            raise PairingError(f"{what}: item {row['item']!r} appears twice")
        if row["score"] is None or not 0 <= row["score"] <= 1:
            raise PairingError(f"{what}: score {row['score']!r} of item {row['item']!r} is not a number from 0 to 1")
        rows[row["item"]] = row
    if not rows:
        raise PairingError(f"{what}: no items")
    return rows
