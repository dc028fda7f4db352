"""A store in an object store, with a copy on this machine of what is used of it here."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from whichbits.core.errors import UserError
from whichbits.core.home import cache_directory
from whichbits.schema.frozen import Stored
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.step import Items, Record, Step
from whichbits.schema.summary import Summary
from whichbits.studies.steps.step import Earlier
from whichbits.studies.store import object_lease
from whichbits.studies.store.lease import Lease, LeaseHeld
from whichbits.studies.store.objects import ObjectFile, Objects, described
from whichbits.studies.store.store import PROBES, Store

STEPS, FILES, FAILED, LEASES, SUPERSEDED = "steps", "files", "failed", "leases", "superseded"
"""Folders of objects; what lies in none of them is the study's: its manifest, verdict, report and log."""

PUBLISHED = ("cards", "jobs", "servers")
"""Folders of the copy that are the study's too."""

LISTING = ".objects.json"
"""In the copy of a step: which files it has, as the object that says that it is finished."""

LARGE = 2**20
"""Files in folders of a step (a checkpoint's) that have more bytes are brought only to where a step reads them."""


ABANDONED_S = 24 * 3600.0
"""An attempt at a step whose files are so old has ended without a result."""


class Finished(Stored):
    """The object that says that a step is finished."""

    folder: str
    """Where the files of the attempt are that was the first to end."""
    files: tuple[ObjectFile, ...]


class ObjectStore(Store):
    """Steps are finished by one object each, `steps/KIND/KEY.json` or, counted in items, `steps/KIND/KEY/ITEMS.json`.

    It is created where there is none, once all files of the step are objects under a name that no other attempt has. So a
    result is whole or not there, and of two attempts one counts. What the copy holds of finished steps is asked for only at the
    start (`refresh`): who holds the store alone sets results aside. Unfinished work is in the copy alone.
    """

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        super().__init__(cache_directory() / "stores" / hashlib.sha256(self._address.encode()).hexdigest()[:16])
        self._objects = Objects(self._address)

    @property
    def place(self) -> str:
        """Its URL."""
        return self._address

    @property
    def address(self) -> str:
        """Its URL."""
        return self._address

    # Results

    def done(self, step: Step) -> bool:
        """Whether the step's result is there; if so, it is brought here but for large artifacts."""
        return super().done(step) or self._bring(_name(step.kind, step.key, step.items))

    def fetched(self, step: Step) -> Path:
        """The finished step's directory, with all of its artifacts brought here; what was computed anew meanwhile, anew."""
        folder = self.directory(step)
        content = self._objects.read(_name(step.kind, step.key, step.items))
        if content is not None and (folder / LISTING).is_file() and (folder / LISTING).read_bytes() != content:
            shutil.rmtree(folder)
        if self.done(step) and (folder / LISTING).is_file():
            finished = self._finished(_name(step.kind, step.key, step.items), (folder / LISTING).read_bytes())
            for file in finished.files:
                if not (folder / file.name).is_file():
                    self._objects.download(f"{finished.folder}/{file.name}", file, folder / file.name)
        return folder

    def earlier(self, step: Step) -> Earlier | None:
        """The result with the most items that are fewer than are wanted."""
        if step.items is not None:
            prefix = f"{STEPS}/{step.kind}/{step.key}"
            self._bring_all(prefix, self._objects.tags(prefix))
        return super().earlier(step)

    def record_of(self, kind: str, key: str, labels: Labels, items: Items | None = None) -> Record:
        """What analysis sees of the step."""
        if not self._bring(_name(kind, key, items)):
            folder = f"{FAILED}/{kind}-{key}"
            shutil.rmtree(self.folder / folder, ignore_errors=True)
            for name in self._objects.names(folder):
                self._copy(name)
        return super().record_of(kind, key, labels, items)

    def finish(self, step: Step, partial: Path, summary: Summary, provenance: Provenance) -> Path:
        """Write the step's files as objects, and then the one that finishes it; another's that was first stays."""
        self._write_result(step, partial, summary, provenance)
        name = _name(step.kind, step.key, step.items)
        finished = Finished(folder=f"{FILES}/{_identity(name)}/{uuid.uuid4().hex}", files=described(partial))
        if not finished.files:  # another run has taken this one for ended, and swept away what it had in flight
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(partial))
        for file in finished.files:
            self._objects.upload(partial / file.name, f"{finished.folder}/{file.name}")
        (partial / LISTING).write_bytes(content := finished.model_dump_json().encode())
        if not self._objects.create(name, content):
            self._objects.delete(f"{finished.folder}/{file.name}" for file in finished.files)
            shutil.rmtree(partial)
            self._forget_attempts(step)
            self._bring(name)
            return self.directory(step)
        self._objects.delete(self._objects.names(f"{FAILED}/{step.kind}-{step.key}"))
        return self._place(step, partial)

    def fail(self, step: Step, partial: Path | None, error: str) -> None:
        """Keep the cause and the log of a failed step."""
        super().fail(step, partial, error)
        for path in self.failure(step).iterdir():
            self._objects.write(path.relative_to(self.folder).as_posix(), path.read_bytes())

    def set_aside(self, steps: Iterable[Step]) -> int:
        """Have these steps computed anew; what they had is listed under `superseded/TIME/`."""
        known = {(step.kind, step.key): step for step in steps}
        moved = super().set_aside(known.values())
        aside = f"{SUPERSEDED}/{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        for kind, key in known:
            for name in (f"{STEPS}/{kind}/{key}.json", *self._objects.names(f"{STEPS}/{kind}/{key}")):
                if (content := self._objects.read(name)) is not None:
                    self._objects.write(f"{aside}/{name.removeprefix(f'{STEPS}/')}", content)
                    self._objects.delete([name])
        return moved

    def discard(self, steps: Iterable[tuple[str, str]]) -> None:
        """Remove the results of shards, by kind and key, here and there; their files last."""
        for kind, key in (named := list(steps)):
            name = _name(kind, key, None)
            content = self._objects.read(name)
            if content is not None:
                finished = self._finished(name, content)
                self._objects.delete([name])
                self._objects.delete(f"{finished.folder}/{file.name}" for file in finished.files)
        super().discard(named)

    # The whole store

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the store for one run, with a copy here of all results; what the run writes of the study is its at the end."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with super().locked():
            self._sweep()
            self.refresh()
            try:
                yield
            except BaseException:
                with suppress(OSError):  # the object store may be the reason
                    self.publish()
                raise
            self.publish()

    def leave(self, name: str, text: str) -> None:
        """Write a note for other machines."""
        self._objects.write(f"{PROBES}/{name}", text.encode())

    def left(self, name: str) -> str | None:
        """What such a note says; None where there is none."""
        content = self._objects.read(f"{PROBES}/{name}")
        return None if content is None else content.decode()

    def forget(self, folder: str) -> None:
        """Remove the notes of a folder."""
        self._objects.delete(self._objects.names(f"{PROBES}/{folder}"))

    def refresh(self) -> None:
        """Bring here what others have finished and written since."""
        folders = (STEPS, FILES, FAILED, LEASES, SUPERSEDED, PROBES)
        tags = self._objects.tags("")
        self._bring_all(STEPS, {name: tag for name, tag in tags.items() if name.startswith(f"{STEPS}/")})
        for name in tags:
            if not name.startswith((".", *(f"{folder}/" for folder in folders))):
                self._copy(name)

    def publish(self) -> None:
        """Write what is the study's as objects."""
        found = [path for path in self.folder.iterdir() if path.is_file() and not path.name.startswith(".")]
        found += [path for name in PUBLISHED for path in (self.folder / name).rglob("*") if path.is_file()]
        for path in sorted(found):
            self._objects.write(path.relative_to(self.folder).as_posix(), path.read_bytes())

    def _sweep(self) -> None:
        """Remove the files of attempts at steps that are not finished, but for what a lost machine might still finish."""
        finished = {_identity(name) for name in self._objects.names(STEPS)}
        finished |= {_identity(name.split("/", 1)[1]) for name in self._objects.names(SUPERSEDED)}
        left = [name for name in self._objects.names(FILES) if name.split("/")[1] not in finished]
        now = self._objects.now() if left else 0.0
        self._objects.delete(name for name in left if now - (self._objects.modified(name) or now) > ABANDONED_S)

    # The copy

    def _bring_all(self, prefix: str, tags: Mapping[str, str]) -> None:
        """Bring here what a folder has finished, and drop from the copy what another machine has set aside or done anew.

        `tags` are those of all objects in the folder.
        """
        for listing in list((self.folder / prefix).rglob(LISTING)):
            name = f"{listing.parent.relative_to(self.folder).as_posix()}.json"
            if name not in tags or not self._is(name, listing.read_bytes(), tags[name]):
                shutil.rmtree(listing.parent)
        for name in tags:
            self._bring(name)

    def _is(self, name: str, content: bytes, tag: str) -> bool:
        """Whether an object has this content; asked only where its tag, an MD5 sum at most places, does not say so."""
        return hashlib.md5(content, usedforsecurity=False).hexdigest() == tag or self._objects.read(name) == content

    def _finished(self, name: str, content: bytes) -> Finished:
        """What an object says of a finished step. Raises UserError where it is damaged."""
        try:
            return Finished.model_validate_json(content)
        except ValidationError as error:
            raise UserError(
                f"store: {self._address}/{name} is damaged",
                remedy="delete this object and run the study again; only this step is computed anew",
            ) from error

    def _bring(self, name: str) -> bool:
        """Copy a finished step here but for large artifacts; whether it is finished."""
        folder = self.folder / name.removesuffix(".json")
        if (folder / "result.json").is_file():
            return True
        content = self._objects.read(name)
        if content is None:
            return False
        finished = self._finished(name, content)
        aside = self.folder / ".brought" / uuid.uuid4().hex
        try:
            for file in finished.files:
                if "/" not in file.name or file.bytes <= LARGE:
                    self._objects.download(f"{finished.folder}/{file.name}", file, aside / file.name)
        except FileNotFoundError:
            shutil.rmtree(aside, ignore_errors=True)
            if self._objects.read(name) == content:
                raise
            return self._bring(name)  # a shard that was merged meanwhile, or a step that was done anew
        (aside / LISTING).write_bytes(content)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.rename(folder)
        except OSError:
            if not (folder / "result.json").is_file():  # else another process of this machine was as fast
                raise
            shutil.rmtree(aside)
        return True

    def _copy(self, name: str) -> None:
        """Copy an object that people read, as it is now."""
        content = self._objects.read(name)
        if content is not None:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    # Leases

    def _lease(self, name: str) -> AbstractContextManager[Lease]:
        return object_lease.leased(self._objects, f"{LEASES}/{name}")

    def _holder(self, name: str) -> LeaseHeld | None:
        return object_lease.held(self._objects, f"{LEASES}/{name}")

    def _lease_names(self) -> set[str]:
        return {name.split("/")[1] for name in self._objects.names(LEASES)}


def _name(kind: str, key: str, items: Items | None) -> str:
    return f"{STEPS}/{kind}/{key}.json" if items is None else f"{STEPS}/{kind}/{key}/{items}.json"


def _identity(name: str) -> str:
    """A finished step's name as that of one folder."""
    return name.split("/", 1)[1].removesuffix(".json").replace("/", "-")
