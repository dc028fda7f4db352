"""Ready checkpoints: what is stored against what config.json declares, of what whichbits writes and of other tools' layouts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.models.loading import where_it_loads  # noqa: E402
from whichbits.models.resolve import resolve  # noqa: E402
from whichbits.quantization.passes.direct import quantize_checkpoint  # noqa: E402
from whichbits.quantization.recipe.recipe import Calibration, Recipe  # noqa: E402

Make = Callable[..., Path]
WIDE = {"hidden_size": 128, "intermediate_size": 256, "head_dim": 64, "num_attention_heads": 2, "num_key_value_heads": 2}
UP = "model.layers.1.mlp.up_proj"
RECIPE = Recipe(scales="minmax", calibration=Calibration(source="random", samples=1, length=16))


@pytest.fixture(scope="module")
def base(make: Make) -> Path:
    return make(**WIDE)


@pytest.fixture(scope="module")
def mixture(make: Make) -> Path:
    return make("Mixtral", **WIDE, num_local_experts=4)


def made(base: Path, name: str, out: Path) -> Path:
    quantize_checkpoint(base, get(name), RECIPE, out)
    return out


@pytest.mark.parametrize(
    "name",
    ["w8a8-int", "w8a8-fp", "w4a16-int", "w4a16-int-asym", "w4a16-int-channel", "w4a8-int", "w4a8-int-packed", "fp8-block",
     "w8a8-fp-static", "nvfp4", "mxfp8", "w4a16-int+kv-fp8"],
)  # fmt: skip
def test_what_whichbits_writes_is_its_models(name: str, base: Path, tmp_path: Path) -> None:
    plain, found = (resolve(str(folder), cache=tmp_path) for folder in (base, made(base, name, tmp_path / "out")))
    assert (found.format.name, found.dtype, dict(found.shapes)) == (name, "bfloat16", dict(plain.shapes))
    assert found.bytes < plain.bytes


@pytest.mark.parametrize("name", ["w8a8-int", "w8a8-fp", "w4a16-int"])
def test_a_quantized_mixture_is_its_models(name: str, mixture: Path, tmp_path: Path) -> None:
    found = resolve(str(made(mixture, name, tmp_path / "out")), cache=tmp_path)
    assert (found.format.name, found.configuration.experts) == (name, 4)


def test_packed_experts_state_their_shapes(mixture: Path, tmp_path: Path) -> None:
    folder = made(mixture, "w4a16-int", tmp_path / "out")
    expert = "model.layers.1.block_sparse_moe.experts.2.w1.weight_shape"

    def edit(tensors: dict[str, Any]) -> None:
        tensors[next(name for name in tensors if name.endswith("experts.2.w1.weight_shape") or name == expert)].fill_(7)

    with pytest.raises(UserError, match=r"experts\.2\..*weight_shape states \[7, 7\]"):
        resolve(str(damaged(folder, edit)), cache=tmp_path)


def damaged(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    file = folder / "model.safetensors"
    tensors = safetensors.load_file(file)
    edit(tensors)
    safetensors.save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, file)
    return folder


@pytest.mark.parametrize(
    ("name", "edit", "message"),
    [
        ("w8a8-fp", lambda t: t.pop(f"{UP}.weight_scale"), "up_proj lacks weight_scale"),
        ("w8a8-fp", lambda t: t.pop(f"{UP}.weight"), "up_proj.weight_scale has no codes"),
        ("w8a8-fp", lambda t: [t.pop(f"{UP}.weight"), t.pop(f"{UP}.weight_scale")], "lacks model.layers.1.mlp.up_proj.weight"),
        ("w8a8-fp", lambda t: t[f"{UP}.weight_scale"][0].fill_(float("nan")), "weight_scale are not finite"),
        ("w8a8-fp", lambda t: t[f"{UP}.weight"].view(torch.uint8)[0, 0].fill_(0x7F), "1 numbers of .*up_proj.weight are not"),
        ("w8a8-int", lambda t: t.update({f"{UP}.weight": t[f"{UP}.weight"].t()}), "up_proj.weight has the shape"),
        ("w8a8-int", lambda t: t[f"{UP}.weight"].zero_(), "up_proj.weight are zero"),
        ("w8a8-int", lambda t: t.update({f"{UP}.weight": t[f"{UP}.weight"].bfloat16()}), "up_proj is stored in 16 bit"),
        ("w8a8-int", lambda t: t.update({"lm_head.weight": t["lm_head.weight"].to(torch.int8)}), "lm_head"),
        ("w4a16-int", lambda t: t.update({f"{UP}.weight_packed": t[f"{UP}.weight_packed"][:, :8]}), "has the shape 256 x 64"),
        ("w4a16-int-asym", lambda t: t.pop(f"{UP}.weight_zero_point"), "lacks weight_zero_point"),
        ("w8a8-fp-static", lambda t: t.pop(f"{UP}.input_scale"), "lacks input_scale"),
        ("nvfp4", lambda t: t.pop(f"{UP}.weight_global_scale"), "lacks weight_global_scale"),
        ("w4a16-int", lambda t: t.pop(f"{UP}.weight_shape"), "lacks weight_shape"),
        (
            "w4a16-int",
            lambda t: t.update({f"{UP}.weight_shape": torch.tensor([1, 1])}),
            r"states \[1, 1\], .* shape \[256, 128\]",
        ),
        ("w4a16-int", lambda t: t[f"{UP}.weight_shape"].copy_(t[f"{UP}.weight_shape"].flip(0)), r"states \[128, 256\]"),
        ("w4a16-int", lambda t: t.update({f"{UP}.weight_shape": torch.tensor([256])}), r"states \[256\]"),
        ("w4a16-int-asym", lambda t: t[f"{UP}.weight_shape"].copy_(torch.tensor([256, 121])), r"states \[256, 121\]"),
        ("w4a8-int-packed", lambda t: t[f"{UP}.weight_shape"].zero_(), r"states \[0, 0\]"),
        ("w8a8-int", lambda t: t.update({f"{UP}.weight": t[f"{UP}.weight"].to(torch.float8_e4m3fn)}), "F8_E4M3, .* says I8"),
        ("w8a8-int", lambda t: t.update({f"{UP}.weight": t[f"{UP}.weight"].to(torch.uint8)}), "stored as U8, .* says I8"),
        ("w8a8-fp", lambda t: t.update({f"{UP}.weight": t[f"{UP}.weight"].to(torch.float8_e5m2)}), "F8_E5M2, .* says F8_E4M3"),
        (
            "w8a8-int",
            lambda t: t.update({f"{UP}.weight_scale": t[f"{UP}.weight_scale"].to(torch.int8)}),
            "scale is stored as I8",
        ),
        (
            "w8a8-int",
            lambda t: t.update({f"{UP}.weight_scale": t[f"{UP}.weight_scale"].t()}),
            r"weight_scale has the shape \[1, 256",
        ),
        ("w4a16-int", lambda t: t.update({f"{UP}.weight_scale": torch.ones(256, 2)}), "128 columns in groups of 128"),
        (
            "w4a16-int-asym",
            lambda t: t.update({f"{UP}.weight_zero_point": torch.ones(7, 1, dtype=torch.int32)}),
            "zero_point has",
        ),
        ("w4a16-int-asym", lambda t: t.update({f"{UP}.weight_zero_point": torch.ones(32, 1)}), "zero_point is stored as F32"),
        ("w4a16-int+kv-fp8", lambda t: t.pop("model.layers.1.self_attn.k_scale"), "1 of 2 layers lack their k_scale"),
    ],
)
def test_damaged_checkpoints_are_refused_by_name(
    name: str, edit: Callable[[dict[str, Any]], Any], message: str, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        resolve(str(damaged(made(base, name, tmp_path / "out"), edit)), cache=tmp_path)


def configured(folder: Path, stated: Any) -> Path:
    config = json.loads((folder / "config.json").read_text()) | {"quantization_config": stated}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_a_module_that_the_configuration_leaves_in_16_bit_has_no_codes(base: Path, tmp_path: Path) -> None:
    folder = made(base, "w8a8-fp", tmp_path / "out")
    stated = json.loads((folder / "config.json").read_text())["quantization_config"]
    with pytest.raises(UserError, match=r"up_proj is quantized, and config\.json leaves it"):
        resolve(str(configured(folder, stated | {"ignore": [*stated["ignore"], UP]})), cache=tmp_path)


def test_codes_without_a_word_of_them_and_words_without_codes(make: Make, base: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="says nothing of quantization"):
        resolve(str(configured(made(base, "w8a8-int", tmp_path / "out"), None)), cache=tmp_path)
    with pytest.raises(UserError, match="all tensors are stored in 16 bit"):
        resolve(str(configured(make(), {"quant_method": "fp8", "activation_scheme": "dynamic"})), cache=tmp_path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda q: q["config_groups"]["group_0"]["weights"].pop("group_size"), "groups of size None"),
        (lambda q: q["config_groups"]["group_0"]["weights"].update(group_size=64), "columns in groups of 64"),
        (lambda q: q["config_groups"]["group_0"].update(targets=[]), "group_0 .*without targets"),
        (lambda q: q["config_groups"]["group_0"].update(targets=["re:.*down_proj"]), "no group of config.json means it"),
        (lambda q: q.update(format="dense"), "w4a16-int in compressed-tensors' format dense"),
        (lambda q: q.update(format="marlin-24"), "format marlin-24"),
        (lambda q: q.update(ignore="lm_head"), "ignore that is no list"),
        (lambda q: q.update(sparsity_config="2:4"), "sparsity_config 2:4"),
    ],
)
def test_what_a_configuration_says_of_codes_is_what_is_stored(
    edit: Callable[[dict[str, Any]], Any], message: str, base: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        resolve(str(changed(made(base, "w4a16-int", tmp_path / "out"), edit)), cache=tmp_path)


def packed(base: Path, transform: Callable[[str, Any], dict[str, Any]]) -> Callable[[dict[str, Any]], None]:
    """Replace all linear layers by the tensors of another tool's layout."""

    def edit(tensors: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.endswith("_proj.weight")]:
            tensors |= transform(name.removesuffix("weight"), tensors.pop(name))

    return edit


def gptq(stem: str, weight: Any) -> dict[str, Any]:
    rows, columns = weight.shape
    return {
        stem + "qweight": torch.ones(columns // 8, rows, dtype=torch.int32), stem + "g_idx": torch.zeros(columns),
        stem + "qzeros": torch.ones(columns // 128, rows // 8, dtype=torch.int32),
        stem + "scales": torch.ones(columns // 128, rows),
    }  # fmt: skip


def awq(stem: str, weight: Any) -> dict[str, Any]:
    rows, columns = weight.shape
    return {
        stem + "qweight": torch.ones(columns, rows // 8, dtype=torch.int32),
        stem + "qzeros": torch.ones(columns // 128, rows // 8, dtype=torch.int32),
        stem + "scales": torch.ones(columns // 128, rows),
    }  # fmt: skip


def block_fp8(stem: str, weight: Any) -> dict[str, Any]:
    codes, (rows, columns) = weight.to(torch.float8_e4m3fn), weight.shape
    return {stem + "weight": codes, stem + "weight_scale_inv": torch.ones(rows // 128, columns // 128)}


@pytest.mark.parametrize(
    ("transform", "stated", "name"),
    [
        (gptq, {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}, "w4a16-int"),
        (awq, {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, "w4a16-int-asym"),
        (block_fp8, {"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block"),
    ],
)
def test_other_tools_layouts(transform: Any, stated: dict[str, Any], name: str, make: Make, tmp_path: Path) -> None:
    folder = configured(damaged(make(**WIDE), packed(Path(), transform)), stated)
    found = resolve(str(folder), cache=tmp_path)
    assert (found.format.name, found.shapes[f"{UP}.weight"]) == (name, (256, 128))
    lacking = {"gptq": "qzeros", "awq": "scales", "fp8": "weight_scale_inv"}[stated["quant_method"]]
    with pytest.raises(UserError, match=r"up_proj lacks"):
        resolve(str(damaged(folder, lambda tensors: tensors.pop(f"{UP}.{lacking}"))), cache=tmp_path)


@pytest.mark.parametrize(
    ("transform", "stated", "message"),
    [
        (gptq, {"quant_method": "gptq", "bits": 4, "group_size": 64}, "has the shape"),
        (gptq, {"quant_method": "gptq", "bits": 4, "group_size": 128, "is_marlin_format": True}, "is_marlin_format"),
        (gptq, {"quant_method": "gptq", "bits": 4, "group_size": 128, "dynamic": {"+:.*q_proj": {"bits": 8}}}, "with dynamic"),
        (awq, {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True}, "has the shape"),
        (block_fp8, {"quant_method": "fp8", "weight_block_size": 128}, "weight_block_size 128"),
    ],
)
def test_what_other_tools_state_is_what_is_stored(
    transform: Any, stated: dict[str, Any], message: str, make: Make, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        resolve(str(configured(damaged(make(**WIDE), packed(Path(), transform)), stated)), cache=tmp_path)


@pytest.mark.parametrize("content", ["[" * 100_000, "\ufeff" + json.dumps({"quantization": {"quant_algo": "FP8"}})])
def test_side_files_that_state_quantization_are_read_whatever_their_form(content: str, make: Make, tmp_path: Path) -> None:
    folder = make()
    (folder / "hf_quant_config.json").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"says so in hf_quant_config\.json"):
        resolve(str(folder), cache=tmp_path)


def test_where_a_checkpoint_loads(base: Path, mixture: Path, tmp_path: Path) -> None:
    """Experts in INT8 are what transformers has no conversion for; it and the model card say so."""
    for name in ("w8a8-int", "w8a8-fp", "w4a16-int"):
        assert where_it_loads(made(base, name, tmp_path / name), name) == ()
    assert where_it_loads(made(mixture, "w8a8-fp", tmp_path / "m8"), "w8a8-fp") == ()
    assert where_it_loads(made(mixture, "w4a16-int", tmp_path / "m4"), "w4a16-int") == ()
    quantize_checkpoint(mixture, get("w8a8-int"), RECIPE, tmp_path / "mi")
    said = where_it_loads(tmp_path / "mi", "w8a8-int")
    assert "transformers" in said[0] and "CPU" in said[1]
    assert json.loads((tmp_path / "mi" / "manifest.json").read_text())["loading"] == list(said)


SLOW = r"(\w+\.?)+$x"
"""Takes longer than anybody waits, on the name of a module."""


def changed(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    """The folder, what its config.json states of quantization edited."""
    config = json.loads((folder / "config.json").read_text())
    edit(config["quantization_config"])
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (lambda stated: stated["ignore"].append(f"re:{SLOW}"), "ignore"),
        (lambda stated: stated["config_groups"]["group_0"]["targets"].append(f"re:{SLOW}"), r"config_groups\.group_0\.targets"),
        (lambda stated: stated.update(modules_to_not_convert=[SLOW]), "modules_to_not_convert"),
        (lambda stated: stated.update(dynamic={f"-:{SLOW}": {}}), "dynamic"),
        (lambda stated: stated["ignore"].append("re:model.layers.1.mlp.(up_proj"), "ignore.* no regular expression"),
    ],
)
def test_patterns_of_a_checkpoint_have_a_limit(
    edit: Callable[[dict[str, Any]], Any], field: str, base: Path, tmp_path: Path
) -> None:
    folder = changed(made(base, "w8a8-int", tmp_path / "out"), edit)
    with pytest.raises(UserError, match=f"config.json, quantization_config.{field}"):
        resolve(str(folder), cache=tmp_path)


def test_a_checkpoint_that_is_loaded_as_it_is_has_the_limit_too(base: Path, tmp_path: Path) -> None:
    from whichbits.engines.emulation.model import Emulated

    folder = changed(made(base, "w8a8-int", tmp_path / "out"), lambda stated: stated["ignore"].append(f"re:{SLOW}"))
    with pytest.raises(UserError, match="took more than 2 s"):
        Emulated(folder, threads=1)


def test_patterns_that_are_quick_are_followed(base: Path, tmp_path: Path) -> None:
    folder = made(base, "w8a8-int", tmp_path / "out")
    changed(
        folder, lambda stated: stated.update(ignore=[r"re:.*lm_head$", r"re:(\w+\.)+norm"], modules_to_not_convert=["*head"])
    )
    assert resolve(str(folder), cache=tmp_path).format.name == "w8a8-int"
    changed(folder, lambda stated: stated["ignore"].append(r"re:.*layers\.1\..*up_proj"))
    with pytest.raises(UserError, match=r"up_proj is quantized, and config\.json leaves it"):
        resolve(str(folder), cache=tmp_path)
