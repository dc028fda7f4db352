"""Which kernel runs a format on a device, and where there is none, why."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from whichbits.core.errors import UserError
from whichbits.formats.catalogue import canonical, get, without_kernel
from whichbits.formats.format import Format
from whichbits.formats.kernels import Device
from whichbits.hardware.catalogue import Hardware

DEVICES: Mapping[str, Device] = {"nvidia": "cuda", "amd": "rocm", "huawei": "npu", "cpu": "cpu"}
"""What engines call the devices of each maker."""

RELEASE = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,5})*)(?:\.?(?:a|b|rc|post|dev)[0-9]+)*(?:\+[a-z0-9.]+)?")
"""A version as Python packages have them (PEP 440), in small letters."""


@dataclass(frozen=True)
class Kernel:
    """How the linear layers of a format run, and the bytes of a number in the KV cache."""

    format: str
    weight_bytes: float
    """Of a weight in memory with its scales, in the largest groups where a format has groups to choose from."""
    activation_bytes: float
    """Of one activation as the kernel reads it."""
    kv_bytes: float
    rate: str
    """Number type of the multiplications."""
    kind: str
    """Class of its coefficients."""
    whole_columns: frozenset[str]
    """Architectures of such a kernel; kernels.yaml says what that is."""
    striped: frozenset[str]


@dataclass(frozen=True)
class Engine:
    """A serving engine: `name` selects its coefficients, `release` is its version as it is written, `version` as numbers."""

    name: str
    release: str
    version: tuple[int, ...]
    fuses_quantization: bool
    mixes_prompts: bool

    @property
    def label(self) -> str:
        """Name and version, as they are given: `vllm==0.7.2`."""
        return f"{self.name}=={self.release}"

    @property
    def early(self) -> bool:
        """Whether it is vLLM before its V1 engine (0.8): more host time a sequence, slower all-reduces."""
        return self.name == "vllm" and self.version < (0, 8)

    @property
    def generation(self) -> str:
        """What measurements of one version say of another: those of one generation run alike."""
        return self.name + "-early" * self.early

    @property
    def graph_limit(self) -> float:
        """Longest sequence that decodes in a CUDA graph: early vLLM left longer ones than 8192 to eager mode."""
        return 8192 if self.early else float("inf")

    def limits(self, hardware: Hardware) -> tuple[int, int]:
        """Tokens that one step takes at the most, and sequences that run at once, unless the server is told otherwise."""
        for entry in data()["engines"][self.name]["limits"]:
            large = hardware.memory >= entry["memory"] * 2**30 and hardware.id not in entry.get("except", ())
            if self.version >= version_numbers(entry["from"]) and large:
                return entry["tokens"], entry["sequences"]
        raise AssertionError(f"kernels.yaml has no limits of {self.label}")


@cache
def data() -> Mapping[str, Any]:
    """The contents of kernels.yaml."""
    text = files("whichbits.prediction.model").joinpath("kernels.yaml").read_text(encoding="utf-8")
    contents: Mapping[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return contents


@cache
def kernel(name: str) -> Kernel:
    """How the format `name` runs. Raises UserError for a format that is not known."""
    format = get(name)
    own = format.name.partition("+")[0]
    return Kernel(
        format=format.name,
        weight_bytes=format.bits_in_memory / 8,
        activation_bytes=format.activation_bits / 8,
        kv_bytes=(format.kv_cache.num_bits if format.kv_cache else 16) / 8,
        rate=_products(format),
        kind=_kind(format),
        whole_columns=frozenset(data()["whole_columns"].get(own, ())),
        striped=frozenset(data()["striped"].get(own, ())),
    )


def _products(format: Format) -> str:
    """Number type of the multiplications."""
    args = format.activations
    return "bf16" if args is None else f"{'int' if args.type == 'int' else 'fp'}{args.num_bits}"


def _kind(format: Format) -> str:
    """Class of the kernel's coefficients: packed4 unpacks 4-bit weights to the wider type of the multiplications."""
    weights, activations = format.weights, format.activations
    if weights is None:
        return "dense16"
    if weights.strategy == "block":
        return "block8"
    return "packed4" if weights.num_bits == 4 and (activations is None or activations.num_bits > 4) else "scaled8"


def proxy(name: str) -> str:
    """The format whose measurements stand for those of `name`: one on the same kernel with nearly as many bytes, or itself."""
    own = canonical(name)
    return str(data()["proxies"].get(own, own))


def refusal(name: str, hardware: Hardware) -> str | None:
    """Why the format has no kernel on the device; None where it has one."""
    none = f"no kernel for {canonical(name)} on {hardware.name}"
    reason = without_kernel(name, DEVICES[hardware.maker], hardware.capability)
    if reason is not None:
        return f"{none}: {reason}"
    if rate(kernel(name), hardware) is None:
        return f"{none}: its rate of {kernel(name).rate} products is not known (torch measures this machine's)"
    return None


def rate(kernel: Kernel, hardware: Hardware) -> float | None:
    """Peak rate (operations a second) of the kernel's multiplications; None where none is known."""
    return rate16(hardware) if kernel.rate == "bf16" else hardware.peak.get(kernel.rate)


def rate16(hardware: Hardware) -> float:
    """Peak rate (operations a second) of 16-bit multiplications."""
    return hardware.peak["bf16"] if "bf16" in hardware.peak else hardware.peak["fp16"]


def version_numbers(version: str) -> tuple[int, ...]:
    """The first three numbers of an engine's version; none of what is no version."""
    match = RELEASE.fullmatch(version)
    return tuple(int(part) for part in match[1].split(".")[:3]) if match else ()


@cache
def engine(name: str) -> Engine:
    """The engine called `name`, optionally with a version: `vllm`, `vllm==0.7.2`, `TensorRT-LLM`.

    Without one it is the version of kernels.yaml, on every device and under every load. Raises UserError for an engine that is
    not known and a version that is none.
    """
    base, separator, release = (part.strip() for part in name.strip().lower().partition("=="))
    release = release.removeprefix("v")
    if separator and not version_numbers(release):
        raise UserError(f"engine: {name!r:.100} has no version after ==", remedy="write it as in vllm==0.7.2, or leave == out")
    for key, fields in data()["engines"].items():
        if base == key or base in fields["aliases"]:
            chosen = release or fields["version"]
            return Engine(key, chosen, version_numbers(chosen), fields["fuses_quantization"], fields["mixes_prompts"])
    raise UserError(f"engine: {name!r:.100} is not known", remedy=f"one of {', '.join(data()['engines'])}")
