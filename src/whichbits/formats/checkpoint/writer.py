"""Tensors into safetensors shards, one after another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.formats.checkpoint.names import in_language_model

if TYPE_CHECKING:
    import torch

HELD_BYTES = 2**24
"""What is held in memory at once; it goes to disk before a shard is full, and is mapped from there."""


class ShardWriter:
    """Writes a checkpoint's tensors into `folder`, holding little of a shard in memory.

    `model.safetensors` where all fit into `shard_bytes`, else numbered shards and their index; `stem` in place of `model`.
    `prefix` goes before the names of the language model (`model.`, `lm_head.`).
    """

    def __init__(self, folder: Path, *, shard_bytes: int, stem: str = "model", prefix: str = "") -> None:
        self._folder = folder
        self._stem = stem
        self._prefix = prefix
        self._shard_bytes = shard_bytes
        self._held: dict[str, torch.Tensor] = {}
        self._mapped: dict[str, torch.Tensor] = {}
        self._aside: list[Path] = []
        self._pending_bytes = 0
        self._shards: list[list[str]] = []
        self._total_bytes = 0

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Take one tensor; writes a shard once it is full."""
        if in_language_model(name):
            name = self._prefix + name
        if self._pending_bytes and self._pending_bytes + tensor.nbytes > self._shard_bytes:
            self._flush()
        self._held[name] = tensor
        self._pending_bytes += tensor.nbytes
        self._total_bytes += tensor.nbytes
        if sum(held.nbytes for held in self._held.values()) > HELD_BYTES:
            self._put_aside()

    def finish(self) -> list[Path]:
        """Write what is left, name the shards, write the index where there are several; returns the shards."""
        self._flush()
        count = len(self._shards)
        if count == 1:
            return [self._part(0).rename(self._folder / f"{self._stem}.safetensors")]
        names = [f"{self._stem}-{number:05}-of-{count:05}.safetensors" for number in range(1, count + 1)]
        paths = [self._part(number).rename(self._folder / name) for number, name in enumerate(names)]
        weight_map = {tensor: name for name, tensors in zip(names, self._shards, strict=True) for tensor in tensors}
        index = {"metadata": {"total_size": self._total_bytes}, "weight_map": dict(sorted(weight_map.items()))}
        (self._folder / f"{self._stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        return paths

    def _part(self, number: int) -> Path:
        return self._folder / f"part-{number:05}.safetensors"

    def _put_aside(self) -> None:
        from safetensors.torch import load_file, save_file

        path = self._part(len(self._shards)).with_suffix(f".{len(self._aside)}")
        save_file(self._held, path)
        self._aside.append(path)
        self._mapped |= load_file(path)
        self._held = {}

    def _flush(self) -> None:
        from safetensors.torch import save_file

        path = self._part(len(self._shards))
        pending = self._mapped | self._held
        save_file(pending, path, metadata={"format": "pt"})
        path.chmod(0o644)
        self._shards.append(list(pending))
        for aside in self._aside:
            aside.unlink()
        self._held, self._mapped, self._aside, self._pending_bytes = {}, {}, [], 0
