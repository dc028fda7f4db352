"""Which kernel runs a format on a device, and where there is none, why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from whichbits.core.errors import UserError
from whichbits.formats.catalogue import canonical
from whichbits.hardware.catalogue import Hardware


@dataclass(frozen=True)
class Kernel:
    """How the linear layers of a format run (see kernels.yaml for the fields), and the bytes of a number in the KV cache."""

    format: str
    weight_bytes: float
    activation_bytes: float
    kv_bytes: float
    rate: str
    kind: str
    whole_columns: frozenset[str]
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
            if self.version >= _numbers(entry["from"]) and large:
                return entry["tokens"], entry["sequences"]
        raise AssertionError(f"kernels.yaml has no limits of {self.label}")


@cache
def data() -> Mapping[str, Any]:
    """The contents of kernels.yaml."""
    text = files("whichbits.prediction.model").joinpath("kernels.yaml").read_text(encoding="utf-8")
    contents: Mapping[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return contents


def _fields(name: str) -> tuple[Mapping[str, Any], Mapping[str, Any] | None]:
    """What kernels.yaml says of a format and, where it has a quantized one, of its key-value cache."""
    own, plus, cache_name = canonical(name).partition("+")
    return data()["formats"][own], data()["kv_caches"][cache_name] if plus else None


@cache
def kernel(name: str) -> Kernel:
    """How the format `name` runs. Raises UserError for a format that is not known."""
    fields, kv_cache = _fields(name)
    return Kernel(
        format=canonical(name),
        weight_bytes=fields["bits"] / 8,
        activation_bytes=fields["activation_bytes"],
        kv_bytes=kv_cache["bytes"] if kv_cache else 2,
        rate=fields["rate"],
        kind=fields["kernel"],
        whole_columns=frozenset(fields.get("whole_columns", ())),
        striped=frozenset(fields.get("striped", ())),
    )


def twin(name: str) -> str:
    """The format whose measurements stand for those of `name`: one on the same kernel with nearly as many bytes, or itself."""
    fields, kv_cache = _fields(name)
    return canonical(name) if kv_cache else fields.get("twin", canonical(name))


def refusal(name: str, hardware: Hardware) -> str | None:
    """Why the format has no kernel on the device; None where it has one."""
    none = f"no kernel for {canonical(name)} on {hardware.name}"
    for fields in _fields(name):
        if fields is not None and not _runs(fields, hardware):
            return f"{none}: {fields['reason']}"
    if rate(kernel(name), hardware) is None:
        return f"{none}: its rate of {kernel(name).rate} products is not known (torch measures this machine's)"
    return None


def _runs(fields: Mapping[str, Any], hardware: Hardware) -> bool:
    low, high = fields["capability"]
    return low <= hardware.capability <= high if hardware.maker == "nvidia" else hardware.maker in fields["makers"]


def rate(kernel: Kernel, hardware: Hardware) -> float | None:
    """Peak rate (operations a second) of the kernel's multiplications; None where none is known."""
    return rate16(hardware) if kernel.rate == "bf16" else hardware.peak.get(kernel.rate)


def rate16(hardware: Hardware) -> float:
    """Peak rate (operations a second) of 16-bit multiplications."""
    return hardware.peak["bf16"] if "bf16" in hardware.peak else hardware.peak["fp16"]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


@cache
def engine(name: str) -> Engine:
    """The engine called `name`, optionally with a version: `vllm`, `vllm==0.7.2`, `TensorRT-LLM`.

    Without one it is the version of kernels.yaml, on every device and under every load. Raises UserError for an engine that is
    not known and a version that is none.
    """
    base, separator, release = (part.strip() for part in name.strip().lower().partition("=="))
    if separator and not _numbers(release):
        raise UserError(f"engine: {name!r:.100} has no version after ==", remedy="write it as in vllm==0.7.2, or leave == out")
    for key, fields in data()["engines"].items():
        if base == key or base in fields["aliases"]:
            chosen = release or fields["version"]
            return Engine(key, chosen, _numbers(chosen), fields["fuses_quantization"], fields["mixes_prompts"])
    raise UserError(f"engine: {name!r:.100} is not known", remedy=f"one of {', '.join(data()['engines'])}")
