"""The store of a study: a folder with one directory a finished cell, and nothing else that matters."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.schema.labels import Labels
from whichbits.schema.step import Cell, Items, Json, Record
from whichbits.schema.summary import Summary
from whichbits.studies.steps.step import Earlier
from whichbits.studies.store.former import former_results
from whichbits.studies.store.result import read_fields, read_result, read_summary


class Store:
    """Finished cells under `cells/`, those in flight under `partial/`, the last failure of each under `failed/`.

    What cells in flight keep for another run is under `unfinished/`, and what they share under `shared/`.

    A finished cell is written aside and renamed into place, and never rewritten. One that is counted in items has a directory
    for each number of them that was asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._former: Mapping[tuple[str, Items], Path] | None = None

    def directory(self, cell: Cell) -> Path:
        """Where the finished cell is, or will be."""
        return self._directory(cell.kind, cell.key, cell.items)

    def _directory(self, kind: str, key: str, items: Items | None) -> Path:
        step = self.folder / "cells" / kind / key
        if items is None:
            return step
        own = step / str(items)
        return own if (own / "result.json").is_file() else self._former_results().get((key, items), own)

    def _former_results(self) -> Mapping[tuple[str, Items], Path]:
        if self._former is None:
            self._former = former_results(self.folder)
        return self._former

    def earlier(self, cell: Cell) -> Earlier | None:
        """The result of the cell with the most items that are fewer than are wanted. Raises UserError where it is damaged."""
        if cell.items is None:
            return None
        step = self.folder / "cells" / cell.kind / cell.key
        there = [int(path.parent.name) for path in step.glob("*/result.json") if path.parent.name.isdecimal()]
        there += [items for key, items in self._former_results() if key == cell.key and items != "all"]
        fewer = [items for items in there if cell.items == "all" or items < cell.items]
        if not fewer:
            return None
        folder = self._directory(cell.kind, cell.key, max(fewer))
        result = folder / "result.json"
        return Earlier(max(fewer), folder, read_summary(result, cell.kind, read_result(result)["summary"]))

    def done(self, cell: Cell) -> bool:
        """Whether the cell's result is there."""
        return (self.directory(cell) / "result.json").is_file()

    def partial(self, cell: Cell) -> Path:
        """An empty directory for a cell about to run."""
        folder = self.folder / "partial" / f"{cell.kind}-{cell.key}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def kept(self, cell: Cell) -> Path:
        """Where an unfinished cell keeps what is to outlive a killed run; it is not made here."""
        return self.folder / "unfinished" / f"{cell.kind}-{cell.key}"

    @property
    def shared(self) -> Path:
        """Where cells keep what others can use too; it is not made here."""
        return self.folder / "shared"

    def sweep(self, missing: Iterable[Cell]) -> None:
        """Remove what unfinished cells have kept, but for those that are `missing` still."""
        names = {self.kept(cell).name for cell in missing}
        for folder in (self.folder / "unfinished").glob("*/"):
            if folder.name not in names:
                shutil.rmtree(folder)

    def finish(self, cell: Cell, partial: Path, summary: Summary, provenance: Mapping[str, Json]) -> Path:
        """Write `result.json` beside what the cell left in `partial`, and rename all of it into place."""
        result = {
            "key": cell.key,
            "kind": cell.kind,
            "version": cell.version,
            "inputs": cell.inputs,
            "reads": cell.reads,
            "labels": cell.labels.model_dump(exclude_unset=True),
            **({} if cell.items is None else {"items": cell.items}),
            "summary": summary.model_dump(),
            "provenance": provenance,
        }
        path = partial / "result.json"
        with path.open("w", encoding="utf-8") as file:
            json.dump(result, file, indent=1, sort_keys=True, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        final = self.directory(cell)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.rename(final)
        except OSError as error:
            # Another run on a shared file system was first; its result has the same key and stays.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not self.done(cell):
                raise
            shutil.rmtree(partial)
        shutil.rmtree(self.failure(cell), ignore_errors=True)
        shutil.rmtree(self.kept(cell), ignore_errors=True)
        return final

    def set_aside(self, cells: Iterable[Cell]) -> int:
        """Move all results of these cells to `superseded/TIME/`, so that they are computed anew; how many cells had some."""
        aside = self.folder / "superseded" / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        former = self._former_results()
        moved = 0
        for cell in {cell.key: cell for cell in cells}.values():
            folders = [self.folder / "cells" / cell.kind / cell.key, *(former[name] for name in former if name[0] == cell.key)]
            there = [folder for folder in folders if folder.is_dir()]
            moved += bool(there)
            for folder in there:
                place = aside / cell.kind / folder.name
                place.parent.mkdir(parents=True, exist_ok=True)
                folder.rename(place)
        self._former = None
        return moved

    def failure(self, cell: Cell) -> Path:
        """Where the last failure of the cell is kept: `error.json` and `log.txt`."""
        return self.folder / "failed" / f"{cell.kind}-{cell.key}"

    def fail(self, cell: Cell, partial: Path | None, error: str) -> None:
        """Keep the cause and the log of a failed cell, and drop the rest of what it wrote."""
        folder = self.failure(cell)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "error.json").write_text(
            json.dumps({"labels": cell.labels.shown(), "error": error}, indent=1), encoding="utf-8"
        )
        if partial is not None:
            log = partial / "log.txt"
            if log.is_file():
                log.replace(folder / "log.txt")
            shutil.rmtree(partial, ignore_errors=True)

    def record(self, cell: Cell) -> Record:
        """What analysis sees of the cell."""
        return self.record_of(cell.kind, cell.key, cell.labels, cell.items)

    def record_of(self, kind: str, key: str, labels: Labels, items: Items | None = None) -> Record:
        """What analysis sees of the cell of that kind and key; its labels are those of the current plan."""
        directory = self._directory(kind, key, items)
        result = directory / "result.json"
        if result.is_file():
            found = read_result(result)
            return Record(
                key, kind, labels, "done", directory, read_summary(result, kind, found["summary"]), found["provenance"]
            )
        cause = self.folder / "failed" / f"{kind}-{key}" / "error.json"
        if cause.is_file():
            return Record(key, kind, labels, "failed", directory, error=read_fields(cause, ("error",))["error"])
        return Record(key, kind, labels, "missing", directory)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store for one run; what a killed run left in flight is swept away.

        Raises UserError if another run is at work on this store.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = (self.folder / "run.lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"store: {self.folder} cannot be written: {error.strerror}", remedy="name another --store"
            ) from error
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.seek(0)
                owner = handle.read().strip() or "unknown"
                raise UserError(
                    f"store: {self.folder} is in use by another run (process {owner})",
                    remedy="wait for it to end, or name another --store",
                ) from None
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            shutil.rmtree(self.folder / "partial", ignore_errors=True)
            yield
