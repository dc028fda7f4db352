"""Objects below an address of an object store: each is whole or not there. Whatever fails in passing is tried again."""

from __future__ import annotations

import errno
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from whichbits.core.errors import UserError
from whichbits.schema.frozen import Stored

if TYPE_CHECKING:
    from s3fs import S3FileSystem

PATIENCE_S = 40.0
"""For so long an object store that does not answer, or answers wrongly, is asked again."""

CONNECT_S, READ_S = 5.0, 20.0
"""How long one request may wait."""

LONGEST_PAUSE_S = 4.0

AnswerT = TypeVar("AnswerT")


class ObjectFile(Stored):
    """A file that is an object."""

    name: str
    """Below its folder."""
    bytes: int
    sha256: str


def described(folder: Path) -> tuple[ObjectFile, ...]:
    """The files of a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return tuple(
        ObjectFile(name=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=_sha256(path)) for path in paths
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Objects:
    """The objects whose names begin with an address, `s3://BUCKET/PREFIX`.

    Access key, region and endpoint are the environment's, as for all tools of AWS (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...).
    A method raises OSError where the store is not to be had for `PATIENCE_S`.
    """

    def __init__(self, address: str) -> None:
        self._prefix = address.removeprefix("s3://").rstrip("/")

    def read(self, name: str) -> bytes | None:
        """An object; None where there is none."""
        try:
            return self._patiently(lambda: bytes(file_system(os.getpid()).cat_file(self._path(name))))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write an object, whatever was there."""
        self._patiently(lambda: file_system(os.getpid()).pipe_file(self._path(name), content))

    def create(self, name: str, content: bytes) -> bool:
        """Write an object where there is none of its name; whether that is so. No two callers have the same `content`."""
        try:
            self._patiently(lambda: file_system(os.getpid()).pipe_file(self._path(name), content, mode="create"))
        except FileExistsError:
            return self.read(name) == content  # written, where only the answer was lost
        return True

    def modified(self, name: str) -> float | None:
        """When an object was written, by the object store's clock, in seconds; None where there is none."""
        try:
            info = self._patiently(lambda: file_system(os.getpid()).info(self._path(name)))
        except FileNotFoundError:
            return None
        return float(info["LastModified"].timestamp())

    def now(self) -> float:
        """The object store's clock, in seconds."""
        probe = f".{uuid.uuid4().hex}"
        self.write(probe, b"")
        try:
            return self.modified(probe) or 0.0
        finally:
            self.delete([probe])

    def names(self, prefix: str) -> list[str]:
        """Names of the objects in a folder and those below it, in order."""
        return list(self.tags(prefix))

    def tags(self, prefix: str) -> dict[str, str]:
        """The same with a tag of the content of each, which changes with it."""
        folder = self._path(prefix).rstrip("/")
        try:
            found = self._patiently(lambda: file_system(os.getpid()).find(folder, detail=True))
        except FileNotFoundError:
            return {}
        # s3fs asks twice where it finds none, and names the folder itself where its first object came in between
        tags = {path.removeprefix(f"{self._prefix}/"): str(info["ETag"]) for path, info in found.items() if path != folder}
        return {name: tags[name].strip('"') for name in sorted(tags)}

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; those that are not there are no error."""
        for name in names:
            try:
                self._patiently(lambda name=name: file_system(os.getpid()).rm_file(self._path(name)))  # type: ignore[misc]
            except FileNotFoundError:
                continue

    def upload(self, path: Path, name: str) -> None:
        """Write a file as an object."""
        self._patiently(lambda: file_system(os.getpid()).put_file(str(path), self._path(name)))

    def download(self, name: str, file: ObjectFile, path: Path) -> None:
        """Write an object into a file, which is whole or not there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}")

        def fetch() -> None:
            file_system(os.getpid()).get_file(self._path(name), str(aside))
            if _sha256(aside) != file.sha256:
                raise OSError(f"{name} came with {aside.stat().st_size} bytes that are not those of its {file.bytes}")

        try:
            self._patiently(fetch)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    def _patiently(self, ask: Callable[[], AnswerT]) -> AnswerT:
        """The answer, once there is one. What is no matter of time is raised at once."""
        file_system(os.getpid())  # which says so where its packages are not installed
        from aiohttp import ClientError
        from botocore.exceptions import BotoCoreError, HTTPClientError, NoCredentialsError

        ends, pause = time.monotonic() + PATIENCE_S, 0.1
        while True:
            try:
                return ask()
            except (FileNotFoundError, FileExistsError):
                raise
            except PermissionError as error:
                raise PermissionError(errno.EACCES, f"access is denied ({error})", f"s3://{self._prefix}") from error
            except NoCredentialsError as error:
                raise UserError(
                    "store: no credentials for s3:// are found",
                    remedy="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
                ) from error
            except (OSError, ClientError, BotoCoreError, HTTPClientError) as error:
                if time.monotonic() > ends:
                    raise OSError(errno.EIO, f"the object store does not answer ({error})", f"s3://{self._prefix}") from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name}"


@cache
def file_system(process: int) -> S3FileSystem:
    """The connection of this process: one that was made before a fork is another's."""
    try:
        from s3fs import S3FileSystem
    except ImportError as error:
        raise UserError("store: s3:// needs s3fs, which is not installed", remedy="pip install 'whichbits[s3]'") from error
    limits = {"connect_timeout": CONNECT_S, "read_timeout": READ_S, "retries": {"total_max_attempts": 1}}
    made = S3FileSystem(config_kwargs=limits, use_listings_cache=False, skip_instance_cache=True)
    made.retries = 1
    return made
