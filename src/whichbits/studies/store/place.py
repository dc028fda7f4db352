"""From what people call a store to the store: a folder, or the address of an object store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from whichbits.core.errors import UserError
from whichbits.studies.store.store import Store

Place = Path | str
"""A folder, or an address of an object store."""

S3 = "s3://"
FILE = "file://"


def is_object_store(place: Place) -> bool:
    """Whether it is no folder."""
    return str(place).startswith(S3)


def open_store(place: Place) -> Store:
    """The store in a folder, at `file:///FOLDER` or `s3://BUCKET/PREFIX`. Raises UserError for an address of another kind."""
    text = str(place)
    if is_object_store(place):
        from whichbits.studies.store.object_store import ObjectStore

        bucket, _, prefix = text.removeprefix(S3).strip("/").partition("/")
        if not bucket or not prefix:
            raise UserError(f"store: {text} does not name a bucket and a folder in it", remedy="write it as s3://BUCKET/FOLDER")
        return ObjectStore(text)
    return Store(_folder(place))


def open_folder(place: Place) -> Store:
    """The store in a folder, for jobs that find files of theirs there. Raises UserError for any other."""
    if is_object_store(place):
        raise UserError(f"store: array jobs need a folder, and {place} is none", remedy="name a folder that all machines see")
    return Store(_folder(place))


def _folder(place: Place) -> Path:
    text = str(place)
    if "://" not in text:
        return Path(place)
    address = urlsplit(text)
    if not text.startswith(FILE) or address.netloc or not address.path.strip("/"):
        raise UserError(
            f"store: {text} is of no kind that is known", remedy="name a folder, file:///FOLDER or s3://BUCKET/FOLDER"
        )
    return Path(unquote(address.path))
