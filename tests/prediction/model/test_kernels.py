"""What runs where: every format that whichbits makes has bytes, and on every device a kernel or a reason."""

from dataclasses import replace

import numpy as np
import pytest

from whichbits.core.errors import UserError
from whichbits.formats import catalogue as formats
from whichbits.formats.format import fit
from whichbits.hardware.catalogue import catalogue, find
from whichbits.models.catalogue import find_shape
from whichbits.prediction.model.coefficients import shipped
from whichbits.prediction.model.forward_pass import decode
from whichbits.prediction.model.kernels import DEVICES, data, engine, kernel, proxy, refusal
from whichbits.prediction.model.serving import kv_tokens
from whichbits.prediction.model.work import Layout, Point, columns
from whichbits.prediction.predictor import predict

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
WIDTH = 4096


def test_the_formats_are_those_of_the_catalogue() -> None:
    names = set(formats.load())
    assert {*data()["proxies"], *data()["proxies"].values(), *data()["whole_columns"], *data()["striped"]} <= names
    assert all(kernel(name).kind == kernel(other).kind for name, other in data()["proxies"].items())
    assert {device.maker for device in catalogue().values()} <= set(DEVICES)


@pytest.mark.parametrize(
    ("name", "bits", "activation_bits", "rate", "kind"),
    [
        ("bf16", 16, 16, "bf16", "dense16"),
        ("fp16", 16, 16, "bf16", "dense16"),
        ("w8a8-fp-static", 8, 8, "fp8", "scaled8"),
        ("w8a8-int", 8, 8, "int8", "scaled8"),
        ("w4a16-int", 4.125, 16, "bf16", "packed4"),
        ("w4a16-int-asym", 4.15625, 16, "bf16", "packed4"),
        ("w4a16-int-channel", 4, 16, "bf16", "packed4"),
        ("w4a8-int", 4.125, 8, "int8", "packed4"),
        ("w4a8-fp", 4.125, 8, "fp8", "packed4"),
        ("fp8-block", 8, 8, "fp8", "block8"),
        ("nvfp4", 4.5, 4.5, "fp4", "scaled8"),
        ("nvfp4a16", 4.5, 16, "bf16", "packed4"),
        ("mxfp4", 4.25, 4.25, "fp4", "scaled8"),
        ("mxfp8", 8.25, 8.25, "fp8", "scaled8"),
    ],
)
def test_how_a_format_runs_by_hand(name: str, bits: float, activation_bits: float, rate: str, kind: str) -> None:
    found = kernel(name)
    assert (found.weight_bytes * 8, found.activation_bytes * 8) == (bits, activation_bits)
    assert (found.rate, found.kind, found.kv_bytes) == (rate, kind, 2)
    assert kernel(f"{name}+kv-fp8").kv_bytes == 1


@pytest.mark.parametrize("name", formats.load())
def test_a_weight_takes_the_bits_that_the_format_gives_it(name: str) -> None:
    fitted = fit(formats.get(name), [(WIDTH, WIDTH)])
    stored = fitted.bits_per_weight(WIDTH, WIDTH)
    if name == "w4a8-int":  # stored as a byte each; the kernel packs two into one
        stored -= 4
    assert kernel(name).weight_bytes * 8 == pytest.approx(stored, rel=0.002)
    assert kernel(name).activation_bytes * 8 >= (fitted.activations.num_bits if fitted.activations else 16)


@pytest.mark.parametrize("name", [*formats.load(), "w8a8-fp+kv-fp8"])
def test_no_kernel_below_the_catalogues_compute_capability(name: str) -> None:
    least = float(formats.get(name).minimal_compute_capability or "inf")
    for device in catalogue().values():
        why = refusal(name, device)
        assert why is None or (device.name in why and len(why) > len(f"no kernel for {name} on {device.name}: "))
        if device.maker == "nvidia" and device.capability < least:
            assert why is not None


@pytest.mark.parametrize(
    ("name", "runs", "does_not"),
    [
        ("mxfp4", "B200", "H200"),
        ("mxfp8", "RTX 5090", "L40S"),
        ("nvfp4", "RTX PRO 6000", "MI300X"),
        ("nvfp4a16", "A100", "MI300X"),
        ("w4a8-fp", "H100", "B200"),
        ("w4a8-int", "Atlas A2", "A100"),
        ("w4a8-int-packed", "A100", "MI300X"),
        ("w4a16-int-asym", "L4", "Atlas A2"),
        ("w8a8-int-static", "A10", "B200"),
        ("w8a8-fp-static", "L4", "A10"),
        ("fp8-block", "H100", "A100"),
        ("w8a8-int+kv-fp8", "A100", "T4"),
        ("bf16", "A10", "T4"),
    ],
)
def test_where_a_format_runs(name: str, runs: str, does_not: str) -> None:
    assert refusal(name, find(runs)) is None
    assert refusal(name, find(does_not)) is not None
    answer = predict(LLAMA, name, runs, prompt_tokens=512, output_tokens=256)
    assert answer.latency_s is not None
    refused = predict(LLAMA, name, does_not, prompt_tokens=512, output_tokens=256)
    assert refused.reason == refusal(name, find(does_not))


@pytest.mark.parametrize(
    ("name", "hardware", "tokens", "sequences"),
    [
        ("vllm==0.6.4.post1", "H100", 512, 256),
        ("vllm==0.7.2", "H100", 2048, 256),
        ("vllm", "B200", 2048, 256),
        ("vllm==0.12.0", "H100", 8192, 1024),
        ("vllm==0.12.0", "A100", 2048, 256),
        ("vllm==0.12.0", "L40S", 2048, 256),
        ("vllm==1.0", "H200", 8192, 1024),
    ],
)
def test_what_a_step_takes_follows_from_the_version_and_the_device(
    name: str, hardware: str, tokens: int, sequences: int
) -> None:
    assert engine(name).limits(find(hardware)) == (tokens, sequences)


@pytest.mark.parametrize(
    "name",
    [
        "vllm==", "vllm==latest", "vllm==0.latest", "vllm===0.7.2", "vllm==0.7.*", "vllm==²", "vllm==-1",
        "vllm==1" + "0" * 5000, "vllm=0.7", "vllm>=0.8", "tgi==1.0", "",
    ],
)  # fmt: skip
def test_an_engine_or_a_version_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="engine: "):
        engine(name)


def test_a_rate_that_nobody_measured_is_said_to_be_missing() -> None:
    blind = replace(find("A100"), maker="cpu", name="CPU", peak={"bf16": 1e12})
    assert "its rate of int8 products is not known" in refusal("w8a8-int", blind)


def test_aliases_are_known() -> None:
    assert kernel("FP8+KV_FP8") == kernel("w8a8-fp+kv-fp8")
    assert predict(LLAMA, "int4", "H100", prompt_tokens=512, output_tokens=256).query.format == "w4a16-int"


def test_an_fp8_cache_holds_twice_the_tokens_and_is_read_in_half_the_time() -> None:
    def work(name: str):
        return columns([Point(find_shape(LLAMA), kernel(name), find("H100"), engine("vllm"), Layout(1), 512, 256, 1.0)])

    values = shipped().values
    whole, half = work("bf16"), work("bf16+kv-fp8")
    assert kv_tokens(half, values)[0] == pytest.approx(2 * kv_tokens(whole, values)[0])

    def reading(of):
        return float(np.diff([decode(of, values, np.array([64.0]), np.array([c]))[0] for c in (0.0, 4096.0)])[0])

    assert reading(half) == pytest.approx(reading(whole) / 2)
    assert "room for" in predict(LLAMA, "bf16", "L4", prompt_tokens=50000, output_tokens=500).reason
    assert predict(LLAMA, "bf16+kv-fp8", "L4", prompt_tokens=50000, output_tokens=500).reason is None


def test_measurements_of_a_format_stand_for_its_twin_but_not_for_another_cache() -> None:
    assert (proxy("w4a16-int-asym"), proxy("fp16"), proxy("nvfp4")) == ("w4a16-int", "bf16", "nvfp4")

    def tier(name: str, hardware: str = "A6000") -> str | None:
        return predict(LLAMA, name, hardware, prompt_tokens=256, output_tokens=128, engine="vllm==0.6.4.post1").tier

    assert (tier("w4a16-int"), tier("w4a16-int-channel"), tier("w4a16-int-asym", "L4")) == (
        "measured", "calibrated", "other-architecture",
    )  # fmt: skip
    assert {tier("w4a16-int+kv-fp8"), tier("nvfp4a16"), tier("mxfp4", "B200")} == {"roofline-only"}


def test_engines_have_versions_or_none() -> None:
    assert engine("vllm==0.7.2.post1").version == (0, 7, 2)
    assert engine("vllm==v0.7.2").version == (0, 7, 2)
    assert engine("vllm==0.10.1rc1+cu128").version == (0, 10, 1)
    assert engine("TensorRT-LLM").name == "trtllm"
    with pytest.raises(UserError, match="no version after =="):
        engine("vllm==latest")
