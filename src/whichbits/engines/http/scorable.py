"""Whether a server can be asked the items of tasks, by one short request of each form."""

from __future__ import annotations

from collections.abc import Callable

from whichbits.engines.errors import EngineError
from whichbits.engines.http.connection import Connection
from whichbits.engines.http.endpoint import Endpoint, TokenTexts

_IDS = [10, 11, 12, 13]
"""Of an ordinary prompt in any vocabulary: what the answer is does not matter."""


def why_not_scored(connection: Connection, *, logprobs: bool, tokenizer: Callable[[], TokenTexts] | None = None) -> str | None:
    """Why the server does not continue prompts of token ids, or with `logprobs` does not score them; None where it does."""
    endpoint = Endpoint(
        connection.url, connection.model, max_length=2 * len(_IDS), concurrency=1, access=connection.access, tokenizer=tokenizer
    )
    with endpoint:
        try:
            if logprobs:
                endpoint.loglikelihood([(_IDS[:2], _IDS[2:])])
            else:
                endpoint.generate([_IDS], max_tokens=1)
        except EngineError as error:
            return str(error)
    return None
