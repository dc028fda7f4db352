"""Values as the command line gives them and as results show them, for all commands."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whichbits.serving.workload import Workload


def parse_workload(name: str) -> Workload:
    """A workload by name, or of PROMPT/OUTPUT tokens."""
    from whichbits.serving import workload

    lengths = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", name)
    if lengths:
        prompt, output = (int(length) for length in lengths.groups())
        return workload.parse_workload({"name": f"own-{prompt}-{output}", "prompt_tokens": prompt, "output_tokens": output})
    return workload.parse_workload(name)


def overrides_of(price: Sequence[str] | None) -> dict[str, float]:
    """Dollars an hour by device, from DEVICE=USD_PER_HOUR."""
    if not price:
        return {}
    from whichbits.cost.prices import parse_override

    return dict(parse_override(entry) for entry in price)


def short(value: Any) -> Any:
    """A number to four significant digits."""
    return float(f"{value:.4g}") if isinstance(value, float) else value
