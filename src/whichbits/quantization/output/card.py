"""The model card of a checkpoint: README.md as the hub shows it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

import yaml

from whichbits.quantization.output.manifest import Manifest

FILE = "README.md"


def card(manifest: Manifest, base: str, measured: Sequence[Mapping[str, str]] = (), *, serve: str | None = None) -> str:
    """Markdown: what the checkpoint is, how it was made, how to run it, and what it keeps of its base.

    `base` is what its user called the base model. `measured` are the rows of a table, all with the same columns; without them
    the card says that nothing was measured, and how to do so. `serve` is the command that serves the checkpoint where it lies.
    """
    format = manifest.format
    name = base.rstrip("/").rsplit("/", 1)[-1]
    head = {"base_model": base, "tags": ["compressed-tensors", "vllm", "whichbits", format.name]}
    recipe = yaml.safe_dump(manifest.recipe.model_dump(mode="json"), sort_keys=False, width=100).rstrip()
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False).rstrip()}\n---",
        f"# {name}, {format.title}",
        f"{base} in the format {format.name}: {format.purpose} {manifest.bytes / 1e9:.2f} GB; the {manifest.weights:,} weights "
        f"of the decoder's linear layers take {manifest.bits_per_weight:.2f} bits each with their scales, all others 16.",
        "## How it was made",
        _fenced(recipe, "yaml"),
        "With this in `recipe.yaml` (it is beside this card):",
        _fenced(f"whichbits quantize {shlex.quote(base)} --format {format.name} --out DIR --recipe recipe.yaml", "bash"),
        _calibrated(manifest),
        _gptq_vs_rtn(manifest),
        "SHA-256 of the base's files, of the code and of the files here, and all versions: `manifest.json`.",
        "## Run it",
        _fenced(serve or "vllm serve DIR", "bash"),
        "\n".join(manifest.loading),
        "## What it keeps of the base",
        _table(measured) if measured else _unmeasured(base, format.name),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _calibrated(manifest: Manifest) -> str:
    used = manifest.calibration
    if used is None:
        return ""
    warned = "".join(f"\n- {warning}" for warning in used.warnings)
    text = f"Calibrated on {used.tokens:,} tokens (SHA-256 of their ids: `{used.fingerprint}`)."
    return text + (f" What looked wrong with them:\n{warned}" if warned else "")


def _gptq_vs_rtn(manifest: Manifest) -> str:
    found = manifest.gptq_vs_rtn
    if found is None:
        return ""
    text = (
        f"On these tokens the rounding's error of the linear layers' outputs is {found.ratio:.3f} times that of rounding to "
        "nearest on the same grid, in sum; "
    )
    if not found.worse:
        return text + "it is larger for no module."
    return (
        text + "it is larger for\n\n" + "\n".join(f"- `{module}`: {ratio:.3f} times" for module, ratio in found.worse.items())
    )


def _unmeasured(base: str, format: str) -> str:
    model = yaml.safe_dump({"model": base}, width=1000).rstrip()
    study = f"version: 1\nname: recovery\n{model}\ncandidates: [{{format: {format}, recipe: recipe.yaml}}]\ntasks: [...]"
    return (
        "Not measured. `whichbits study` measures it, and leaves a card with the result in the folder `cards` of its store:\n\n"
        + _fenced(study, "yaml")
    )


def _table(rows: Sequence[Mapping[str, str]]) -> str:
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _fenced(text: str, language: str) -> str:
    return f"```{language}\n{text}\n```"
