"""The remedies of `whichbits.formats`, followed."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from whichbits.core.regex import found
from whichbits.formats import mixed
from whichbits.formats.catalogue import get, load
from whichbits.formats.checkpoint.codes import Layout, weights_of_codes
from whichbits.formats.checkpoint.files import INDEX, SINGLE, Stored, read_header, shard_files, stored_tensors
from whichbits.formats.checkpoint.recognize import recognize
from whichbits.formats.format import fit, quantization_config
from whichbits.formats.mixed import choose, mix

MODULES = [f"model.layers.0.{name}_proj" for name in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.down")]


def shard(path: Path, names: Sequence[str] = ("a", "b")) -> Path:
    """A safetensors file of two float32 numbers for each name."""
    header = {name: entry("F32", (2,), 8 * place) for place, name in enumerate(names)}
    return written(path, header, 8 * len(names))


def entry(dtype: str, shape: tuple[int, ...], begin: int, size: int = 8) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": (begin, begin + size)}


def written(path: Path, header: Mapping[str, Any], size: int) -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
    return path


def index(folder: Path, weight_map: Mapping[str, str]) -> None:
    (folder / INDEX).write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize(
    ("error", "spoil"),
    [
        ("is truncated: its header does not fit", lambda content: content[:20]),
        ("is not a safetensors file: its header is not JSON", lambda content: content[:8] + b"?" + content[9:]),
        ("is {kind}: {size} bytes where its header says", lambda content: content[:-1]),
        ("is {kind}: {size} bytes where its header says", lambda content: content + b"0"),
    ],
)
def test_a_damaged_shard(follow: Any, tmp_path: Path, error: str, spoil: Any) -> None:
    """Downloaded again it is whole."""
    path = tmp_path / SINGLE

    def damaged() -> object:
        content = shard(path).read_bytes()
        path.write_bytes(spoil(content))
        return stored_tensors(tmp_path)

    def again() -> None:
        shard(path)
        assert list(stored_tensors(tmp_path)) == ["a", "b"]

    follow(error, mistake=damaged, remedy=again)


def test_tensors_with_a_gap(follow: Any, tmp_path: Path) -> None:
    header = {"a": entry("F32", (2,), 0), "b": entry("F32", (2,), 12)}
    follow(
        "does not begin where the one before it ends",
        mistake=lambda: read_header(written(tmp_path / SINGLE, header, 20)),
        remedy=lambda: read_header(shard(tmp_path / SINGLE)),
    )


def test_a_shard_that_lacks(follow: Any, tmp_path: Path) -> None:
    shard(tmp_path / "one.safetensors", ["a"])
    index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    follow(
        "lacks the shard {missing}",
        mistake=lambda: shard_files(tmp_path),
        remedy=lambda: (shard(tmp_path / "two.safetensors", ["b"]), stored_tensors(tmp_path)),
    )


@pytest.mark.parametrize("moved", [SINGLE, INDEX])
def test_two_sets_of_weights(follow: Any, tmp_path: Path, moved: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shard(tmp_path / SINGLE)
    shard(tmp_path / "one.safetensors")
    index(tmp_path, {"a": "one.safetensors", "b": "one.safetensors"})

    def move() -> None:
        for name in [SINGLE] if moved == SINGLE else [INDEX, "one.safetensors"]:
            (tmp_path / name).rename(other / name)
        assert len(stored_tensors(tmp_path)) == 2

    follow("holds two sets of weights", mistake=lambda: shard_files(tmp_path), remedy=move)


def test_no_safetensors(follow: Any, tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    follow(
        "holds no *.safetensors file",
        mistake=lambda: shard_files(tmp_path),
        remedy=lambda: (shard(tmp_path / SINGLE), stored_tensors(tmp_path)),  # what save_pretrained writes
    )


def test_a_tensor_in_two_files(follow: Any, tmp_path: Path) -> None:
    shard(tmp_path / "one.safetensors", ["a"])
    shard(tmp_path / "two.safetensors", ["a", "b"])
    follow(
        "{folder}: the tensor {name} is in {name} and in {name}",
        mistake=lambda: stored_tensors(tmp_path),
        remedy=lambda: (shard(tmp_path / "two.safetensors", ["b"]), stored_tensors(tmp_path)),
    )


def test_a_tensor_in_no_file(follow: Any, tmp_path: Path) -> None:
    shard(tmp_path / "one.safetensors", ["a"])
    index(tmp_path, {"a": "one.safetensors", "b": "one.safetensors"})
    follow(
        "no shard holds the tensor {lost}",
        mistake=lambda: stored_tensors(tmp_path),
        remedy=lambda: (shard(tmp_path / "one.safetensors"), stored_tensors(tmp_path)),
    )


def test_an_index_that_is_none(follow: Any, tmp_path: Path) -> None:
    shard(tmp_path / "one.safetensors", ["a"])
    (tmp_path / INDEX).write_text("<html>")
    follow(
        "is not an index of safetensors shards",
        mistake=lambda: shard_files(tmp_path),
        remedy=lambda: (index(tmp_path, {"a": "one.safetensors"}), stored_tensors(tmp_path)),
    )


def test_a_format_that_is_not_known(follow: Any) -> None:
    for name, near in (("int-4", "w4a16-int"), ("w8a8-fp+kv-fp4", "w8a8-fp+kv-fp8"), ("w3a3+kv", None), ("marlin", None)):
        raised = follow("format {spelled} is not known", mistake=partial(get, name), remedy=partial(get, near or "fp8"))
        hint, _, rest = raised.remedy.rpartition("choose one of ")
        assert near in hint if near else not hint
        listed, _, caches = rest.partition("; ")
        for each in listed.split(", "):
            get(each)
        for cache in caches.split("add ")[1].split(" or "):
            get(f"w8a8-fp{cache}")


def test_a_group_size_where_there_is_none(follow: Any) -> None:
    follow(
        "has no group size to choose",
        mistake=lambda: fit(get("w8a8-int"), [(64, 64)], group_size=32),
        remedy=lambda: fit(get("w8a8-int"), [(64, 64)]),
    )


def test_blocks_that_do_not_divide(follow: Any) -> None:
    follow(
        "and engines take whole blocks alone",
        mistake=lambda: fit(get("fp8-block"), [(64, 100)]),
        remedy=lambda: fit(get("w8a8-fp"), [(64, 100)]),
    )


def test_groups_that_do_not_divide(follow: Any) -> None:
    for name in ("w4a16-int-channel", "w8a8-int"):
        follow(
            "that divides the widths",
            mistake=lambda: fit(get("w4a16-int"), [(64, 100)]),
            remedy=partial(fit, get(name), [(64, 100)]),
        )


def test_a_group_size_that_is_not_the_format_s(follow: Any) -> None:
    raised = follow(
        "that divides the widths",
        mistake=lambda: fit(get("w4a16-int"), [(64, 256)], group_size=48),
        remedy=lambda: fit(get("w4a16-int"), [(64, 256)], group_size=128),
    )
    assert raised.remedy == "choose group_size 128 or 64 or 32, or leave it out"


def test_a_pattern_that_is_none(follow: Any) -> None:
    follow(
        "layers: {pattern} is no regular expression",
        mistake=lambda: choose("w8a8-int", [("re:(model", "bf16")], MODULES),
        remedy=lambda: choose("w8a8-int", [("re:(model)", "bf16")], MODULES),
    )


def test_a_pattern_that_takes_long(follow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed, "found", partial(found, seconds=0.2))
    names = ["a" * 40 + "b"]
    follow(
        "layers: {error} on the names of",
        mistake=lambda: choose("w8a8-int", [("re:(a+)+$", "bf16"), ("re:.*", "bf16")], names),
        remedy=lambda: choose("w8a8-int", [("re:a+", "bf16"), ("re:.*", "bf16")], names),
    )


def test_a_pattern_that_means_nothing(follow: Any) -> None:
    def choosing(pattern: str) -> dict[str, str]:
        return choose("w8a8-int", [(pattern, "bf16")], MODULES)

    for pattern in (MODULES[3], r"re:.*\.down_proj"):
        raised = follow(
            "means none of the model's linear layers", mistake=lambda: choosing("down_proj"), remedy=partial(choosing, pattern)
        )
    choosing(raised.remedy.split(", ")[1].removeprefix("such as ").split(" ")[0].replace(".q_proj", ".o_proj"))


def test_two_formats_in_one_matrix(follow: Any) -> None:
    follow(
        "and engines put them into one matrix",
        mistake=lambda: choose("w8a8-int", [(MODULES[0], "bf16")], MODULES),
        remedy=lambda: choose("w8a8-int", [(r"re:.*\.[qkv]_proj", "bf16")], MODULES),
    )


def test_no_module_left(follow: Any) -> None:
    formats, shapes = load(), dict.fromkeys(MODULES, (64, 64))

    def mixing(own: str) -> object:
        return mix(formats[own], formats, choose(own, [("re:.*", "w8a8-fp")], MODULES), shapes, None)

    follow("layers: no module is left for", mistake=lambda: mixing("w8a8-int"), remedy=lambda: mixing("w8a8-fp"))


def test_a_key_that_is_no_longer_read(follow: Any) -> None:
    stated = quantization_config(get("w8a8-int"), ["lm_head"])
    follow(
        "under compression_config",
        mistake=lambda: recognize({"compression_config": stated}),
        remedy=lambda: recognize({"quantization_config": stated}),
    )


def test_quantization_that_is_no_object(follow: Any) -> None:
    stated = quantization_config(get("w8a8-int"), ["lm_head"])
    follow(
        "quantization_config in config.json is not a JSON object",
        mistake=lambda: recognize({"quantization_config": "int8"}),
        remedy=lambda: recognize({"quantization_config": stated}),
    )


@pytest.mark.parametrize(
    "chosen",
    [
        {"quant_method": "gptq", "bits": 4, "group_size": 128},
        {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"},
        {"quant_method": "fp8"},
        quantization_config(get("w8a8-fp"), ["lm_head"]),
    ],
)
@pytest.mark.parametrize("stated", [{"quant_method": "bitsandbytes"}, {"quant_method": "gptq", "bits": 3}])
def test_quantization_that_is_not_known(follow: Any, stated: dict[str, Any], chosen: dict[str, Any]) -> None:
    follow(
        "is none of the catalogue's formats",
        mistake=lambda: recognize({"quantization_config": stated}),
        remedy=lambda: recognize({"quantization_config": chosen}),
    )


def test_codes_without_scales(follow: Any) -> None:
    codes = {"m.weight": Stored("I8", (4, 8), 32, Path(SINGLE))}
    scales = {"m.weight_scale": Stored("BF16", (4, 1), 8, Path(SINGLE))}
    layout = Layout(8, beside=("weight_scale",))
    follow(
        "the quantized checkpoint is damaged",
        mistake=lambda: weights_of_codes(codes, layout),
        remedy=lambda: weights_of_codes(codes | scales, layout),
    )


def quantized(folder: Path, format: str, *, parts: bool = False) -> Path:
    """A checkpoint with one linear layer of 4 x 64."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    folder.mkdir()
    stated = quantization_config(get(format), ["lm_head"])
    if parts:
        stated["config_groups"]["group_1"] = stated["config_groups"]["group_0"]
    (folder / "config.json").write_text(json.dumps({"quantization_config": stated}))
    module = "model.layers.0.self_attn.q_proj"
    tensors = {f"{module}.weight": torch.ones(4, 64, dtype=torch.int8), f"{module}.weight_scale": torch.ones(4, 1)}
    save_file(tensors, folder / SINGLE)
    return folder


def test_exports_for_ascend(follow: Any, tmp_path: Path) -> None:
    checkpoint = quantized(tmp_path / "checkpoint", "w8a8-int")
    from whichbits.formats.export.ascend import QUANT_TYPES, check_exportable, converted, export_ascend

    raised = follow(
        "has no layout for vLLM on Ascend",
        mistake=lambda: export_ascend(checkpoint, "w8a8-fp", tmp_path / "out"),
        remedy=lambda: export_ascend(checkpoint, "w8a8-int", tmp_path / "out"),
    )
    assert raised.remedy == f"choose one of {', '.join(QUANT_TYPES)}"
    for format in QUANT_TYPES:
        check_exportable(format)
    follow(
        "{out} exists already",
        mistake=lambda: export_ascend(checkpoint, "w8a8-int", tmp_path / "out"),
        remedy=lambda: export_ascend(checkpoint, "w8a8-int", tmp_path / "another"),
    )
    several = quantized(tmp_path / "several", "w8a8-int", parts=True)
    follow(
        "has several formats in one checkpoint",
        mistake=lambda: export_ascend(several, "w8a8-int", tmp_path / "of-several"),
        remedy=lambda: export_ascend(checkpoint, "w8a8-int", tmp_path / "of-several"),
    )
    import torch

    codes, scale = torch.ones(3, 8, dtype=torch.int8), torch.ones(3, 1)
    follow(
        "cannot be packed two rows to a byte",
        mistake=lambda: converted("m.up_proj", codes, scale, QUANT_TYPES["w4a8-int"]),
        remedy=lambda: converted("m.up_proj", codes, scale, QUANT_TYPES["w8a8-int"]),
    )
