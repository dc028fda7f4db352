"""Which kernel runs a format on a device, and where there is none, why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from whichbits.cost.hardware import Hardware
from whichbits.errors import UserError


@dataclass(frozen=True)
class Kernel:
    """How the linear layers of a format run; see kernels.yaml for the fields."""

    format: str
    weight_bytes: float
    activation_bytes: float
    rate: str
    kind: str


@dataclass(frozen=True)
class Engine:
    """A serving engine: `name` selects its coefficients, `version` is what the user gave after `==`, if anything."""

    name: str
    version: tuple[int, ...]
    fuses_quantization: bool
    mixes_prompts: bool

    @property
    def early(self) -> bool:
        """Whether it is vLLM before its V1 engine (0.8): more host time a sequence, slower all-reduces."""
        return self.name == "vllm" and () < self.version < (0, 8)

    @property
    def graph_limit(self) -> float:
        """Longest sequence that decodes in a CUDA graph: early vLLM left longer ones than 8192 to eager mode."""
        return 8192 if self.early else float("inf")

    @property
    def step_tokens(self) -> int:
        """Tokens that one step takes at the most: chunks were 512 tokens long in vLLM before 0.6.5, then 2048."""
        if not self.early:
            return 8192
        return 512 if self.version < (0, 6, 5) else 2048

    def as_measured(self, *, at_most: bool) -> Engine:
        """This engine; at the highest rate, vLLM of unnamed version as 0.6.4, whose highest rates are known best."""
        return replace(self, version=(0, 6, 4)) if at_most and self.name == "vllm" and not self.version else self


@cache
def data() -> Mapping[str, Any]:
    """The contents of kernels.yaml."""
    text = files("whichbits.predict").joinpath("kernels.yaml").read_text(encoding="utf-8")
    contents: Mapping[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return contents


@cache
def format_name(name: str) -> str:
    """The catalogue's name of a format given by it or by an alias such as `FP8` or `int4`."""
    key = name.strip().lower().replace("_", "-")
    key = data()["aliases"].get(key, key)
    if key not in data()["formats"]:
        raise UserError(f"format: {name!r} is not known", remedy=f"one of {', '.join(data()['formats'])}")
    return str(key)


@cache
def kernel(name: str) -> Kernel:
    """How the format `name` runs."""
    fields = data()["formats"][format_name(name)]
    return Kernel(format_name(name), fields["bits"] / 8, fields["activation_bytes"], fields["rate"], fields["kernel"])


def refusal(name: str, hardware: Hardware) -> str | None:
    """Why the format has no kernel on the device; None where it has one."""
    fields = data()["formats"][format_name(name)]
    low, high = fields["capability"]
    native = low <= hardware.capability <= high if hardware.maker == "nvidia" else hardware.maker in fields["makers"]
    if native and (rate(kernel(name), hardware) is not None):
        return None
    return f"no kernel for {format_name(name)} on {hardware.name}: {fields.get('reason', 'it lacks the number type')}"


def rate(kernel: Kernel, hardware: Hardware) -> float | None:
    """Peak rate (operations a second) of the kernel's multiplications; None where the device has none."""
    if kernel.rate == "bf16":
        return hardware.peak.get("bf16", hardware.peak.get("fp16"))
    return hardware.peak.get(kernel.rate)


@cache
def engine(name: str) -> Engine:
    """The engine called `name`, optionally with a version: `vllm`, `vllm==0.7.2`, `TensorRT-LLM`."""
    base, _, version = name.strip().lower().partition("==")
    numbers = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    for key, fields in data()["engines"].items():
        if base == key or base in fields["aliases"]:
            return Engine(key, numbers, fields["fuses_quantization"], fields["mixes_prompts"])
    raise UserError(f"engine: {name!r} is not known", remedy=f"one of {', '.join(data()['engines'])}")
