"""Checkpoints for command and study: those that can share a calibrated pass are made in one, the others one after another."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path

from whichbits.quantization.model.ranks import ALONE, Ranks
from whichbits.quantization.output.folder import disk_full_as_user_error
from whichbits.quantization.output.manifest import Manifest, ModuleError
from whichbits.quantization.passes.calibrated import Target, quantize_calibrated
from whichbits.quantization.passes.direct import quantize_checkpoint
from whichbits.quantization.passes.fitting import Progress

Made = tuple[Manifest, tuple[ModuleError, ...]]

TEXT = "calibration text"
"""What the part of the work is called in which the model generates the text that it is calibrated on; it counts tokens."""

LAYERS = "layers for the loss"
"""What the part is called in which layers are run forward and back, to ask the loss about them; it counts each twice."""


def passes(targets: Iterable[Target]) -> list[list[Target]]:
    """The targets by the pass that can make them: those calibrated on the same tokens together, each of the others alone.

    Formats of one pass have to leave the same modules in 16 bit, which those with the same `layers` in their recipes do.
    """
    groups: dict[Hashable, list[Target]] = {}
    for target in targets:
        recipe = target.recipe
        same = (recipe.calibration, recipe.seed, recipe.layers) if target.calibrated else target.out
        groups.setdefault(same, []).append(target)
    return list(groups.values())


def make(
    base: Path,
    targets: Sequence[Target],
    *,
    base_files: Mapping[str, str],
    start: Callable[[str], Progress],
    texts: Path | None = None,
    device: str | None = None,
    ranks: Ranks = ALONE,
    trust_remote_code: bool = False,
) -> list[Made]:
    """Write the checkpoints of one of the `passes`; the manifest and errors of each.

    `start(what)` returns what is told how far a part of the work is; arguments otherwise as `quantize_calibrated`. Raises
    UserError as that and `quantize_checkpoint` do, and where the disk is full. Of several `ranks` the first alone makes what
    needs no data, and returns something.
    """
    if not targets[0].calibrated:
        if not ranks.first:
            return []
        (target,) = targets
        progress = start(target.format.name)
        return [
            quantize_checkpoint(
                base,
                target.format,
                target.recipe,
                target.out,
                base_files=base_files,
                on_progress=progress,
                device=device,
                trust_remote_code=trust_remote_code,
            )
        ]
    with disk_full_as_user_error(targets[0].out.parent):
        return quantize_calibrated(
            base,
            targets,
            base_files=base_files,
            on_token=start(TEXT),
            on_layer=start(LAYERS),
            on_progress=start("modules"),
            texts=texts,
            device=device,
            ranks=ranks,
            trust_remote_code=trust_remote_code,
        )
