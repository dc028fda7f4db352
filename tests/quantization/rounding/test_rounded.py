from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
quantization = pytest.importorskip("compressed_tensors.quantization")

from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.formats.checkpoint.compress import compress, decompress  # noqa: E402
from whichbits.formats.format import fit  # noqa: E402
from whichbits.quantization.passes.layer import quantize_layer  # noqa: E402
from whichbits.quantization.recipe.recipe import Recipe  # noqa: E402
from whichbits.quantization.rounding.rounded import relative_error  # noqa: E402
from whichbits.quantization.rounding.scales import nvfp4_global_scale  # noqa: E402
from whichbits.quantization.rounding.weight import round_weight  # noqa: E402

WRITABLE = ["w8a8-fp", "w8a8-int", "w4a16-int", "w4a8-int", "w4a8-fp", "fp8-block", "nvfp4a16", "mxfp4", "mxfp8"]


def random_weight(rows: int = 256, columns: int = 256, seed: int = 0) -> torch.Tensor:
    return (torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 0.02).to(torch.bfloat16)


def test_int8_by_hand() -> None:
    """Largest magnitude 255, so the scale is 2; ties go to even, the positive end is clipped to 127."""
    weight = torch.tensor([[-255.0, 255.0, 1.0, 3.0, 5.1, 0.0]])
    args = get("w8a8-int").weights
    rounded = round_weight(weight, args, Recipe(scales="minmax"), None, None)
    assert rounded.scale.tolist() == [[2.0]]
    assert rounded.weight.tolist() == [[-256, 254, 0, 4, 6, 0]]


def test_a_row_of_zeros_stays_zero() -> None:
    args = get("w8a8-int").weights
    rounded = round_weight(torch.zeros(2, 4, dtype=torch.bfloat16), args, Recipe(scales="mse"), None, None)
    assert rounded.weight.tolist() == [[0.0] * 4] * 2
    assert (rounded.scale > 0).all()


def test_relative_error_by_hand() -> None:
    assert relative_error(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 3.0]])) == pytest.approx(0.2)
    assert relative_error(torch.zeros(1, 2), torch.zeros(1, 2)) == 0


@pytest.mark.parametrize("scales", ["minmax", "mse"])
@pytest.mark.parametrize("name", WRITABLE)
def test_what_is_stored_is_what_was_rounded(name: str, scales: str) -> None:
    """The library's own codes for our scales, unpacked by the library, are the rounded weight."""
    weight = random_weight()
    format = fit(get(name), [(256, 256)])
    assert format.weights
    global_scale = nvfp4_global_scale(weight.abs().amax()) if name == "nvfp4a16" else None
    rounded = round_weight(weight, format.weights, Recipe(scales=scales), None, global_scale)
    stored = compress(rounded.weight, rounded.scale, format, dtype=torch.bfloat16, global_scale=global_scale)
    back = decompress(stored, format).to(torch.float32)
    torch.testing.assert_close(back, rounded.weight, rtol=2.0**-7, atol=1e-9)
    again = compress(back, rounded.scale, format, dtype=torch.bfloat16, global_scale=global_scale)
    assert all(torch.equal(again[key].view(torch.uint8), tensor.view(torch.uint8)) for key, tensor in stored.items())


@pytest.mark.parametrize("name", ["w8a8-fp", "w8a8-int", "w4a16-int", "w4a8-int", "w4a8-fp", "fp8-block"])
def test_codes_are_those_of_the_library_on_the_original_weight(name: str) -> None:
    """Compressing the rounded weight gives the codes that the library gives the unrounded one: rounding happens once."""
    weight = random_weight(seed=1)
    format = fit(get(name), [(256, 256)])
    assert format.weights
    rounded = round_weight(weight, format.weights, Recipe(scales="minmax"), None, None)
    ours = compress(rounded.weight, rounded.scale, format, dtype=torch.bfloat16)
    theirs = compress(weight.to(torch.float32), rounded.scale, format, dtype=torch.bfloat16)
    assert all(torch.equal(ours[key].view(torch.uint8), tensor.view(torch.uint8)) for key, tensor in theirs.items())


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("w8a8-int", 0.003, 0.012), ("w8a8-fp", 0.02, 0.03), ("w4a16-int", 0.08, 0.13), ("mxfp8", 0.02, 0.03)],
)
def test_error_of_gaussian_weights(name: str, low: float, high: float) -> None:
    """A step s errs by s/sqrt(12): about 2.8/7.5/sqrt(12) = 0.11 for INT4 with 128 a group, 0.007 for INT8; FP8 by 2^-5.3."""
    format = fit(get(name), [(256, 256)])
    (module,) = quantize_layer({"model.layers.0.x.weight": random_weight(seed=2)}, format, Recipe(scales="minmax"))
    assert low < module.errors.error < high


def test_modules_that_one_kernel_may_fuse_share_nvfp4s_global_scale() -> None:
    prefix = "model.layers.0.self_attn"
    weights = {
        f"{prefix}.{name}.weight": random_weight(64, 64, seed) * (seed + 1) for seed, name in enumerate("qkv")
    } | {"model.layers.0.mlp.down.weight": random_weight(64, 128, 9)}  # fmt: skip
    modules = {m.errors.module: m.tensors for m in quantize_layer(weights, get("nvfp4a16"), Recipe(scales="minmax"))}
    shared = {float(modules[f"{prefix}.{name}"][f"{prefix}.{name}.weight_global_scale"]) for name in "qkv"}
    largest = max(float(weight.abs().max()) for name, weight in weights.items() if prefix in name)
    assert len(shared) == 1
    assert shared.pop() == pytest.approx(448 * 6 / largest)
    assert float(modules["model.layers.0.mlp.down"]["model.layers.0.mlp.down.weight_global_scale"]) == pytest.approx(
        448 * 6 / float(weights["model.layers.0.mlp.down.weight"].abs().max())
    )


def test_nvfp4_without_its_global_scale_is_an_error() -> None:
    with pytest.raises(ValueError, match="global scale"):
        round_weight(random_weight(), get("nvfp4a16").weights, Recipe(scales="minmax"), None, None)
