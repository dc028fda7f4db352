"""What of the usual requests a server takes, and what is sent in place of the rest."""

from __future__ import annotations

from typing import Literal

from whichbits.schema.frozen import Stored

AS_TEXT = (
    "takes no token ids as the prompt: prompts are sent as text; "
    "their length is counted by the tokenizer and checked by the server"
)
BY_MIN_TOKENS = "does not keep a length of output by ignore_eos: it is kept by min_tokens"


class ServerAbilities(Stored):
    """What one answered request of each form has shown of a server, before any load."""

    token_ids: bool = True
    """Whether it takes them as the prompt; else prompts are texts of as many tokens."""
    length_by: Literal["ignore_eos", "min_tokens"] = "ignore_eos"
    """The field that keeps an output to its length."""

    @property
    def instead(self) -> tuple[str, ...]:
        """What it cannot do and what is measured instead, in words; nothing of a server that takes the usual requests."""
        lacks = {AS_TEXT: not self.token_ids, BY_MIN_TOKENS: self.length_by == "min_tokens"}
        return tuple(said for said, lacking in lacks.items() if lacking)
