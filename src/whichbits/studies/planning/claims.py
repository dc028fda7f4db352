"""What a specification says of the device, against what this machine and the engine's arguments say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from whichbits.core.errors import UserError
from whichbits.engines.vllm.server_arguments import NODES, PARALLEL, option

if TYPE_CHECKING:
    from whichbits.hardware.this_machine import Hardware as Machine
    from whichbits.studies.specification.engine import Engine
    from whichbits.studies.specification.schema import Deployment

HERE = "this-machine"
SHORT = {"-tp": PARALLEL[0], "-pp": PARALLEL[1], "-dp": PARALLEL[2]}


def caveats(deployment: Deployment, engine: Engine, machine: Machine) -> tuple[str, ...]:
    """What cannot be known of the deployment, or contradicts it where the engine may run elsewhere, a sentence each.

    Raises UserError where the engine is started here and the deployment is not what it runs on.
    """
    if engine.kind == "url":
        return tuple(_elsewhere(deployment, engine))
    problems = list(_contradictions(deployment, engine, machine))
    own = engine.command is not None and len(engine.command) > 1
    if problems and not own:
        problem, remedy = problems[0]
        raise UserError(problem, remedy=remedy)
    where = "; the engine's own command may run elsewhere, and prices and names are those of the specification"
    return tuple(f"deployment.{problem}{where}." for problem, _ in problems)


def _remedy(machine: Machine) -> str:
    return (
        f"this machine is {machine.kind}: leave hardware and count out, or run the study on the hardware that it names "
        "(whichbits predict answers for hardware that is not available)"
    )


def _elsewhere(deployment: Deployment, engine: Engine) -> Iterator[str]:
    from whichbits.engines.http.connection import is_loopback

    hosts = sorted({urlsplit(url).netloc for url in engine.urls.values()})
    if deployment.hardware != HERE or deployment.count > 1:
        count = f"{deployment.count} × " if deployment.count > 1 else ""
        said = f"{count}{deployment.hardware} is what the specification says"
        yield f"What the servers at {', '.join(hosts)} run on cannot be asked from here: {said}."
    elif any(not is_loopback(urlsplit(url).hostname or "") for url in engine.urls.values()):
        yield f"What the servers at {', '.join(hosts)} run on is not known: the hardware that is shown is the client's."


def _contradictions(deployment: Deployment, engine: Engine, machine: Machine) -> Iterator[tuple[str, str]]:
    """What is not as the specification says, each with what helps."""
    remedy = _remedy(machine)
    claimed, count = deployment.hardware, deployment.count
    if claimed == "cpu" and machine.gpus:
        yield f"hardware: {claimed}, but this machine serves on {machine.kind}", remedy
        return
    if claimed not in (HERE, "cpu"):
        for problem in _other_device(claimed, machine):
            yield problem, remedy
    nodes = nodes_used(engine)
    devices = (len(machine.gpus) or 1) * nodes
    if count > devices:
        there = f"this machine has {devices}" if nodes == 1 else f"{nodes} machines like this one have {devices}"
        yield f"count: {count}, but {there}: {machine.kind}", remedy
    used = devices_used(engine)
    if machine.gpus and used != count:
        other = f"count: {used}, or " if used <= devices else ""
        yield (
            f"count: {count}, but the engine's arguments ask for {used} ({', '.join(PARALLEL)})",
            f"give {other}engine.arguments whose product is {count}",
        )


def _other_device(claimed: str, machine: Machine) -> Iterator[str]:
    from whichbits.hardware.catalogue import find

    if not machine.gpus:
        yield f"hardware: {claimed}, but this machine has no GPU that its driver shows: {machine.kind}"
        return
    try:
        wanted = find(claimed)
    except UserError:  # of the user's own price list
        wanted = None
    for name in dict.fromkeys(gpu.name for gpu in machine.gpus):
        try:
            found = find(name)
        except UserError:
            found = None
        if found is None or wanted is None or found.id != wanted.id:
            yield f"hardware: {claimed}, but this machine's driver shows {name}"
            return


def devices_used(engine: Engine) -> int:
    """Devices that the engine's arguments, and its own command, ask for."""
    given: dict[str, Any] = {}
    words = [part for word in engine.command or () for part in word.split("=", 1)]
    for word, value in pairwise(words):
        name = SHORT.get(word, option(word))
        if word.startswith("-") and name in PARALLEL:
            given[name] = value
    given |= {option(name): value for name, value in engine.arguments.items()}
    product = 1
    for name in PARALLEL:
        product *= _whole(name, given, "devices")
    return product


def nodes_used(engine: Engine) -> int:
    """Machines that a server spans by the engine's arguments. Raises UserError where they cannot have equally many devices."""
    nodes = _whole(NODES, {option(name): value for name, value in engine.arguments.items()}, "machines")
    if (devices := devices_used(engine)) % nodes:
        raise UserError(
            f"engine.arguments.{NODES}: {devices} devices cannot be shared out evenly between {nodes} machines",
            remedy=f"give a divisor of {devices}, the product of {', '.join(PARALLEL)}",
        )
    return nodes


def _whole(name: str, given: Mapping[str, Any], what: str) -> int:
    value = given.get(name, 1)
    if isinstance(value, bool) or not str(value).isdecimal() or int(value) < 1:
        raise UserError(f"engine.arguments.{name}: {value!r} is no number of {what}", remedy="give a whole number from 1 on")
    return int(value)
