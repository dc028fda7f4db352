"""Joining two runs of one task item by item; whatever does not match is an error, never a smaller join."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from whichbits.core.errors import UserError
from whichbits.verdict.paired import Paired
from whichbits.verdict.statistics import FloatArray

if TYPE_CHECKING:
    from pyarrow import ChunkedArray, Table


class PairingError(UserError):
    """Two runs that should have answered the same questions did not, so no difference between them means anything."""

    def __init__(self, message: str) -> None:
        super().__init__(message, remedy="delete the folders of these steps in the store and run the study again")


def read_columns(path: Path, columns: Sequence[str], former: Mapping[str, str] = MappingProxyType({})) -> Table:
    """Columns of a Parquet file; PairingError where one is missing, UserError where the file cannot be read.

    `former` holds the names that columns have in files of store schema 1.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path) as file:
            present = file.schema_arrow.names
            stored = {name: name if name in present else former.get(name, name) for name in columns}
            absent = [name for name in columns if stored[name] not in present]
            if absent:
                raise PairingError(f"{path} has no column {', '.join(absent)}")
            table = file.read(columns=list(stored.values()))
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(
            f"store: {path} cannot be read: {' '.join(str(error).split())}",
            remedy=f"delete the folder {path.parent} and run the study again; only this step is computed anew",
        ) from error
    return table.select(list(stored.values())).rename_columns(list(columns)).combine_chunks()


SCORE_COLUMNS = ("item", "prompt_hash", "target_hash", "cluster", "score")
ASKED = ("prompt_hash", "target_hash", "cluster")
"""What two runs of one item must share."""


@dataclass(frozen=True)
class Scored:
    """One run of a task: a table of `SCORE_COLUMNS`, and the scores by its rows."""

    table: Table
    scores: FloatArray
    what: str
    """The run, in errors."""

    @property
    def items(self) -> list[object]:
        """What the items are called, by rows."""
        return list(self.table["item"].to_pylist())


def names_order(table: Table) -> NDArray[np.int64]:
    """Rows of a table with a column `item` in the order of the items' names, (items,)."""
    import pyarrow
    import pyarrow.compute as compute

    rows: NDArray[np.int64] = compute.sort_indices(table["item"].cast(pyarrow.string())).to_numpy().astype(np.int64)
    return rows


def dense_ranks(column: ChunkedArray) -> NDArray[np.intp]:
    """Numbers of a column's different values by their order, (rows,), from 0."""
    import pyarrow.compute as compute

    ranks: NDArray[np.intp] = compute.rank(column, tiebreaker="dense").to_numpy().astype(np.intp)
    return ranks - 1


def scored(table: Table, what: str) -> Scored:
    """A table of `SCORE_COLUMNS` as a run of a task.

    Raises PairingError, which names the first item at fault, where there are none or a score is no number from 0 to 1.
    """
    if not table.num_rows:
        raise PairingError(f"{what}: no items")
    scores = np.asarray(table["score"].to_numpy(), dtype=np.float64)  # NaN where there is none
    if (wrong := np.flatnonzero(~((scores >= 0) & (scores <= 1)))).size:
        item, score = (table[name][int(wrong[0])].as_py() for name in ("item", "score"))
        raise PairingError(f"{what}: score {score!r} of item {item!r} is not a number from 0 to 1")
    return Scored(table, scores, what)


def _check_once(run: Scored) -> None:
    """Raise PairingError, which names the first item at fault, where one is there twice."""
    import pyarrow.compute as compute

    if compute.count_distinct(run.table["item"], mode="all").as_py() < run.table.num_rows:
        counts = Counter(run.items)
        raise PairingError(f"{run.what}: item {next(item for item in counts if counts[item] > 1)!r} appears twice")


class Reference:
    """A run of a task that others are joined with, item by item in the order of the items' names.

    Raises PairingError where an item is there twice.
    """

    def __init__(self, run: Scored, *, chance: float) -> None:
        _check_once(run)
        self._run = run
        self._chance = chance
        self._order = names_order(run.table)
        self._scores = run.scores[self._order]
        self._cluster = _cluster_numbers(run, self._order)

    def join(self, run: Scored, *, what: str) -> Paired:
        """The scores of both; `what` is being joined.

        Raises PairingError, which names the first item at fault, where one is missing or there twice, or its prompt, target or
        cluster differs.
        """
        rows = self._rows_in(run, what)
        aligned = run.table if rows is None else run.table.take(rows)
        for column in ASKED:
            if not aligned[column].equals(self._run.table[column]):
                for problem in self._differences(aligned):
                    raise PairingError(f"{what}: {problem}")
        scores = run.scores if rows is None else run.scores[rows]
        return Paired(base=self._scores, score=scores[self._order], chance=self._chance, cluster=self._cluster)

    def among(self, run: Scored) -> Reference:
        """The items of the reference that another run has answered too."""
        import pyarrow.compute as compute

        kept = compute.is_in(self._run.table["item"], value_set=run.table["item"])
        table = self._run.table.filter(kept).combine_chunks()
        return Reference(scored(table, self._run.what), chance=self._chance)

    def _rows_in(self, run: Scored, what: str) -> NDArray[np.int64] | None:
        """The other run's row of each of the reference's; None where they are the same rows."""
        import pyarrow.compute as compute

        ours, theirs = self._run.table["item"], run.table["item"]
        if ours.equals(theirs):
            return None
        _check_once(run)
        found = compute.index_in(ours, value_set=theirs)
        if found.null_count or len(ours) != len(theirs):
            missing = set(self._run.items) ^ set(run.items)
            item = min(missing, key=str)
            side = "the base only" if item in set(self._run.items) else "the candidate only"
            raise PairingError(f"{what}: {len(missing)} items are in one run but not in the other, first {item!r} in {side}")
        rows: NDArray[np.int64] = found.to_numpy().astype(np.int64)
        return rows

    def _differences(self, aligned: Table) -> Iterator[str]:
        """What differs in the other run, whose rows are the reference's, in the order of the items' names."""
        items = self._run.items
        columns = [(column, self._run.table[column].to_pylist(), aligned[column].to_pylist()) for column in ASKED]
        for row in self._order:
            for column, ours, theirs in columns:
                if ours[row] != theirs[row]:
                    yield f"{column} of item {items[row]!r} differs: {ours[row]!r} and {theirs[row]!r}"


def _cluster_numbers(run: Scored, order: NDArray[np.int64]) -> NDArray[np.intp] | None:
    """Numbers of the items' clusters, (items,); None where items have none."""
    cluster = run.table["cluster"]
    if cluster.null_count == len(cluster):
        return None
    if cluster.null_count:
        raise PairingError(f"{run.what}: some items have a cluster and others have none")
    return dense_ranks(cluster)[order]


def pair_scores(base: Table, candidate: Table, *, chance: float, what: str) -> Paired:
    """Join two tables of `SCORE_COLUMNS` on `item`, in the order of the item's name. Raises PairingError."""
    sides = [scored(table, f"{what}, {side}") for table, side in ((base, "base"), (candidate, "candidate"))]
    return Reference(sides[0], chance=chance).join(sides[1], what=what)
