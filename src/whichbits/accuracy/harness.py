"""What is used of lm-evaluation-harness's objects, which has no types of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class Documents(Sized, Protocol):
    """The rows of a data set, each of a shape of its task's own."""

    def __iter__(self) -> Iterator[Any]: ...


class HarnessTask(Protocol):
    """A task object."""

    VERSION: int | str
    OUTPUT_TYPE: str
    task_name: str
    multiple_input: bool
    doc_iterator: Callable[..., Iterator[tuple[int, Any]]]
    """Goes through the documents that are taken, each with its number."""
    process_results: Callable[[Any, Any], Any]
    """Metrics of a document and what was answered."""

    @property
    def eval_docs(self) -> Documents:
        """The documents that it is scored on."""
        ...

    def get_config(self, key: str) -> Any:
        """A field of its configuration."""
        ...

    def set_config(self, key: str, value: Any) -> None:
        """Change a field of its configuration."""
        ...

    def set_fewshot_seed(self, seed: int) -> None:
        """Draw worked examples by this seed."""
        ...

    def doc_to_text(self, doc: Any) -> Any:
        """What a document asks."""
        ...

    def doc_to_choice(self, doc: Any) -> list[str]:
        """The choices of a document."""
        ...

    def doc_to_target(self, doc: Any) -> Any:
        """The right answer, or the index of it."""
        ...


class HarnessDocument(NamedTuple):
    """Which document of which task."""

    task: str
    """The task's own name."""
    number: int
    """Its number there."""


@dataclass(frozen=True)
class HarnessSample:
    """One document, answered and scored, after one filter."""

    filter: str
    document: Any
    doc_hash: str
    prompt_hash: str
    target_hash: str
    target: str
    answers: Sequence[Any]
    """After the filter: texts, or of each choice its log-likelihood and whether it is the greedy one."""
    metrics: Mapping[str, object]
    """Values by metric: a number, or several."""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> HarnessSample:
        """One of the samples that an evaluation returns."""
        return cls(
            filter=row["filter"],
            document=row["doc"],
            doc_hash=row["doc_hash"],
            prompt_hash=row["prompt_hash"],
            target_hash=row["target_hash"],
            target=str(row["target"]),
            answers=row["filtered_resps"],
            metrics={name: row[name] for name in row["metrics"]},
        )
