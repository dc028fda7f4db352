"""Every format of the catalogue: written, loaded and run in the engine `emulated` (transformers)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")
pytest.importorskip("numba")

from whichbits.engines.emulation.model import Emulated  # noqa: E402
from whichbits.formats.catalogue import get, load  # noqa: E402
from whichbits.quantization.calibration.data import calibration_data  # noqa: E402
from whichbits.quantization.model.structure import tensor_shapes  # noqa: E402
from whichbits.quantization.passes.calibrated import Target, quantize_calibrated  # noqa: E402
from whichbits.quantization.passes.direct import quantize_checkpoint  # noqa: E402
from whichbits.quantization.recipe.recipe import Calibration, Recipe  # noqa: E402

TOKENS = torch.randint(5, 256, (2, 24), generator=torch.Generator().manual_seed(7))
CALIBRATION = Calibration(source="random", samples=8, length=32)
NEAREST = Recipe(calibration=CALIBRATION)
LARGEST_ERROR = {8: 0.3, 4: 0.9}
"""Of random logits against the base's, by bits of the weights; a wrong scale gives more than 1."""

WRITTEN = [name for name, format in load().items() if not format.is_base]


def logits(folder: Path) -> torch.Tensor:
    """Without the compilation by which compressed-tensors unpacks FP4: half a minute for one small model."""
    with torch.compiler.set_stance("force_eager"):
        return Emulated(folder, threads=1, dtype=torch.float32).logits(TOKENS)


@pytest.mark.parametrize("name", [*WRITTEN, "w8a8-int+kv-fp8"])
def test_a_checkpoint_runs_near_the_base_and_takes_the_bits_that_it_says(
    name: str, random_base: Callable[[str], Path], block_llama: Path, tmp_path: Path
) -> None:
    # The compressed-tensors library takes a weight of one column of blocks for one with a scale for each row.
    base = block_llama if name == "fp8-block" else random_base("Llama")
    format = get(name)
    manifest, _ = quantize_checkpoint(base, format, NEAREST, tmp_path / "out")
    expected = logits(base)
    error = float((logits(tmp_path / "out") - expected).norm() / expected.norm())
    assert format.weights
    assert 0.005 < error < LARGEST_ERROR[format.weights.num_bits]
    shapes = [(s[0], s[1]) for name, s in tensor_shapes(base).items() if ".layers.0." in name and len(s) == 2]
    bits = sum(manifest.format.bits_per_weight(*shape) * shape[0] * shape[1] for shape in shapes)
    assert manifest.bits_per_weight == pytest.approx(bits / sum(rows * columns for rows, columns in shapes), rel=1e-6)
    assert (manifest.calibration is not None) == format.needs_data


@pytest.mark.parametrize("name", ["w4a16-int-asym", "w4a16-int-channel", "w8a8-int-static", "nvfp4", "w8a8-fp+kv-fp8"])
def test_gptq_writes_it_too(name: str, random_base: Callable[[str], Path], tmp_path: Path) -> None:
    base = random_base("Llama")
    recipe = Recipe(rounding="gptq", calibration=Calibration(source="random", samples=16, length=32))
    targets = [Target(get(name), recipe, tmp_path / "gptq"), Target(get(name), NEAREST, tmp_path / "rtn")]
    for target in targets:
        quantize_checkpoint(base, target.format, target.recipe.model_copy(), target.out)
    expected = logits(base)
    gptq, rtn = (float((logits(target.out) - expected).norm() / expected.norm()) for target in targets)
    assert gptq < 1.6 * rtn


@torch.no_grad()
def test_scales_of_activations_and_of_the_cache_are_those_of_the_data(
    random_base: Callable[[str], Path], tmp_path: Path
) -> None:
    """Against what the whole model's first layer is fed and caches, on the very same tokens."""
    base = random_base("Qwen2")
    names = ["w8a8-int-static", "w8a8-fp-static", "nvfp4", "w8a8-int+kv-fp8"]
    recipe = Recipe(rounding="gptq", propagate_error=False, calibration=CALIBRATION)
    quantize_calibrated(base, [Target(get(name), recipe, tmp_path / name) for name in names])
    stored = {name: safetensors.load_file(tmp_path / name / "model.safetensors") for name in names}
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    fed: list[float] = []
    layer = model.model.layers[0]
    layer.self_attn.k_proj.register_forward_pre_hook(lambda _, args: fed.append(float(args[0].abs().max())))
    cached = [
        model(sample[None], use_cache=True).past_key_values.layers[0]
        for sample in calibration_data(base, CALIBRATION, 0).tokens
    ]
    attention = "model.layers.0.self_attn"
    for name, range_ in (("w8a8-int-static", 127.5), ("w8a8-fp-static", 448)):
        for module in ("q_proj", "k_proj"):
            scale = stored[name][f"{attention}.{module}.input_scale"]
            assert scale.shape == (1,) and scale.dtype == torch.bfloat16
            assert float(scale) == pytest.approx(max(fed) / range_, rel=2**-8)
    assert float(stored["nvfp4"][f"{attention}.k_proj.input_global_scale"]) == pytest.approx(448 * 6 / max(fed), rel=1e-6)
    for part, largest in (
        ("k", max(each.keys.abs().max() for each in cached)),
        ("v", max(each.values.abs().max() for each in cached)),
    ):
        found = stored["w8a8-int+kv-fp8"][f"{attention}.{part}_scale"]
        assert float(found) == pytest.approx(float(largest) / 448, rel=2**-8)


def test_the_cache_of_a_checkpoint_without_data_has_scales_of_one(random_base: Callable[[str], Path], tmp_path: Path) -> None:
    base = random_base("Phi3")
    quantize_checkpoint(base, get("w8a8-int+kv-fp8"), Recipe(), tmp_path / "cache")
    quantize_checkpoint(base, get("w8a8-int"), Recipe(), tmp_path / "plain")
    stored = safetensors.load_file(tmp_path / "cache" / "model.safetensors")
    scales = {name: tensor.tolist() for name, tensor in stored.items() if name.endswith(("k_scale", "v_scale"))}
    assert scales == {f"model.layers.{number}.self_attn.{part}_scale": [1.0] for number in range(2) for part in "kv"}
    config = json.loads((tmp_path / "cache" / "config.json").read_text())["quantization_config"]
    assert config["kv_cache_scheme"] == {
        "num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor", "dynamic": False,
    }  # fmt: skip
    assert not torch.equal(logits(tmp_path / "cache"), logits(tmp_path / "plain")), "the emulation rounds keys and values"


MIXED = {
    "layers": [
        {"match": r"re:.*layers\.0\.mlp\.down_proj", "format": "w8a8-int"},
        {"match": r"re:.*layers\.1\.self_attn", "format": "bf16"},
        {"match": r"re:.*layers\.1\.mlp\.(gate|up)", "format": "nvfp4a16"},
    ]
}


@pytest.mark.parametrize("rounding", ["rtn", "gptq"])
def test_a_checkpoint_of_several_formats(rounding: str, random_base: Callable[[str], Path], tmp_path: Path) -> None:
    """Each module is stored as its format says, and `emulated` runs what is the sum of them."""
    base = random_base("Llama")
    recipe = Recipe.model_validate({"rounding": rounding, "calibration": CALIBRATION, **MIXED})
    manifest, errors = quantize_checkpoint(base, get("w4a16-int"), recipe, tmp_path / "mixed")
    assert [part.format.name for part in manifest.format.parts] == ["w8a8-int", "nvfp4a16"]
    assert len(errors) == 10
    stored = safetensors.load_file(tmp_path / "mixed" / "model.safetensors")
    assert stored["model.layers.0.mlp.down_proj.weight"].dtype == torch.int8
    assert stored["model.layers.1.self_attn.q_proj.weight"].dtype == torch.bfloat16
    assert "model.layers.1.mlp.up_proj.weight_global_scale" in stored
    assert "model.layers.1.mlp.down_proj.weight_packed" in stored
    expected = logits(base)
    quantize_checkpoint(base, get("w4a16-int"), recipe.model_copy(update={"layers": ()}), tmp_path / "plain")
    mixed, plain = (float((logits(tmp_path / name) - expected).norm() / expected.norm()) for name in ("mixed", "plain"))
    assert 0 < mixed < plain
