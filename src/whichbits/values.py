"""Values as they come from the command line and as they are shown, for all verbs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whichbits.serving.workload import Workload


def parse_workload(name: str) -> Workload:
    """A workload by name, or of PROMPT/OUTPUT tokens."""
    from whichbits.serving import workload

    prompt, slash, output = name.partition("/")
    if slash and prompt.isdigit() and output.isdigit():
        return workload.parse_workload(
            {"name": f"own-{prompt}-{output}", "prompt_tokens": int(prompt), "output_tokens": int(output)}
        )
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
