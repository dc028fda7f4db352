"""What serves the checkpoints of a study: the engine that is started, or addresses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, PositiveInt, field_validator, model_validator

from whichbits.schema.engine import Arguments
from whichbits.schema.frozen import Written
from whichbits.studies.specification.names import mistake

GivenT = TypeVar("GivenT")

BASE = "base"
"""The base in `engine.urls`, `engine.served_model_name` and `speeds`, where its own name is not known or not wanted."""


class Engine(Written):
    """What serves the checkpoints."""

    kind: Literal["vllm", "url"] = "vllm"
    command: tuple[str, ...] | None = None
    """Own command, with {model} and {port}; default: the vLLM that is installed."""
    arguments: Arguments = Field(default_factory=dict)
    environment: Mapping[str, str] = Field(default_factory=dict)
    urls: Mapping[str, str] = Field(default_factory=dict)
    """For `kind: url`: the address that serves each candidate, by its name; the base's is its format, as `bf16`, or `base`."""
    served_model_name: str | Mapping[str, str] | None = None
    """For `kind: url`: the name that the servers serve the model under, one for all or one for each candidate by its name;
    default: the only one that a server lists."""
    concurrency: PositiveInt = 16
    """Requests in flight while accuracy is scored; fixed, since batching changes last digits."""

    @field_validator("arguments", mode="before")
    @classmethod
    def _json(cls, arguments: Any) -> Any:
        if not isinstance(arguments, Mapping):
            return arguments
        for name, value in arguments.items():
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                raise mistake(
                    f"{name}: no engine takes a {type(value).__name__} like this", "quote it to make it text"
                ) from None
        return json.loads(json.dumps(dict(arguments)))

    @field_validator("environment")
    @classmethod
    def _variables(cls, environment: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in environment.items():
            if not name or "=" in name or "\0" in name + value:
                raise mistake(f"{name!r} cannot be a variable of the environment", "write NAME: value")
        return environment

    @field_validator("urls")
    @classmethod
    def _http(cls, urls: Mapping[str, str]) -> Mapping[str, str]:
        for name, url in urls.items():
            try:
                address = urlsplit(url)
            except ValueError:  # brackets that are not closed
                address = urlsplit("")
            if address.scheme not in ("http", "https") or not address.hostname:
                raise mistake(f"{name}: {url!r} is no address of a server", "write it as http://HOST:PORT")
            if "@" in address.netloc:
                raise mistake(f"{name}: its address has a user or password in it", "leave it out and set OPENAI_API_KEY")
        return urls

    @model_validator(mode="after")
    def _addresses(self) -> Engine:
        if (self.kind == "url") != bool(self.urls):
            raise mistake("`urls` goes with `kind: url` and only with it", "give both, or leave both out")
        if self.served_model_name is not None and self.kind != "url":
            raise mistake(
                "`served_model_name` goes with `kind: url`",
                "write it as an argument, `served-model-name`, or give `kind: url` and `urls`",
            )
        return self

    def of_base(self, name: str) -> Engine:
        """The same with the base's own name for `base`."""
        urls = with_name(self.urls, name)
        named = self.served_model_name
        names = named if named is None or isinstance(named, str) else with_name(named, name)
        return self.model_copy(update={"urls": urls, "served_model_name": names})

    def model_name(self, candidate: str) -> str | None:
        """The name that a candidate is served under at its address; None where the specification does not say."""
        named = self.served_model_name
        if named is None:
            argument = self.arguments.get("served-model-name")
            return None if argument is None else str(argument)
        return named if isinstance(named, str) else named.get(candidate)


def with_name(given: Mapping[str, GivenT], base: str) -> dict[str, GivenT]:
    """What is given for `base` under its own name."""
    return {base if name == BASE and base not in given else name: value for name, value in given.items()}
