"""From text to token ids, as the model was trained to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from whichbits.errors import UserError


class PromptTokenizer:
    """A Hugging Face tokenizer with its beginning-of-sequence rule made explicit.

    The tokenizer's own rule holds: where it begins every sequence with BOS, so do we, except before a text that already begins
    with it (chat templates write it themselves); where it has none, none is added. Code that comes with the tokenizer runs only
    where `allow_custom_code` says so.
    """

    def __init__(self, path: Path, *, allow_custom_code: bool = False) -> None:
        from transformers import AutoTokenizer

        self.hf: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=allow_custom_code)
        self.name = str(path)

    @property
    def eos_token_id(self) -> int:
        """Id of the end-of-sequence token."""
        if self.hf.eos_token_id is None:
            raise UserError(f"tokenizer: {self.name} has no eos_token", remedy="name one in tokenizer_config.json")
        return int(self.hf.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """Id of the token that a continuation without context is conditioned on: BOS, else EOS."""
        return self.eos_token_id if self.hf.bos_token_id is None else int(self.hf.bos_token_id)

    def encode(self, text: str, *, special: bool | None = None) -> list[int]:
        """Token ids of `text`; `special` forces the tokenizer's special tokens on or off, None follows the rule above."""
        if special is None:
            special = not (self.hf.bos_token and text.startswith(self.hf.bos_token))
        return [int(token) for token in self.hf.encode(text, add_special_tokens=special)]

    def chat(self, messages: Sequence[Mapping[str, str]], *, answer_begun: bool = False) -> str:
        """Messages (role, content) as the tokenizer's chat template writes them.

        With `answer_begun` the last message is the beginning of the model's answer and stays open.
        """
        if self.hf.chat_template is None:
            raise UserError(
                f"chat_template: the tokenizer of {self.name} has no chat template",
                remedy="set chat_template: false on the task, or give a checkpoint of an instruction-tuned model",
            )
        text: str = self.hf.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=not answer_begun, continue_final_message=answer_begun
        )
        return text
