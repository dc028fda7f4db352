"""Calibration texts from a data set on the hub, or from a local folder that the datasets library reads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whichbits.core.conversation import Messages, messages
from whichbits.core.errors import UserError
from whichbits.quantization.calibration.checksum import check_sha256

if TYPE_CHECKING:
    from whichbits.quantization.recipe.recipe import Calibration

SHUFFLED = 10_000
"""Rows among which the next is drawn: a data set is read from its beginning, not downloaded as a whole."""

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def rows(calibration: Calibration, seed: int) -> Iterator[str | Messages]:
    """The texts or conversations of a data set, in an order drawn by `seed`.

    Nothing but the named data set is fetched, and no code of it is run. Raises UserError where it cannot be had or its columns
    are not those that are asked for.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    name = calibration.dataset or ""
    if calibration.sha256 is not None:
        check_sha256(calibration, folder_sha256(_folder(name)), f"data set {name}")
    if not Path(name).is_dir() and not HUB_ID.fullmatch(name):
        raise UserError(
            f"calibration data {name!r} are neither a file, nor a folder, nor a hub id", remedy="give owner/name, or a path"
        )
    try:
        loaded = load_dataset(name, calibration.config, split=calibration.split, revision=calibration.revision, streaming=True)
        for row in loaded.shuffle(seed=seed, buffer_size=SHUFFLED):
            yield _text(row, calibration)
    except (DatasetsError, HfHubHTTPError, OSError, ValueError) as error:
        cause = " ".join(str(error).split())
        raise UserError(
            f"data set {name} (config {calibration.config}, split {calibration.split}) cannot be read: {cause}",
            remedy="check its name, config and split on its page and the connection to the hub, or give a local folder of it",
        ) from error


def pinned_dataset(calibration: Calibration) -> Calibration:
    """The calibration with what identifies its data set: the SHA-256 of a local folder, or the hub's revision.

    Raises UserError where neither can be had.
    """
    name = calibration.dataset or ""
    if Path(name).is_dir():
        digest = folder_sha256(Path(name))
        check_sha256(calibration, digest, f"data set {name}")
        return calibration.model_copy(update={"sha256": digest})
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        revision = HfApi().dataset_info(name, revision=calibration.revision).sha
    except (HfHubHTTPError, OSError, ValueError) as error:
        cause = " ".join(str(error).split())
        raise UserError(
            f"the hub does not say which revision data set {name} has: {cause}",
            remedy="check its name and the connection to the hub, or give a local folder of it",
        ) from error
    return calibration.model_copy(update={"revision": revision})


def folder_sha256(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file.relative_to(folder)}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode())
    return digest.hexdigest()


def _folder(name: str) -> Path:
    if not Path(name).is_dir():
        raise UserError(f"data set {name} is no folder, and sha256 is a folder's", remedy="give revision for a hub data set")
    return Path(name)


def _text(row: Mapping[str, Any], calibration: Calibration) -> str | Messages:
    """A row's text, or its conversation."""
    fields = calibration.fields or tuple(name for name in ("messages", "text") if name in row)[:1]
    missing = [name for name in fields if name not in row]
    if missing or not fields:
        what = f"no column {missing[0]!r}" if missing else "neither a column messages nor text"
        raise UserError(
            f"data set {calibration.dataset} has {what}", remedy=f"choose fields among its columns: {', '.join(row)}"
        )
    values = [row[name] for name in fields]
    if all(isinstance(value, str) for value in values):
        return "\n\n".join(value for value in values if value)
    try:
        if len(values) > 1:
            raise ValueError("conversations come in one column")
        return messages(values[0])
    except ValueError as error:
        raise UserError(
            f"data set {calibration.dataset}: {', '.join(fields)} holds neither text nor one column of conversations: {error}",
            remedy=f"choose fields among its columns: {', '.join(row)}",
        ) from error
