"""What is run: each row a tool, the formats that it makes, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Tool = Literal["whichbits", "llm-compressor", "auto-round", "gptqmodel"]


@dataclass(frozen=True)
class Run:
    """One process that makes checkpoints.

    `formats` are those of whichbits' catalogue, several where one pass makes them. `recipe` is the name of a recipe of another
    tool's script, or the fields of one of whichbits'. `rivals` names by format the run whose figures this one's are divided by.
    """

    name: str
    tool: Tool
    formats: tuple[str, ...]
    recipe: str | Mapping[str, Any] = field(hash=False)
    what: str
    rivals: Mapping[str, str] = field(default_factory=dict, hash=False)
    group_size: int | None = None


def _theirs(recipe: str, format: str, what: str, *, grouped: bool = False, rival: str | None = None) -> Run:
    rivals = {format: rival} if rival else {}
    return Run(f"llm-compressor-{recipe}", "llm-compressor", (format,), recipe, what, rivals, 64 if grouped else None)


W4A16 = "llm-compressor-w4a16-gptq-mse"
W4A16_ROTATED = "llm-compressor-w4a16-spinquant-gptq-mse"
W8A8 = "llm-compressor-w8a8-int-smoothquant-gptq-mse"
W8A8_ROTATED = "llm-compressor-w8a8-int-spinquant-gptq-mse"
W4A8 = "llm-compressor-w4a8-int-gptq-mse"
W4A8_ROTATED = "llm-compressor-w4a8-int-spinquant-gptq-mse"
FP8 = "llm-compressor-w8a8-fp-rtn"
NVFP4 = "llm-compressor-nvfp4a16-rtn"

THEIRS = (
    _theirs("w4a16-rtn", "w4a16-int", "round to nearest", grouped=True, rival=W4A16),
    _theirs("w4a16-gptq", "w4a16-int", "GPTQ", grouped=True, rival=W4A16),
    _theirs("w4a16-gptq-mse", "w4a16-int", "GPTQ, mse observer", grouped=True),
    _theirs("w4a16-spinquant-gptq-mse", "w4a16-int", "SpinQuant R1 R2, GPTQ, mse observer", grouped=True),
    _theirs("w8a8-int-smoothquant-gptq-mse", "w8a8-int", "SmoothQuant 0.8, three mappings, GPTQ, mse observer"),
    _theirs("w8a8-int-smoothquant-default-gptq-mse", "w8a8-int",
            "SmoothQuant 0.8, its default mappings, GPTQ, mse observer", rival=W8A8),
    _theirs("w8a8-int-spinquant-gptq-mse", "w8a8-int", "SpinQuant R1 R2, GPTQ, mse observer"),
    _theirs("w4a8-int-gptq-mse", "w4a8-int", "GPTQ, mse observer", grouped=True),
    _theirs("w4a8-int-spinquant-gptq-mse", "w4a8-int", "SpinQuant R1 R2, GPTQ, mse observer", grouped=True),
    _theirs("w8a8-fp-rtn", "w8a8-fp", "round to nearest"),
    _theirs("nvfp4a16-rtn", "nvfp4a16", "round to nearest"),
)  # fmt: skip

RIVALS = {
    "w4a16-int": (W4A16, W4A16_ROTATED),
    "w8a8-int": (W8A8, W8A8_ROTATED),
    "w4a8-int": (W4A8, W4A8_ROTATED),
    "w8a8-fp": (FP8, FP8),
    "nvfp4a16": (NVFP4, NVFP4),
}
"""What a format is measured against: plain, and rotated."""

ALL = (
    "w8a8-fp", "w8a8-fp-static", "w8a8-int", "w8a8-int-static", "w4a16-int", "w4a16-int-asym", "w4a16-int-channel", "w4a8-int",
    "w4a8-fp", "nvfp4", "nvfp4a16", "mxfp4", "mxfp8",
)  # fmt: skip
"""The catalogue, without the blocks of 128, which the widths of a small model do not fill."""


def _ours(format: str, effort: str, *, rotated: bool = False) -> Run:
    recipe = {"effort": effort, "group_size": 64} | ({"rotation": True} if rotated else {})
    name = f"whichbits-{format}{'-rotated' if rotated else ''}-{effort}"
    return Run(
        name, "whichbits", (format,), recipe, f"{effort}{', rotated' if rotated else ''}", {format: RIVALS[format][rotated]}
    )


OURS = (
    Run("whichbits-w4a16-int-rtn", "whichbits", ("w4a16-int",), {"group_size": 64}, "round to nearest", {"w4a16-int": W4A16}),
    *(_ours(format, effort) for effort in ("fast", "balanced", "best") for format in RIVALS),
    *(
        _ours(format, effort, rotated=True)
        for effort in ("balanced", "best")
        for format in ("w4a16-int", "w8a8-int", "w4a8-int")
    ),
    Run(
        "whichbits-all-fast", "whichbits", ALL, {"effort": "fast", "group_size": 64}, "fast, one pass",
        {format: rivals[0] for format, rivals in RIVALS.items()} | {"w4a16-int": W4A16},
    ),
)  # fmt: skip

OTHERS = (
    Run("auto-round-w4a16-0", "auto-round", ("w4a16-int",), "0", "no iterations", {"w4a16-int": W4A16}, 64),
    Run("auto-round-w4a16-50", "auto-round", ("w4a16-int",), "50", "50 iterations", {"w4a16-int": W4A16}, 64),
    Run("auto-round-w4a16-200", "auto-round", ("w4a16-int",), "200", "200 iterations", {"w4a16-int": W4A16}, 64),
    Run("gptqmodel-w4a16-gptq", "gptqmodel", ("w4a16-int",), "gptq", "GPTQ", {"w4a16-int": W4A16}, 64),
    Run("gptqmodel-w4a16-gptq-mse", "gptqmodel", ("w4a16-int",), "gptq-mse", "GPTQ, mse 2.4", {"w4a16-int": W4A16}, 64),
)

RUNS: tuple[Run, ...] = (*THEIRS, *OTHERS, *OURS)


def named(name: str) -> Run:
    """A run by its name."""
    return next(run for run in RUNS if run.name == name)
