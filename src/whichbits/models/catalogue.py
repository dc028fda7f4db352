"""Shapes of models: what a forward pass reads and computes, from the catalogue or from a config.json."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

import yaml

from whichbits.core.errors import UserError
from whichbits.core.home import expand
from whichbits.models.architectures import from_config
from whichbits.models.shape import Shape

_CHECKPOINT_SUFFIX = re.compile(
    r"[-_.](quantized\.w\d+a\d+|fp8[-_]dynamic|fp8([-_]block)?|nvfp4(a16)?|mxfp4|fp4|w\d+a\d+(-[a-z0-9]+)?|awq(-int4)?|gptq(-int[48])?|int[48]|bf16)$",
    re.IGNORECASE,
)
HUB_ID = r"[\w.-]+/[\w.-]+(@[\w./-]+)?"
"""What a hub id looks like: owner/name, or owner/name@revision."""


@cache
def catalogue() -> Mapping[str, Shape]:
    """Every known model by hub id; ids with the same shape share one `Shape`, whose `id` is the first of them."""
    text = files("whichbits.models").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    shapes = {}
    for entry in yaml.load(text, loader):
        ids = entry.pop("ids")
        shape = Shape(id=ids[0], **entry)
        shapes.update(dict.fromkeys(ids, shape))
    return MappingProxyType(shapes)


@cache
def _short_names() -> Mapping[str, Shape]:
    return {identifier.rsplit("/", 1)[-1].lower(): shape for identifier, shape in catalogue().items()}


def find_shape(reference: str, *, allow_download: bool = True) -> Shape:
    """Shape of a hub id (owner/name, optionally @revision), a folder with config.json or such a file.

    The catalogue is asked first, also by the name without its owner or without a suffix such as `-FP8-dynamic`; a hub id that
    it lacks, and any revision that is named, is looked up in the hub's cache and then on the hub (config.json alone). A
    reference that only a path can have (more than one slash, or a dot or a tilde in front) is never taken for a name.
    Raises UserError where there is no shape and for an architecture that is not modelled.
    """
    path = expand(reference) if reference.startswith("~") else Path(reference)
    if reference and _is_there(path):
        file = path / "config.json" if path.is_dir() else path
        return _from_file(file, reference)
    if not re.fullmatch(r"[/.~].*|.*/.*/.*", reference.partition("@")[0]):
        known = catalogue().get(reference) or _short_names().get(_base_name(reference))
        if known is not None:
            return known
        if allow_download and re.fullmatch(HUB_ID, reference):
            return _from_hub(reference)
    raise UserError(
        f"model: {reference!r:.200} is neither in the catalogue nor a folder with config.json",
        remedy="give a hub id (owner/name) or the path of a config.json",
    )


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # longer than a name may be
        return False


def _base_name(reference: str) -> str:
    name = reference.rsplit("/", 1)[-1].lower()
    if name in _short_names():
        return name
    shorter = _CHECKPOINT_SUFFIX.sub("", name)
    while shorter != name:
        name, shorter = shorter, _CHECKPOINT_SUFFIX.sub("", shorter)
    return name


def _from_file(file: Path, reference: str) -> Shape:
    try:
        config = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"model: cannot read {file}: {error}", remedy="give a folder with a valid config.json") from error
    return from_config(config, identifier=reference)


def _from_hub(reference: str) -> Shape:
    shape = _asked_hub(reference)
    if isinstance(shape, UserError):
        raise shape
    return shape


@cache
def _asked_hub(reference: str) -> Shape | UserError:
    """What the hub says of a model; a failure is remembered too, since the hub's client takes long to give up."""
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils import httpx  # type: ignore[attr-defined]
    except ImportError:
        return UserError(
            f"model: {reference!r} is not in the catalogue",
            remedy="install whichbits[measure] to ask the hub, or give the path of its config.json",
        )
    repository, _, revision = reference.partition("@")
    lacking = (
        "names a revision, and the hub gave no config.json"
        if revision
        else "is not in the catalogue and the hub gave no config.json"
    )
    for only_cached in (True, False):
        try:
            file = hf_hub_download(repository, "config.json", revision=revision or None, local_files_only=only_cached)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
            continue
        try:
            return replace(_from_file(Path(file), reference), id=reference)
        except UserError as error:
            return error
    return UserError(f"model: {reference!r} {lacking}", remedy="check the id and HF_TOKEN, or give the path of its config.json")
