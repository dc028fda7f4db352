"""Finished layers of a pass kept on disk, so that it goes on after a kill where it was."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.quantization.output.manifest import ModuleError

if TYPE_CHECKING:
    import torch

    from whichbits.quantization.calibration.data import CalibrationData
    from whichbits.quantization.model.ranks import Ranks
    from whichbits.quantization.statistics.backward import ObservedLayer

SETTINGS = "settings.json"
LOCK = "lock"


class LayerStore:
    """A folder with one safetensors file for each finished layer, and the settings that they were made with.

    Files are written aside and renamed, so a file that is there is whole. `settings` is whatever decides the result, as JSON.
    The folder is this process's alone as long as the store is there. Raises UserError where another is at work in it, or where
    it was begun with other settings, unless `replace` says that what was made with those is to go.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], *, replace: bool = False) -> None:
        self._folder = folder
        self._lock = _locked(folder)
        path = folder / SETTINGS
        if not path.exists():
            _write_aside(path, json.dumps(settings, indent=2, sort_keys=True) + "\n")
            return
        begun = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(key for key in {*begun, *settings} if begun.get(key) != settings.get(key))
        if changed and replace:
            _emptied(folder)
            _write_aside(path, json.dumps(settings, indent=2, sort_keys=True) + "\n")
        elif changed:
            raise UserError(
                f"{folder} holds layers of an interrupted pass with another {', '.join(changed)}",
                remedy=f"run with the settings in {path}, or delete the folder",
            )

    def has(self, number: int) -> bool:
        """Whether layer `number` is finished."""
        return self._path(number).exists()

    def get(self, number: int) -> dict[str, torch.Tensor] | None:
        """The tensors of layer `number` by full name, or None where it is not finished."""
        from safetensors.torch import load_file

        return load_file(self._path(number)) if self.has(number) else None

    def put(self, number: int, tensors: Mapping[str, torch.Tensor], errors: Iterable[ModuleError]) -> None:
        """Keep a finished layer: its tensors by full name, and the error of each module."""
        metadata = {"errors": json.dumps([error.model_dump() for error in errors])}
        _save_aside(self._path(number), tensors, metadata)

    def errors(self, number: int) -> tuple[ModuleError, ...]:
        """The error of each module of a finished layer."""
        from safetensors import safe_open

        with safe_open(self._path(number), framework="pt") as file:
            return tuple(ModuleError.model_validate(error) for error in json.loads(file.metadata()["errors"]))

    def _path(self, number: int) -> Path:
        return self._folder / f"layer-{number:05}.safetensors"


class FisherStore:
    """A folder with what the loss says of each layer on the way back, for a pass that goes forwards afterwards.

    Files are written aside and renamed, so a file that is there is whole.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def has_all(self, layers: int) -> bool:
        """Whether each of so many layers was put."""
        return all(self._path(number).exists() for number in range(layers))

    def put(self, observed: ObservedLayer) -> None:
        """Keep the weights of a layer's tokens, and the curvature at its modules' outputs."""
        import torch

        kept = {f"weights.{name}": torch.cat([batch[name].cpu() for batch in observed.weights]) for name in observed.weights[0]}
        for fed in observed.statistics:
            kept |= {f"curvature.{name}": curvature for name, curvature in fed.curvature.items()}
        _save_aside(self._path(observed.number), kept)

    def weights(self, number: int) -> dict[str, torch.Tensor]:
        """The weights of all tokens, float32 [tokens], by the first module that reads an input."""
        return self._get(number, "weights.")

    def curvature(self, number: int) -> dict[str, torch.Tensor]:
        """Each module's curvature."""
        return self._get(number, "curvature.")

    def _get(self, number: int, prefix: str) -> dict[str, torch.Tensor]:
        from safetensors import safe_open

        with safe_open(self._path(number), framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - no mapping
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05}.safetensors"


def kept_data(
    folder: Path, settings: Mapping[str, Any], make: Callable[[], CalibrationData], *, shared: bool = False
) -> CalibrationData:
    """What `make` returns, kept in `folder` for those who ask again with the same `settings`.

    A `shared` folder holds the data of many settings, and who asks while another process makes data there waits. Raises
    UserError where another process is at work in a folder that is not shared.
    """
    from safetensors import safe_open

    from whichbits.quantization.calibration.data import CalibrationData

    asked = json.dumps(settings, sort_keys=True)
    name = f"calibration-{sha256(asked.encode()).hexdigest()[:16]}" if shared else "calibration"
    path = folder / f"{name}.safetensors"
    with _locked(folder, wait=shared):
        if path.exists():
            with safe_open(path, framework="pt") as file:
                kept = file.metadata()
                if kept["settings"] == asked:
                    return CalibrationData(file.get_tensor("tokens"), kept["fingerprint"], tuple(json.loads(kept["warnings"])))
        try:
            data = make()
        except BaseException:
            if not shared and [each.name for each in folder.iterdir()] == [LOCK]:
                shutil.rmtree(folder)  # nothing was begun
            raise
        metadata = {"settings": asked, "fingerprint": data.fingerprint, "warnings": json.dumps(data.warnings)}
        _save_aside(path, {"tokens": data.tokens}, metadata)
    return data


def drop_states(folder: Path) -> None:
    """Remove the hidden states that a killed pass has left in `folder`, those of its other ranks too."""
    for left in (*folder.glob("tmp*/"), *folder.parent.glob(f"{folder.name}-rank-*/")):
        shutil.rmtree(left)


@contextmanager
def scratch_of(folder: Path, ranks: Ranks) -> Iterator[Path]:
    """Where a rank keeps hidden states: the first in `folder`, another beside it, on its own disk or on one that all share."""
    if ranks.first:
        yield folder
        return
    own = folder.with_name(f"{folder.name}-rank-{ranks.rank}")
    if own.exists():
        shutil.rmtree(own)  # a killed pass has left it on a machine where the first does not see it
    own.mkdir(parents=True)
    try:
        yield own
    finally:
        shutil.rmtree(own)


def unfinished(out: Path) -> Path:
    """Folder of the finished layers of a checkpoint `out` that is not complete."""
    return out.with_name(f".{out.name}.layers")


def _locked(folder: Path, *, wait: bool = False) -> IO[str]:
    """Makes the folder, and keeps other processes from working in it until what is returned is closed, or this one ends.

    Where another is at work there, it waits, or raises UserError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / LOCK).open("w", encoding="utf-8")
    try:
        # Of the process, not of the file handle: what an exception in the same process has left open does not stand in the way.
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError) as error:
        file.close()
        raise UserError(
            f"{folder} is in use: another run makes the same checkpoint", remedy="wait for it to end, or choose another folder"
        ) from error
    return file


def _save_aside(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    from safetensors.torch import save_file

    aside = path.with_suffix(".aside")
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, aside, metadata=metadata)
    aside.rename(path)


def _emptied(folder: Path) -> None:
    """Remove all that is kept in `folder`, which is this process's."""
    for each in folder.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        elif each.name != LOCK:
            each.unlink()


def _write_aside(path: Path, text: str) -> None:
    aside = path.with_suffix(".aside")
    aside.write_text(text, encoding="utf-8")
    aside.rename(path)
