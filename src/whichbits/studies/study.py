"""A run of a study: what the functions of the Python API share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.core.errors import UserError, parted
from whichbits.schema.deployment import Deployment, EngineUsed
from whichbits.schema.probe import ProbeSummary
from whichbits.studies.planning.estimate import Durations
from whichbits.studies.server_abilities import say_lacking
from whichbits.studies.specification.schema import Specification
from whichbits.studies.specification.source import Source
from whichbits.studies.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console

    from whichbits.schema.step import Record
    from whichbits.studies.execution.executor import Executor
    from whichbits.studies.planning.plan import Plan
    from whichbits.studies.planning.planner import Expansion
    from whichbits.studies.store.manifest import StudyManifest
    from whichbits.verdict.verdict import Verdict

LOG = "run.log"


def check_prices(expansion: Expansion, overrides: Mapping[str, float]) -> None:
    """Raise UserError now, not after hours, for prices that cannot be used or a deployment that has none."""
    from whichbits.cost.prices import prices

    chosen = expansion.specification
    listed = prices(chosen.prices, overrides)
    deployment = chosen.deployment
    if deployment.price_per_hour is None and deployment.hardware != "this-machine":
        listed.price(deployment.hardware)
    for index, one in enumerate(chosen.speeds):
        if one.price_per_hour is None and one.hardware is not None:
            try:
                listed.price(one.hardware)
            except UserError as error:
                raise expansion.source.placed(("speeds", index, "hardware"), error) from error


def probed(expansion: Expansion, store: Store, *, quiet: bool = False, console: Console | None = None) -> Expansion:
    """The expansion with what the probes say, run first where some candidate's way to run depends on them."""
    plan = expansion.probes()
    if not plan.steps:
        return expansion
    run(plan, expansion, store, quiet=quiet, console=console)
    return replace(expansion, statuses=statuses_of(plan, store))


def statuses_of(plan: Plan, store: Store) -> dict[str, str]:
    """What the probes of a plan say of each format, by its name; one that failed, or is not done, is a refusal."""
    records = [store.record(planned.step) for planned in plan.steps]
    return {
        str(record.labels.format): record.found(ProbeSummary).status if record.state == "done" else "refused"
        for record in records
    }


def run(
    plan: Plan,
    expansion: Expansion,
    store: Store,
    *,
    failed: Collection[str] = (),
    more: Callable[[], Plan | None] | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> dict[str, str]:
    """Run what is missing of a plan but what has `failed` in this command; how each step has ended, by key.

    Once all has ended, `more` is asked for another plan, until it has none. Raises UserError where there is no such executor.
    """
    from rich.console import Console as RichConsole

    from whichbits.hardware.this_machine import processors
    from whichbits.studies.execution.placement import Machine
    from whichbits.studies.execution.progress import RunView
    from whichbits.studies.execution.runner import Runner
    from whichbits.studies.execution.servers import ConfiguredEngine, NoEngine, resident_servers
    from whichbits.studies.forecast import expected
    from whichbits.studies.planning.claims import devices_used, nodes_used
    from whichbits.studies.planning.shards import Splitting
    from whichbits.studies.steps.registry import KINDS, preloaded

    where = expansion.specification.executor
    executor = chosen_executor(expansion.specification)
    missing = plan.missing(store)
    durations = Durations()
    durations.read(store.folder)
    settings = expansion.settings
    engine: ConfiguredEngine | NoEngine = NoEngine()
    if expansion.command is not None:
        resident = resident_servers(expansion.hardware, settings, {expansion.base: expansion.model.bytes})
        engine = ConfiguredEngine(expansion.command, settings, store.folder / "servers", resident)
    serves = expansion.command is not None
    machine = Machine(
        client=frozenset(processors(settings.client_cpus)) if serves and settings.client_cpus else None,
        server=frozenset(processors(settings.server_cpus)) if serves and settings.server_cpus else None,
        accelerator=bool(expansion.hardware.gpus),
        devices=devices_used(expansion.specification.engine) // nodes_used(expansion.specification.engine),
        serves=serves,
    )
    splitting = Splitting.of_store(store, expected(expansion, durations), where.shards)
    view = RunView(
        console or RichConsole(quiet=quiet),
        durations,
        store.folder / LOG,
        lambda steps: machine.seconds(steps, executor.places()),
    )
    if len(missing) < len(plan.steps):
        view.console.print(f"{len(plan.steps) - len(missing)} of {len(plan.steps)} steps are done already", style="dim")

    runner = Runner(plan, store, KINDS, executor, engine, view, machine, preloaded(), failed, more, splitting.split)
    with view, _disk_errors(store):
        return dict(runner.run())


def chosen_executor(specification: Specification) -> Executor:
    """What runs the steps. Raises UserError where there is no such executor, or it is none of a cluster and should be."""
    from whichbits.engines.vllm.server_arguments import NODES
    from whichbits.studies.execution.executors import EXECUTORS
    from whichbits.studies.planning.claims import nodes_used

    choice, engine = specification.executor, specification.engine

    executor = EXECUTORS.get(choice.name)
    executor.connect(choice.address)
    executor.share(choice.nodes, "executor.nodes")
    executor.share(nodes_used(engine), f"engine.arguments.{NODES}")
    return executor


def say(text: str, *, quiet: bool = False, console: Console | None = None) -> None:
    """A line between two parts of a run."""
    from rich.console import Console as RichConsole

    (console or RichConsole(quiet=quiet)).print(text)


@contextmanager
def _disk_errors(store: Store) -> Iterator[None]:
    """A store that cannot be written any more ends the run with one line; finished steps are kept."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"store: {store.place} cannot be written: {error.strerror or error}",
            remedy="free some space, or make the folder writable, and run the same command again; finished steps are kept",
        ) from error


def judged(expansion: Expansion, plan: Plan, store: Store, overrides: Mapping[str, float], command: str) -> Verdict:
    """The verdict of a study as it stands, with its manifest written."""
    from whichbits.studies import conclusion

    manifest = manifest_of(expansion, plan, overrides, command, 0.0)
    manifest.write(store.folder)
    store.publish()
    return conclusion.judge(manifest, manifest.records(store))


def manifest_of(
    expansion: Expansion, plan: Plan, overrides: Mapping[str, float], command: str, seconds: float
) -> StudyManifest:
    """What the store needs to know to judge and report later."""
    from whichbits.studies.conclusion import VLLM
    from whichbits.studies.store.manifest import SCHEMA, StudyManifest, entries

    chosen = expansion.specification
    engines: list[EngineUsed] = []
    if expansion.command is not None:
        settings = expansion.settings
        engines.append(
            EngineUsed(
                name=VLLM,
                version=expansion.command.version,
                arguments=settings.arguments,
                environment=settings.environment,
            )
        )
    engines += [EngineUsed(name=name, version=version) for name, version in expansion.emulation.versions.items()]
    measured = (*expansion.workloads, *(one.workload for one in expansion.imported_speeds))
    return StudyManifest(
        schema_version=SCHEMA,
        study=chosen.name,
        specification=expansion.source.text or chosen.model_dump_json(indent=1),
        command=command,
        model=chosen.model,
        notes=(
            *expansion.model.notes,
            *(note for subject in expansion.subjects for note in subject.notes),
            *chosen.notes,
            *chosen.unavailable,
            *expansion.left_out,
            *expansion.deployment_caveats,
            *(note for one in expansion.imported_speeds for note in one.notes),
        ),
        base=expansion.base,
        base_bytes=expansion.model.bytes,
        formats={subject.name: subject.format.name for subject in expansion.subjects},
        checkpoints={subject.name: str(subject.folder) for subject in expansion.subjects if subject.folder is not None},
        margin=chosen.margin,
        seed=chosen.seed,
        hardware=expansion.hardware.kind,
        engines=tuple(engines),
        workloads={workload.name: workload for workload in measured},
        deployments=_deployments(chosen, overrides),
        prices=chosen.prices,
        looks=chosen.looks if len(chosen.looks) > 1 else (),
        early_stopping=expansion.early_stopping,
        judge=expansion.judge,
        steps=entries(planned.step for planned in plan.steps),
        seconds={"run": round(seconds, 1)},
        version=version("whichbits"),
    )


def _deployments(chosen: Specification, overrides: Mapping[str, float]) -> dict[str, Deployment]:
    """By name, with their prices: that of the study, and those of speeds that were measured elsewhere."""
    from whichbits.studies.conclusion import priced_deployment

    here = chosen.deployment
    found = {here.name: priced_deployment(here.hardware, here.count, here.price_per_hour, chosen.prices, overrides)}
    for one in chosen.speeds:
        if one.hardware is not None:
            priced = priced_deployment(one.hardware, one.count, one.price_per_hour, chosen.prices, overrides)
            found[one.deployment] = priced
    return found


MADE = ("quantize", "probe")
"""Kinds that are not measured: what they give is decided by their inputs."""


def set_aside_measured(plan: Plan, store: Store) -> None:
    """Have everything of a plan that is measured measured afresh; earlier results stay in the store's `superseded/`."""
    from whichbits.studies.steps.registry import shard_kinds
    from whichbits.studies.store.shards import stored_shards

    anew = {planned.step.key: planned.step for planned in plan.steps if planned.step.kind not in MADE}
    store.set_aside(anew.values())
    shards = stored_shards(store.folder, shard_kinds())
    store.discard((shard.kind, shard.key) for shard in shards if shard.part.step in anew)


def run_part(
    specification: Specification,
    store: Path | None,
    kinds: set[str],
    *,
    emulated: bool = False,
    data_dir: Path | None = None,
    fresh: bool = False,
) -> list[Record]:
    """Run the steps of these kinds of a small study, and return their records; a failed one raises UserError with its cause.

    With `fresh` what is measured is measured again though the store has it.
    """
    from whichbits.studies.planning.planner import Expansion

    expansion = Expansion(
        specification, Source("", specification.name), data_dir=data_dir, base_engine="emulated" if emulated else None
    )
    place = Store(store or Path("studies") / specification.name)
    plan = expansion.plan()
    chosen = tuple(planned for planned in plan.steps if planned.step.kind in kinds)
    with place.locked():
        if fresh:
            set_aside_measured(replace(plan, steps=chosen), place)
        say_lacking(expansion, replace(plan, steps=chosen), place, _stderr())
        run(replace(plan, steps=chosen), expansion, place, console=_stderr())
        records = [place.record(planned.step) for planned in chosen]
    for record in records:
        if record.state != "done":
            message, remedy = parted(record.error or "did not run")
            logs = f"see {place.folder / LOG} and {place.folder / 'failed'}"
            raise UserError(f"{record.kind}: {message}", remedy=f"{remedy}; {logs}" if remedy else logs)
    return records


def _stderr() -> Console:
    """Progress of a command whose result goes to standard output."""
    from rich.console import Console as RichConsole

    return RichConsole(stderr=True)
