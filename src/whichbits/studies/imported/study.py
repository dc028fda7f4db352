"""The study that imported results make. Scores and speeds of the same two models are one study where they share a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from whichbits.core.errors import UserError
from whichbits.schema.deployment import Deployment
from whichbits.schema.step import Step
from whichbits.schema.workload import Workload
from whichbits.studies.steps.shared.imported import SCORES, SPEEDS
from whichbits.studies.store.manifest import FILE, SCHEMA, StudyManifest, entries
from whichbits.studies.store.manifest import read as read_manifest
from whichbits.studies.store.store import Store

if TYPE_CHECKING:
    from whichbits.verdict.verdict import Verdict

PartKind = Literal["evaluate", "serve"]
"""Of the steps that an import brings."""
NAME = "imported"
"""Of the study."""
SAID_OF: Mapping[PartKind, str] = {"evaluate": SCORES, "serve": SPEEDS}
"""How the notes on a part begin."""
DEFAULT_MARGIN = 0.01


@dataclass(frozen=True)
class Part:
    """What one import brings: the steps of its kind, and what to say of them."""

    kind: PartKind
    base: str
    """Its name in the study."""
    candidate: str
    models: tuple[str, str]
    """As the tool calls base and candidate."""
    steps: tuple[Step, ...]
    notes: tuple[str, ...]
    margin: float | None
    """Of the decision; None for that of the study that is there, or the default."""
    command: str
    workloads: Mapping[str, Workload]
    deployments: Mapping[str, Deployment]


def judge(part: Part, store: Store) -> Verdict:
    """The verdict on what `store` holds with this part, which takes the place of an earlier one of its kind. It is locked."""
    from whichbits.studies import conclusion

    manifest = _manifest(part, _earlier(store))
    manifest.write(store.folder)
    records = manifest.records(store)
    verdict = conclusion.judge(manifest, records)
    conclusion.write(verdict, manifest, records, store.folder)
    return verdict


def names(kind: PartKind, base: str, candidate: str, store: Store) -> tuple[str, str]:
    """What base and candidate are called: the last part of their models' names, or where these are one, base and candidate.

    Raises UserError where the store is of another study, or holds results of another kind of other models.
    """
    short = [name.rstrip("/").rsplit("/", 1)[-1] for name in (base, candidate)]
    found = (short[0], short[1]) if all(short) and short[0] != short[1] else ("base", "candidate")
    earlier = _earlier(store)
    if earlier is not None and tuple(earlier.formats) != found and any(step.kind != kind for step in earlier.steps):
        there, here = (" and ".join(pair) for pair in (earlier.formats, found))
        raise UserError(f"store: {store.folder} holds results of {there}, not of {here}", remedy="name another --store")
    return found


def _earlier(store: Store) -> StudyManifest | None:
    """The imported study that a store holds. Raises UserError where it holds another, whose verdict would be lost."""
    if not (store.folder / FILE).is_file():
        return None
    manifest = read_manifest(store.folder)
    if manifest.study != NAME:
        raise UserError(f"store: {store.folder} is the store of study {manifest.study}", remedy="name another --store")
    return manifest


def _manifest(part: Part, earlier: StudyManifest | None) -> StudyManifest:
    others = () if earlier is None else tuple(step for step in earlier.steps if step.kind != part.kind)
    kept = earlier if others else None
    notes = () if kept is None else tuple(note for note in kept.notes if not note.startswith(SAID_OF[part.kind]))
    return StudyManifest(
        schema_version=SCHEMA,
        study=NAME,
        specification="",
        command=part.command,
        model=part.models[0],
        notes=(*notes, *part.notes),
        base=part.base,
        base_bytes=None,
        formats=dict(zip((part.base, part.candidate), part.models, strict=True)),
        margin=part.margin if part.margin is not None else kept.margin if kept else DEFAULT_MARGIN,
        seed=0,
        hardware="not known",
        engines=(),
        workloads=part.workloads or (kept.workloads if kept else {}),
        deployments=part.deployments or (kept.deployments if kept else {}),
        prices="default",
        steps=(*others, *entries(part.steps)),
        version=metadata.version("whichbits"),
    )
