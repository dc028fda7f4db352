"""A model from the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from whichbits.errors import UserError

HUB_ID = r"[\w.-]+/[\w.-]+(@[\w./-]+)?"
"""What a hub id looks like: owner/name, or owner/name@revision."""

WANTED = ("*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.model", "*.tiktoken", "vocab.txt", "merges.txt")
UNWANTED = ("*/*", "consolidated*")


def snapshot(reference: str, *, allow_download: bool) -> Path:
    """Folder of the model `owner/name[@revision]` in the hub's cache, downloaded where that is allowed and needed.

    Weights as safetensors, configuration and tokenizer only. The token comes from the environment (HF_TOKEN) or the user's
    hub login. Raises UserError where the hub refuses or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    repository, _, revision = reference.partition("@")
    with _hub_errors(reference, allow_download=allow_download):
        path = snapshot_download(
            repository,
            revision=revision or None,
            allow_patterns=list(WANTED),
            ignore_patterns=list(UNWANTED),
            local_files_only=not allow_download,
        )
    return Path(path)


def outline(reference: str) -> tuple[Path, dict[str, str]]:
    """Folder of what is small of the model `owner/name[@revision]`, and the SHA-256 of each weight file, which stays there.

    Raises UserError as `snapshot`.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

    repository, _, revision = reference.partition("@")
    with _hub_errors(reference, allow_download=True):
        info = HfApi().model_info(repository, revision=revision or None, files_metadata=True)
        path = snapshot_download(
            repository, revision=info.sha, allow_patterns=list(WANTED), ignore_patterns=[*UNWANTED, "*.safetensors"]
        )
    stored = {file.rfilename: file.lfs.sha256 for file in info.siblings or () if file.lfs is not None}
    weights = filter_repo_objects(stored, allow_patterns="*.safetensors", ignore_patterns=list(UNWANTED))
    return Path(path), {name: stored[name] for name in weights}


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
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        cause = "is not in the hub's cache on this machine" if not allow_download else f"could not be downloaded ({error})"
        raise UserError(
            f"{repository} is no folder here and {cause}".replace("\n", " "),
            remedy="check the connection to the hub, or download the model elsewhere and give its folder",
        ) from error
