"""A model from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from whichbits.core.errors import UserError

HUB_ID = r"[\w.-]+/[\w.-]+(@[\w./-]+)?"
"""What a hub id looks like: owner/name, or owner/name@revision."""

WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.tiktoken", "vocab.txt", "merges.txt")
UNWANTED = ("*/*", "consolidated*")


def snapshot(reference: str, *, allow_download: bool) -> Path:
    """Folder of the model `owner/name[@revision]` in the hub's cache, downloaded where that is allowed and needed.

    Weights as safetensors, configuration and tokenizer only. The token comes from the environment (HF_TOKEN) or the user's
    hub login. Raises UserError where the hub refuses or cannot be reached.
    """
    from huggingface_hub import constants, snapshot_download

    repository, _, revision = reference.partition("@")
    allow_download = allow_download and not constants.HF_HUB_OFFLINE
    with _hub_errors(reference, allow_download=allow_download):
        path = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=list(WANTED),
            ignore_patterns=list(UNWANTED),
            local_files_only=not allow_download,
        )
    return Path(path)


@dataclass(frozen=True)
class Outline:
    """Weights that stayed on the hub: the SHA-256 and the bytes of each file by name."""

    sha256: Mapping[str, str]
    bytes: Mapping[str, int]


def outline(reference: str, *, allow_download: bool = True) -> tuple[Path, Outline | None]:
    """Folder of what is small of the model `owner/name[@revision]`, and what the hub says of its weights, which stay there.

    Where the hub may not be asked or cannot be reached, the folder of a whole model in the hub's cache, and None.
    Raises UserError as `snapshot`.
    """
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

    repository, _, revision = reference.partition("@")
    if constants.HF_HUB_OFFLINE or not allow_download:
        return snapshot(reference, allow_download=False), None
    try:
        with _hub_errors(reference, allow_download=True):
            info = HfApi().model_info(repository, revision=revision or None, files_metadata=True)
            path = snapshot_download(
                repository, revision=info.sha, allow_patterns=list(WANTED), ignore_patterns=[*UNWANTED, "*.safetensors"]
            )
    except _NoConnection as error:
        try:
            return snapshot(reference, allow_download=False), None
        except UserError:
            raise UserError(error.message, remedy=error.remedy) from error
    large = {file.rfilename: file.lfs for file in info.siblings or () if file.lfs is not None}
    weights = list(filter_repo_objects(large, allow_patterns="*.safetensors", ignore_patterns=list(UNWANTED)))
    return Path(path), Outline({name: large[name].sha256 for name in weights}, {name: large[name].size for name in weights})


class _NoConnection(UserError):
    """The hub could not be reached, which says nothing about the model."""


@contextmanager
def _hub_errors(reference: str, *, allow_download: bool) -> Iterator[None]:
    """Say of what the hub refuses what the user can do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    repository, _, revision = reference.partition("@")
    try:
        yield
    except GatedRepoError as error:
        raise UserError(
            f"the hub gives {repository} only to those who accepted its terms",
            remedy=f"accept them at https://huggingface.co/{repository} and set HF_TOKEN",
        ) from error
    except HFValidationError as error:
        raise UserError(f"model {reference!r:.200} cannot be a hub id", remedy="write owner/name, or give a folder") from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"{repository} has no revision {revision!r} on the hub", remedy="check it on the model's page"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"{repository} is neither a folder here nor a model on the hub",
            remedy="check the spelling; for a private model set HF_TOKEN",
        ) from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        offline = not allow_download or isinstance(error, OfflineModeIsEnabled)
        cause = "is not in the hub's cache on this machine" if offline else f"could not be downloaded ({error})"
        raise _NoConnection(
            " ".join(f"{repository} is no folder here and {cause}".split())[:400],
            remedy="check the connection to the hub, or download the model elsewhere and give its folder",
        ) from error
