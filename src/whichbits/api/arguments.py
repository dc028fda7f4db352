"""Arguments that several commands share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from whichbits.core.errors import UserError

if TYPE_CHECKING:
    from whichbits.schema.workload import Workload
    from whichbits.studies.specification.schema import Specification


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

    found: dict[str, float] = {}
    for device, dollars in map(parse_override, price):
        if found.setdefault(device, dollars) != dollars:
            raise UserError(f"price: {device} is given twice, {found[device]:g} and {dollars:g}", remedy="give it one price")
    return found


def check_margin(margin: float) -> None:
    """Raise UserError for a margin that is no share."""
    if not 0 < margin < 1:
        raise UserError(f"margin: {margin} is not between 0 and 1", remedy="give a share, as 0.02 for 2 %")


def part_of_a_study(name: str, model: str, **fields: Any) -> Specification:
    """A small study of what a command asks for; `fields` are those of a specification. Raises UserError."""
    from whichbits.studies.specification.schema import specify
    from whichbits.studies.specification.source import Source

    return specify({"version": 1, "name": name, "model": model, "candidates": [], **fields}, Source("", name))


def served_at(servers: Mapping[str, tuple[str | None, str | None]]) -> dict[str, Any]:
    """The field `engine` of a small study whose candidates are served at addresses, if they are.

    `servers` holds address and served model name by candidate, and by `base`. Raises UserError.
    """
    for _, (url, model) in servers.items():
        if url is None and model is not None:
            options = "--url" if len(servers) == 1 else "--url and --candidate-url"
            raise UserError(
                f"served_model_name: {model!r} is the name at an address", remedy=f"give what it is served at, by {options}"
            )
    urls = {name: url for name, (url, _) in servers.items() if url is not None}
    named = {name: model for name, (_, model) in servers.items() if model is not None}
    if not urls:
        return {}
    return {"kind": "url", "urls": urls, **({"served_model_name": named} if named else {})}
