"""How a checkpoint of a format is made, as data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from whichbits.core.entry_points import Registry
from whichbits.core.errors import UserError
from whichbits.formats.catalogue import find_name, get
from whichbits.formats.format import Format
from whichbits.quantization.recipe.methods import ROUNDERS, TRANSFORMS, Method
from whichbits.schema.frozen import Written

ScaleSearch = Literal["minmax", "mse", "activation"]

WRITTEN_IF_GIVEN = ("awq", "layers", "residual_error_correction", "fisher_samples", "shrinkage", "transforms")

IDLE = " would do nothing with "
"""What is said of fields that do not apply."""


class Calibration(Written):
    """Which tokens the model is shown while it is quantized: `samples` windows of `length` tokens.

    `source` is text that the model writes itself ("self"), tokens drawn uniformly ("random"), a UTF-8 text file ("text"), a
    JSONL file of conversations that go through the chat template ("chat"), or JSON lines of token ids taken as they are
    ("tokens"); these name their `file`, and a `sha256` that is given must be the file's. Or it is a data set ("dataset"):
    `dataset` is a hub id or a local folder, whose `config`, `split` and `revision` are what the datasets library calls so, and
    `fields` the columns that make up a text (or one column of messages; nothing: the column `messages` or `text`).
    """

    source: Literal["self", "random", "text", "chat", "tokens", "dataset"] = "self"
    file: str | None = None
    sha256: str | None = None
    dataset: str | None = None
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    fields: tuple[str, ...] = ()
    samples: PositiveInt = 128
    length: int = Field(default=512, ge=2)

    @model_validator(mode="after")
    def _only_what_the_source_takes(self) -> Calibration:
        for name, sources in (("file", ("text", "chat", "tokens")), ("dataset", ("dataset",))):
            given = getattr(self, name) is not None
            if given != (self.source in sources):
                raise ValueError(f"source {self.source} {'takes no' if given else 'needs a'} {name}")
        if self.sha256 is not None and self.file is None and self.dataset is None:
            raise ValueError("sha256 is that of a file, and no file is given")
        if self.source != "dataset" and (self.config, self.split, self.revision, self.fields) != (None, "train", None, ()):
            raise ValueError("config, split, revision and fields are a data set's, and source is not dataset")
        return self

    @model_serializer(mode="wrap")
    def _write_what_applies(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        idle = set() if self.source == "dataset" else {"dataset", "config", "split", "revision", "fields"}
        return {name: value for name, value in handler(self).items() if name not in idle}


class LayerChoice(Written):
    """The format of single modules: `match` is a module's name, or `re:` and a regular expression that its name begins with."""

    match: str
    format: str

    @field_validator("format")
    @classmethod
    def _catalogue_name(cls, format: str) -> str:
        """The catalogue's name in place of an alias; a name that is not known is refused once it is looked up."""
        return find_name(format) or format


class TransformChoice(Written):
    """A transform that another package brings, by name; what `strength` means is its own business."""

    name: str
    strength: float = 1.0

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name in TRANSFORMS.ours:
            raise ValueError(f"{name} is a field of its own")
        return _one_of(TRANSFORMS, name)


class Recipe(Written):
    """How a checkpoint is made: rounding, scale search, the size of a weight group (None: the format's rule), seed.

    `damping`, `shrinkage` and `act_order` are GPTQ's. With `propagate_error` each layer is calibrated on what the quantized
    layers before it give, else on what the base's give; `input_error_correction` is the strength of the correction for that
    error in a module's input, `residual_error_correction` for that in the residual stream where a module adds to it. With
    `fisher_samples` errors count by the curvature of the base's loss (its Fisher information), from so many draws a token.
    `smoothing` is SmoothQuant's strength (None: not smoothed),
    `balancing` that of scales by moments in its place; `awq` scales and clips weights as AWQ does; `rotation` merges Hadamard
    rotations, drawn by the seed, into the weights. `rounding` may name another package's rounder, and `transforms` its
    transforms, which come after the others.
    Modules that `layers` match get the format named there in place of the checkpoint's; of several matches the first counts.
    Fields that do not apply are neither accepted nor written.
    """

    rounding: str = "rtn"
    scales: ScaleSearch = "mse"
    group_size: PositiveInt | None = None
    seed: int = Field(default=0, ge=0, lt=2**63)
    damping: float = Field(default=0.01, gt=0, le=1)
    shrinkage: float = Field(default=0.0, ge=0)
    act_order: bool = True
    propagate_error: bool = True
    input_error_correction: float = Field(default=0.0, ge=0, le=1)
    residual_error_correction: float = Field(default=0.0, ge=0, le=1)
    fisher_samples: int = Field(default=0, ge=0)
    smoothing: float | None = Field(default=None, ge=0, le=1)
    balancing: float | None = Field(default=None, ge=0, le=1)
    awq: bool = False
    rotation: bool = False
    transforms: tuple[TransformChoice, ...] = ()
    calibration: Calibration = Calibration()
    layers: tuple[LayerChoice, ...] = ()

    @field_validator("rounding")
    @classmethod
    def _known(cls, rounding: str) -> str:
        return _one_of(ROUNDERS, rounding)

    @property
    def calibrated(self) -> bool:
        """Whether making the checkpoint takes tokens run through the model."""
        return (
            ROUNDERS.get(self.rounding).calibrated
            or self.scales == "activation"
            or self.smoothing is not None
            or self.balancing is not None
            or self.awq
            or bool(self.transforms)
        )

    def needs_data(self, format: Format) -> bool:
        """Whether a checkpoint of `format` takes tokens run through the model: by the recipe, or by a format in it."""
        named = (find_name(choice.format) for choice in self.layers)  # one that is not known is refused as it is fitted
        return self.calibrated or any(each.needs_data for each in (format, *(get(name) for name in named if name)))

    @property
    def packages(self) -> dict[str, str]:
        """Names and versions of the packages that bring its rounder and its transforms; none for whichbits' own."""
        named = [(ROUNDERS, self.rounding), *((TRANSFORMS, choice.name) for choice in self.transforms)]
        return {package: version for methods, name in named for package, version in methods.packages(name).items()}

    @property
    def propagates(self) -> bool:
        """Whether layers see the error of those before them; scales of activations alone are found on what the base gives."""
        return self.calibrated and self.propagate_error

    @property
    def corrects(self) -> bool:
        """Whether the base's hidden states are run beside, to correct for the error of earlier layers."""
        return bool(self.input_error_correction or self.residual_error_correction)

    @property
    def unused(self) -> set[str]:
        """Fields that do not apply to this recipe."""
        corrections = {"input_error_correction", "residual_error_correction"}
        gptq = set() if self.rounding == "gptq" else {"damping", "shrinkage", "act_order", *corrections}
        calibrated = set() if self.calibrated else {"propagate_error", "fisher_samples", "smoothing"}
        # Formats with scales of activations that are found on data are calibrated whatever the recipe.
        data = {"calibration"} if not self.calibrated and self.calibration == Calibration() else set()
        data |= {name for name in WRITTEN_IF_GIVEN if not getattr(self, name)}
        data |= {"balancing"} if self.balancing is None else set()
        return gptq | calibrated | data | (set() if self.rotation else {"rotation"})

    @model_validator(mode="after")
    def _only_what_applies(self) -> Recipe:
        defaults = {name: field.default for name, field in type(self).model_fields.items()}
        idle = sorted(name for name in self.unused if getattr(self, name) != defaults[name])
        if idle:
            raise ValueError(f"{', '.join(idle)}{IDLE}rounding {self.rounding} and scales {self.scales}")
        for name in ("input_error_correction", "residual_error_correction"):
            if getattr(self, name) and not self.propagate_error:
                raise ValueError(f"{name} corrects for the error of earlier layers, which propagate_error: false leaves out")
        if self.smoothing is not None and self.balancing is not None:
            raise ValueError("smoothing and balancing scale the same columns, so choose one")
        return self

    @model_serializer(mode="wrap")
    def _write_what_applies(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if name not in self.unused}


def _one_of(methods: Registry[Method], name: str) -> str:
    """The name, which has to be one of those known."""
    if name not in methods.ours and name not in methods.names():
        raise ValueError(f"there is no such {methods.what}; those known are {', '.join(methods.names())}")
    return name


def parse(fields: Mapping[str, Any]) -> Recipe:
    """The recipe with these fields. Raises UserError where one is not known or has a value that it cannot have."""
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        place = tuple(str(part) for part in first["loc"])
        value = f" (value {first['input']!r})" if place else ""
        message = "there is no such field" if first["type"] == "extra_forbidden" else first["msg"].removeprefix("Value error, ")
        idle, does_nothing, _ = message.partition(IDLE)
        remedy = f"leave {idle} out, or choose rounding: gptq" if does_nothing else _remedy(first["type"], place)
        raise UserError(f"{'.'.join(('recipe', *place))}: {message}{value}", remedy=remedy) from None


def _remedy(kind: str, place: tuple[str, ...]) -> str:
    """What to do about a mistake at `place` in a recipe."""
    parts: dict[str, type[BaseModel]] = {"calibration": Calibration, "layers": LayerChoice, "transforms": TransformChoice}
    within = parts.get(place[0], Recipe) if place[1:] else Recipe
    if kind not in ("extra_forbidden", "missing"):
        return "correct it, or leave it out" if place else "leave one of them out"
    near = difflib.get_close_matches(place[-1], within.model_fields, n=1)
    hint = f"did you mean {near[0]}? " if near and kind == "extra_forbidden" else ""
    return f"{hint}the fields there are {', '.join(within.model_fields)}"
