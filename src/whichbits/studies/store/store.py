"""The store of a study: a folder with one directory a finished step, and nothing else that matters."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.core.processes import machine_identity
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Items, Record, Step
from whichbits.schema.summary import Summary
from whichbits.studies.steps.step import Earlier
from whichbits.studies.store.lease import LONGEST_SILENCE_S, RENEWED_S, Lease, LeaseHeld, held, leased
from whichbits.studies.store.old_stores import former_results
from whichbits.studies.store.result import read_fields, read_result, results_folder

STUDY = "study"
"""Lease on the whole store."""

PROBES = "probes"
"""Where machines write notes for each other."""

SWEPT = ".swept-"
"""What the name of a folder begins with that is being removed."""

STEP = "step-"
"""What the name of a lease on one step begins with."""


class Store:
    """Finished steps under `steps/`, those in flight under `partial/`, the last failure of each under `failed/`.

    What steps in flight keep for another run is under `unfinished/`, and what they share under `shared/`.

    A finished step is written aside and renamed into place, and never rewritten. One that is counted in items has a directory
    for each number of them that was asked for.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._former: Mapping[tuple[str, Items], Path] | None = None
        self._held: tuple[Lease, ...] = ()

    @property
    def place(self) -> str:
        """What people call it."""
        return str(self.folder)

    @property
    def address(self) -> str:
        """By what other processes and machines open it (`place.open_store`)."""
        return str(self.folder.resolve())

    def directory(self, step: Step) -> Path:
        """Where the finished step is, or will be."""
        return self._directory(step.kind, step.key, step.items)

    def _directory(self, kind: str, key: str, items: Items | None) -> Path:
        folder = self._results / kind / key
        if items is None:
            return folder
        own = folder / str(items)
        return own if (own / "result.json").is_file() else self._former_results().get((key, items), own)

    def _former_results(self) -> Mapping[tuple[str, Items], Path]:
        if self._former is None:
            self._former = former_results(self.folder)
        return self._former

    def earlier(self, step: Step) -> Earlier | None:
        """The result of the step with the most items that are fewer than are wanted. Raises UserError where it is damaged."""
        if step.items is None:
            return None
        results = self._results.joinpath(step.kind, step.key).glob("*/result.json")
        there = [int(path.parent.name) for path in results if path.parent.name.isdecimal()]
        there += [items for key, items in self._former_results() if key == step.key and items != "all"]
        fewer = [items for items in there if step.items == "all" or items < step.items]
        if not fewer:
            return None
        folder = self._directory(step.kind, step.key, max(fewer))
        result = read_result(folder / "result.json")
        return Earlier(max(fewer), folder, result.summary(step.kind), result.provenance.all_seconds)

    def done(self, step: Step) -> bool:
        """Whether the step's result is there."""
        return (self.directory(step) / "result.json").is_file()

    def fetched(self, step: Step) -> Path:
        """Where the finished step is, with all that it has made."""
        return self.directory(step)

    def partial(self, step: Step) -> Path:
        """An empty directory for a step about to run, which no other attempt at it has."""
        folder = self.folder / "partial" / f"{step.kind}-{step.key}-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True)
        return folder

    def kept(self, step: Step) -> Path:
        """Where an unfinished step keeps what is to outlive a killed run; it is not made here."""
        return self.folder / "unfinished" / f"{step.kind}-{step.key}"

    @property
    def _results(self) -> Path:
        return results_folder(self.folder)

    @property
    def shared(self) -> Path:
        """Where steps keep what others can use too; it is not made here."""
        return self.folder / "shared"

    def sweep(self, missing: Iterable[Step]) -> None:
        """Remove what unfinished steps have kept, but for those that are `missing` still."""
        names = {self.kept(step).name for step in missing}
        for folder in (self.folder / "unfinished").glob("*/"):
            if folder.name not in names:
                shutil.rmtree(folder)

    def finish(self, step: Step, partial: Path, summary: Summary, provenance: Provenance) -> Path:
        """Write `result.json` beside what the step left in `partial`, and rename all of it into place."""
        self._write_result(step, partial, summary, provenance)
        return self._place(step, partial)

    def _write_result(self, step: Step, partial: Path, summary: Summary, provenance: Provenance) -> None:
        result = {
            "key": step.key,
            "kind": step.kind,
            "version": step.version,
            "inputs": step.inputs.model_dump(mode="json"),
            "reads": step.reads,
            "labels": step.labels.model_dump(exclude_unset=True),
            **({} if step.items is None else {"items": step.items}),
            "summary": summary.model_dump(),
            "provenance": provenance.model_dump(mode="json"),
        }
        with (partial / "result.json").open("w", encoding="utf-8") as file:
            json.dump(result, file, indent=1, sort_keys=True, allow_nan=False)
        for path in (*partial.rglob("*"), partial):  # a step that is done is whole, whenever the power fails
            _settle(path)

    def _place(self, step: Step, partial: Path) -> Path:
        final = self.directory(step)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.rename(final)
            _settle(final.parent)
        except OSError as error:
            # Another run on a shared file system was first; its result has the same key and stays.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not self.done(step):
                raise
            shutil.rmtree(partial)
        self._forget_attempts(step)
        return final

    def _forget_attempts(self, step: Step) -> None:
        """Remove what attempts at a step have left that is now finished."""
        shutil.rmtree(self.failure(step), ignore_errors=True)
        shutil.rmtree(self.kept(step), ignore_errors=True)

    def set_aside(self, steps: Iterable[Step]) -> int:
        """Move all results of these steps to `superseded/TIME/`, so that they are computed anew; how many steps had some."""
        aside = self.folder / "superseded" / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        former = self._former_results()
        moved = 0
        for step in {step.key: step for step in steps}.values():
            folders = [self._results / step.kind / step.key, *(former[name] for name in former if name[0] == step.key)]
            there = [folder for folder in folders if folder.is_dir()]
            moved += bool(there)
            for folder in there:
                place = aside / step.kind / folder.name
                place.parent.mkdir(parents=True, exist_ok=True)
                folder.rename(place)
        self._former = None
        return moved

    def discard(self, steps: Iterable[tuple[str, str]]) -> None:
        """Remove the results of shards, by kind and key, whose step has its own, or is computed anew."""
        for kind, key in steps:
            shutil.rmtree(self._results / kind / key, ignore_errors=True)

    def failure(self, step: Step) -> Path:
        """Where the last failure of the step is kept: `error.json` and `log.txt`."""
        return self.folder / "failed" / f"{step.kind}-{step.key}"

    def fail(self, step: Step, partial: Path | None, error: str) -> None:
        """Keep the cause and the log of a failed step, and drop the rest of what it wrote."""
        folder = self.failure(step)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.json").write_text(
            json.dumps({"labels": step.labels.shown(), "error": error}, indent=1), encoding="utf-8"
        )
        if partial is not None:
            log = partial / "log.txt"
            if log.is_file():
                log.replace(folder / "log.txt")
            shutil.rmtree(partial, ignore_errors=True)

    def record(self, step: Step) -> Record:
        """What analysis sees of the step."""
        return self.record_of(step.kind, step.key, step.labels, step.items)

    def record_of(self, kind: str, key: str, labels: Labels, items: Items | None = None) -> Record:
        """What analysis sees of the step of that kind and key; its labels are those of the current plan."""
        directory = self._directory(kind, key, items)
        result = directory / "result.json"
        if result.is_file():
            found = read_result(result)
            return Record(key, kind, labels, "done", directory, found.summary(kind), found.provenance)
        cause = self.folder / "failed" / f"{kind}-{key}" / "error.json"
        if cause.is_file():
            return Record(key, kind, labels, "failed", directory, error=read_fields(cause, ("error",))["error"])
        return Record(key, kind, labels, "missing", directory)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store for one run; what a killed run left in flight is swept away.

        Raises UserError if another run is at work on this store, on whichever machine.
        """
        with self._leased(STUDY) as lease:
            for name in self._lease_names():
                if name.startswith(STEP) and (found := self._living_holder(name)) is not None:
                    raise self._in_use(found)
            self._sweep_partial()
            with self._holding(lease):
                yield

    def _sweep_partial(self) -> None:
        """Remove what killed runs have left in flight.

        It is moved away first: a step of theirs that still ends then fails to file its result, which deleting in place would
        leave without some of its files.
        """
        with suppress(FileNotFoundError):
            (self.folder / "partial").rename(self.folder / f"{SWEPT}{uuid.uuid4().hex}")
        for folder in self.folder.glob(f"{SWEPT}*"):
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def locked_steps(self, steps: Iterable[Step]) -> Iterator[None]:
        """Hold some steps of the store, for a run of these alone.

        Raises UserError if another run is at work on one of them or on the whole store.
        """
        with ExitStack() as stack:
            names = sorted(f"{STEP}{step.kind}-{step.key}" for step in steps)
            leases = tuple(stack.enter_context(self._leased(name)) for name in names)
            if (found := self._living_holder(STUDY)) is not None:
                raise self._in_use(found)
            with self._holding(*leases):
                yield

    @contextmanager
    def _holding(self, *leases: Lease) -> Iterator[None]:
        self._held = leases
        try:
            yield
        finally:
            self._held = ()

    def check_lock(self) -> None:
        """Raise UserError where another run has taken this one for ended, and holds what it held."""
        if any(lease.lost for lease in self._held):
            raise UserError(
                f"store: {self.place} could not be reached for a while, and may be another run's by now",
                remedy="see that the store can be written, and run the same command again; finished steps are kept",
            )

    def leave(self, name: str, text: str) -> None:
        """Write a note for other machines, below `probes/`. Raises OSError."""
        path = self.folder / PROBES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}")
        aside.write_text(text, encoding="utf-8")
        aside.rename(path)

    def left(self, name: str) -> str | None:
        """What such a note says; None where there is none. Raises OSError."""
        path = self.folder / PROBES / name
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def forget(self, folder: str) -> None:
        """Remove the notes of a folder."""
        shutil.rmtree(self.folder / PROBES / folder, ignore_errors=True)
        with suppress(OSError):  # others are in use
            (self.folder / PROBES).rmdir()

    def refresh(self) -> None:
        """See what others have written since; in a folder it is seen at once."""

    def publish(self) -> None:
        """Let others see what is written of the study; in a folder they do."""

    def _lease(self, name: str) -> AbstractContextManager[Lease]:
        return leased(self.folder / "leases" / name)

    def _holder(self, name: str) -> LeaseHeld | None:
        return held(self.folder / "leases" / name)

    def _living_holder(self, name: str) -> LeaseHeld | None:
        """Who holds a lease and lives, which on another machine its next renewal tells: that is waited for."""
        found = self._holder(name)
        while found is not None and found.holder.machine != machine_identity():
            time.sleep(RENEWED_S / 5)
            before, found = found, self._holder(name)
            if found is not None and (found.holder != before.holder or found.silent_s < before.silent_s):
                break
        return found

    def _lease_names(self) -> set[str]:
        return {path.name for path in (self.folder / "leases").glob("*")}

    @contextmanager
    def _leased(self, name: str) -> Iterator[Lease]:
        with ExitStack() as stack:
            try:
                try:
                    lease = stack.enter_context(self._lease(name))
                except LeaseHeld as other:
                    if (living := self._living_holder(name)) is not None:
                        raise self._in_use(living) from other
                    lease = stack.enter_context(self._lease(name))
            except LeaseHeld as other:
                raise self._in_use(other) from None
            except OSError as error:
                raise UserError(
                    f"store: {self.place} cannot be written: {error.strerror or error}", remedy="name another --store"
                ) from error
            yield lease

    def _in_use(self, other: LeaseHeld) -> UserError:
        return UserError(
            f"store: {self.place} is in use by another run (process {other.holder.pid} on {other.holder.host}, "
            f"last heard of {other.silent_s:.0f} s ago)",
            remedy=f"wait for it to end, or name another --store; a run whose machine has died is let go after "
            f"{LONGEST_SILENCE_S:.0f} s",
        )


def _settle(path: Path) -> None:
    """Have the disk hold what a file or a folder is now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
