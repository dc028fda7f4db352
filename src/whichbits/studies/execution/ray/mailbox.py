"""The actor between running steps and the study: news and questions one way, answers the other."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from whichbits.schema.step import Step
from whichbits.studies.execution.processes import Ended, Progress, ServerAsked, ServerSilent, ServerWanted
from whichbits.studies.steps.step import ServerFailed


@dataclass(frozen=True)
class Started:
    """A step runs on a node."""

    step: Step
    node: str
    """Its id."""


News = Started | Progress | ServerSilent | Ended

Question = ServerWanted | ServerAsked

Answer = str | ServerFailed | None


@dataclass(frozen=True)
class Asked:
    """A question that waits for its answer."""

    number: int
    question: Question


class Mailbox:
    """Lives on the study's node, and ends with the study. Its methods wait for each other, so it is an asyncio actor."""

    def __init__(self) -> None:
        self._received: list[News | Asked] = []
        self._arrived = asyncio.Event()
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._asked = 0

    async def ready(self) -> None:
        """Answer once it can take news."""

    async def tell(self, news: News) -> None:
        """Leave news for the study."""
        self._received.append(news)
        self._arrived.set()

    async def ask(self, question: Question) -> Answer:
        """The study's answer, once it gives it."""
        self._asked += 1
        number = self._asked
        self._answers[number] = asyncio.get_running_loop().create_future()
        self._received.append(Asked(number, question))
        self._arrived.set()
        try:
            return await self._answers[number]
        finally:
            del self._answers[number]

    async def take(self) -> list[News | Asked]:
        """All that has arrived since, in its order; waits for something to arrive."""
        await self._arrived.wait()
        self._arrived.clear()
        received, self._received = self._received, []
        return received

    async def answer(self, number: int, answer: Answer) -> None:
        """Answer a question; who asked it may have gone."""
        if number in self._answers:
            self._answers[number].set_result(answer)
