"""Tensors put into a model of the library's by the library's own loading: its names, its fused experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError
from whichbits.models.progress_bars import without_progress_bars

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Filling:
    """An empty `model` of the library's, and the type and place that its parameters get as they are loaded."""

    model: Any
    dtype: torch.dtype
    device: str = "cpu"

    def load(self, tensors: Mapping[str, torch.Tensor], prefix: str = "") -> None:
        """Make `tensors`, by their names in the checkpoint, parameters of the model, as `from_pretrained` does.

        Where a `prefix` is given they are all of the model's that begin with it. Raises UserError that names a tensor of which
        the model knows nothing, or which that part of it lacks.
        """
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import convert_and_load_state_dict_in_model
        from transformers.modeling_utils import LoadStateDictConfig

        mapping: Any = get_model_conversion_mapping(self.model)
        config = LoadStateDictConfig(dtype=self.dtype, weight_mapping=mapping, device_map={"": self.device})
        with without_progress_bars():
            info, _ = convert_and_load_state_dict_in_model(self.model, dict(tensors), config)
        self.model._adjust_missing_and_unexpected_keys(info)
        wrong = {
            "are unknown to it": sorted(info.unexpected_keys),
            "have other shapes there": sorted(str(key) for key in info.mismatched_keys),
            "cannot be converted": sorted(info.conversion_errors),
            "are missing": sorted(name for name in info.missing_keys if prefix and name.startswith(prefix)),
        }
        for what, names in wrong.items():
            if names:
                others = f" and {len(names) - 1} more" if len(names) > 1 else ""
                raise UserError(
                    f"the checkpoint is not one of transformers' {type(self.model).__name__}: {names[0]}{others} {what}",
                    remedy="give a checkpoint that holds the model's tensors and no others (an adapter is merged first)",
                )
