"""The kinds of tasks by name; an installed package adds one by an entry point of the group `whichbits.task_kinds`."""

from __future__ import annotations

from whichbits.accuracy.kind import TaskKind
from whichbits.core.entry_points import Registry

GROUP = "whichbits.task_kinds"

KINDS: Registry[TaskKind] = Registry(
    "kind",
    "kind of task",
    GROUP,
    ("whichbits.accuracy.kind", "TaskKind"),
    {
        "generated": ("whichbits.accuracy.kinds.generated", "Generated"),
        "jsonl": ("whichbits.accuracy.kinds.jsonl", "Jsonl"),
        "lm-eval": ("whichbits.accuracy.kinds.lm_eval", "LmEval"),
        "human-eval": ("whichbits.accuracy.kinds.code", "HumanEval"),
        "mbpp": ("whichbits.accuracy.kinds.code", "Mbpp"),
        "ruler": ("whichbits.accuracy.kinds.ruler", "Ruler"),
        "arena-hard": ("whichbits.accuracy.kinds.arena_hard", "ArenaHard"),
        "gpqa": ("whichbits.accuracy.kinds.gpqa", "Gpqa"),
        "mathematics": ("whichbits.accuracy.kinds.mathematics", "Mathematics"),
    },
)


def register(kind: TaskKind) -> None:
    """Add a kind in this process. Raises UserError where its name is taken."""
    KINDS.register(kind.name, lambda: kind)


def task_kind(name: str) -> TaskKind:
    """The kind of that name. Raises UserError as `Registry.get`."""
    return KINDS.get(name)
