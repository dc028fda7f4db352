"""`whichbits study`: a study run and judged, or only planned."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from whichbits.api.arguments import overrides_of
from whichbits.core.errors import UserError
from whichbits.studies.preview import Preview, preview
from whichbits.studies.server_abilities import say_lacking
from whichbits.studies.specification.decide import Decide
from whichbits.studies.specification.judge import JudgeChoice
from whichbits.studies.specification.schema import Specification, load
from whichbits.studies.specification.source import Source
from whichbits.studies.store.place import Place, open_folder, open_store
from whichbits.studies.study import (
    check_prices,
    chosen_executor,
    manifest_of,
    probed,
    run,
    say,
    set_aside_measured,
    statuses_of,
)

if TYPE_CHECKING:
    from rich.console import Console

    from whichbits.verdict.verdict import Verdict


@dataclass(frozen=True)
class Outcome:
    """What a study came to."""

    verdict: Verdict
    report: Path
    store: Path
    failed: int
    """Steps that failed."""
    seconds: float
    """Wall-clock time of this run."""
    serve: Mapping[str, str]
    """The command that serves each candidate whose checkpoint is here."""
    seconds_by_kind: Mapping[str, float]
    """Of all steps, those of earlier runs too, by kind."""

    @property
    def sentence(self) -> str:
        """The answer in a sentence or two."""
        from whichbits.verdict.words.answer import sentence

        return sentence(self.verdict)


def study(
    specification: str | Path | Specification,
    *,
    store: Place | None = None,
    price: Sequence[str] | None = None,
    data_dir: Path | None = None,
    fresh: bool = False,
    executor: str | None = None,
    address: str | None = None,
    until_decided: bool = False,
    judge: JudgeChoice | None = None,
    quiet: bool = False,
    console: Console | None = None,
) -> Outcome:
    """Run a study, or what is missing of it, and judge it.

    `specification` is a file, a preset's name, or a Specification; `store` the folder of its results, or `s3://BUCKET/FOLDER`
    (default: studies/NAME);
    `price` holds DEVICE=USD_PER_HOUR; `data_dir` data sets of public tasks in place of the hub. With `fresh` all that is
    measured is measured again; checkpoints that were made are kept. `executor` says where steps run (default: what the
    specification says, else this machine), `address` at which cluster. Where the specification has `most_rounds` or a
    `speed_budget`, speeds that are not decided after `rounds` are measured further. With `until_decided`, or where it says
    `decide`, each candidate is evaluated only until it is decided. `judge` compares the answers of tasks that are judged, in
    place of the judges of the specification. Raises UserError for a mistake in any of these; a step that
    fails is a line of the verdict instead.
    """
    chosen, source = _specification(specification)
    chosen = _until_decided(chosen, until_decided)
    chosen = _on_executor(chosen, executor, address)
    overrides = overrides_of(price)
    place = open_store(store or Path("studies") / chosen.name)
    from_text = isinstance(specification, str | Path)
    command = (
        _command(str(specification), store, price, data_dir, judge, until_decided=until_decided)
        if from_text
        else "whichbits.study(specification), in Python"
    )
    from rich.console import Console as RichConsole

    from whichbits.studies.more_rounds import MoreRounds
    from whichbits.studies.planning.judging import judging_lines
    from whichbits.studies.planning.planner import Expansion
    from whichbits.studies.until_decided import check_decide, run_looks

    expansion = Expansion(chosen, source, data_dir=data_dir, judge=judge)
    check_prices(expansion, overrides)
    check_decide(expansion)
    _ = expansion.deployment_caveats  # refused now, not after hours
    began = time.monotonic()
    with place.locked():
        expansion = probed(expansion, place, quiet=quiet, console=console)
        if fresh:
            set_aside_measured(expansion.plan(), place)
        say_lacking(expansion, expansion.plan(), place, console or RichConsole(quiet=quiet))
        not_again: list[str] = []
        if chosen.decide is not None:
            place.sweep(planned.step for planned in expansion.plan().missing(place))
            expansion, not_again = run_looks(expansion, place, overrides, command, quiet=quiet, console=console)
        rounds = MoreRounds(expansion, place, overrides, command, console or RichConsole(quiet=quiet))
        place.sweep(planned.step for planned in rounds.plan.missing(place))
        manifest_of(expansion, rounds.plan, overrides, command, 0.0).write(place.folder)
        for line in (*expansion.left_out, *judging_lines([one.step for one in rounds.plan.missing(place)])):
            say(line, quiet=quiet, console=console)
        states = run(rounds.plan, expansion, place, failed=not_again, quiet=quiet, console=console)
        while (added := rounds.next()) is not None:
            if fresh:
                set_aside_measured(added, place)
            if added.missing(place):
                states |= run(added, rounds.expansion, place, quiet=quiet, console=console)
        manifest = manifest_of(rounds.expansion, rounds.plan, overrides, command, time.monotonic() - began)
        from whichbits.studies import conclusion

        records = manifest.records(place)
        verdict = conclusion.judge(manifest, records)
        manifest.write(place.folder)
        seconds = time.monotonic() - began
        written = conclusion.write(verdict, manifest, records, place.folder)
    by_kind = conclusion.kind_seconds(records)
    failed = len(_failed(states))
    return Outcome(verdict, written.html, place.folder, failed, seconds, conclusion.serve_commands(manifest, records), by_kind)


def plan(
    specification: str | Path | Specification,
    *,
    store: Place | None = None,
    price: Sequence[str] | None = None,
    data_dir: Path | None = None,
    executor: str | None = None,
    address: str | None = None,
    until_decided: bool = False,
    judge: JudgeChoice | None = None,
) -> Preview:
    """What a study would do, and what is done already: steps, hours and dollars; arguments as for `study`. Raises UserError."""
    from whichbits.studies.planning.planner import Expansion
    from whichbits.studies.until_decided import check_decide, most_planned

    chosen, source = _specification(specification)
    chosen = _on_executor(_until_decided(chosen, until_decided), executor, address)
    chosen_executor(chosen)  # refused now, as by a run
    overrides = overrides_of(price)
    expansion = Expansion(chosen, source, data_dir=data_dir, weights=False, judge=judge)
    check_prices(expansion, overrides)
    check_decide(expansion)
    place = open_store(store or Path("studies") / chosen.name)
    if chosen.decide is None:
        return preview(expansion, place, overrides)
    expansion, said = most_planned(expansion, place)
    found = preview(expansion, place, overrides)
    return replace(found, text=f"{found.text} {said}")


def plan_jobs(
    specification: str | Path,
    *,
    store: Place | None = None,
    price: Sequence[str] | None = None,
    data_dir: Path | None = None,
    judge: JudgeChoice | None = None,
) -> Path:
    """Write what a batch system needs to run a study: a script that submits it to Slurm; returns the script.

    It stands in the store, where each job finds the study too; arguments as for `study`. Raises UserError, also where what the
    steps are depends on results that are not there.
    """
    from whichbits.studies.planning.planner import Expansion
    from whichbits.studies.planning.shards import for_jobs
    from whichbits.studies.planning.slurm import write_slurm
    from whichbits.studies.planning.stages import stages
    from whichbits.studies.steps.registry import KINDS

    chosen, source = _specification(specification)
    chosen_executor(chosen.on_one_machine())  # refused now, as by a job
    overrides = overrides_of(price)
    place = open_folder(store or Path("studies") / chosen.name)
    expansion = Expansion(chosen, source, data_dir=data_dir, judge=judge)
    check_prices(expansion, overrides)
    if chosen.decide is not None or expansion.probes().missing(place):
        what = "decide" if chosen.decide is not None else "run: auto"
        raise UserError(
            f"specification: with `{what}` it is seen only while the study runs which steps it has",
            remedy="leave `decide` out, and say `run: served` or `run: emulated` of each candidate",
        )
    expansion = replace(expansion, statuses=statuses_of(expansion.probes(), place))
    command = _command(str(specification), place.folder, price, data_dir, judge)
    whole = expansion.plan()
    with place.locked():
        manifest_of(expansion, whole, overrides, command, 0.0).write(place.folder)
    found = stages(for_jobs(whole, place).missing(place), KINDS)
    return write_slurm(place.folder, chosen.name, found, shlex.split(command)[1:])


def _failed(states: Mapping[str, str]) -> list[str]:
    """Keys of the steps that have failed."""
    return [key for key, state in states.items() if state == "failed"]


def _until_decided(chosen: Specification, wanted: bool) -> Specification:
    """The specification, which stops where nothing is left to decide where that is `wanted`."""
    return chosen.model_copy(update={"decide": Decide()}) if wanted and chosen.decide is None else chosen


def _on_executor(chosen: Specification, executor: str | None, address: str | None) -> Specification:
    """The specification, which runs where these say; None: where it says itself."""
    given = {name: value for name, value in (("name", executor), ("address", address)) if value is not None}
    return chosen.model_copy(update={"executor": chosen.executor.model_copy(update=given)})


def _command(
    specification: str,
    store: Place | None,
    price: Sequence[str] | None,
    data_dir: Path | None,
    judge: JudgeChoice | None,
    *,
    until_decided: bool = False,
) -> str:
    """The command line that runs a study again, for its report."""
    named = None if judge is None else judge.model_dump_json(exclude_defaults=True)
    options = [("--store", store), *(("--price", entry) for entry in price or ()), ("--data-dir", data_dir), ("--judge", named)]
    words = [str(word) for option in options if option[1] is not None for word in option]
    words += ["--until-decided"] if until_decided else []
    return shlex.join(["whichbits", "study", specification, *words])


def _specification(specification: str | Path | Specification) -> tuple[Specification, Source]:
    if isinstance(specification, Specification):
        return specification, Source("", f"study {specification.name}")
    chosen, source = load(specification)
    if not chosen.candidates:
        raise source.error(("candidates",), "is empty", "name a format; `whichbits evaluate` scores one model alone")
    return chosen, source
