"""What a job needs of the checkpoint and the engine that its step names, and who served it, with which weights."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from whichbits.schema.engine import Emulation, EngineAtAddress, EngineIdentity, ServingEngine, StartedEngine
from whichbits.schema.inputs import EngineInputs, EngineLocal
from whichbits.schema.session import SessionInputs, SessionLocal
from whichbits.studies.steps.shared.digest import digest
from whichbits.studies.steps.shared.job import BATCH_TOKENS, checkpoint_of, threads, trust_remote_code
from whichbits.studies.steps.step import Job, StepContext

if TYPE_CHECKING:
    from whichbits.engines.http.access import Access
    from whichbits.engines.http.endpoint import Endpoint
    from whichbits.engines.protocol import LanguageModel
    from whichbits.engines.served_weights import Reference
    from whichbits.schema.served_weights import Agreement


def model_of(job: Job, context: StepContext, stack: ExitStack) -> LanguageModel:
    """The checkpoint in the job's engine."""
    inputs = job.step.inputs_as(EngineInputs)
    if isinstance(inputs.engine, Emulation):
        from whichbits.engines.emulation.model import Emulated

        return Emulated(
            checkpoint_of(job),
            threads=inputs.engine.threads,
            batch_tokens=BATCH_TOKENS,
            trust_remote_code=trust_remote_code(job),
        )
    url = context.server(job.servers[0])
    who = server_of(job.servers[0], url, job, inputs.server)
    return stack.enter_context(endpoint(job, url, who.model, inputs.engine.concurrency))


def _serving(job: Job) -> ServingEngine:
    """The engine that serves the job's checkpoint."""
    engine = job.step.inputs_as(EngineInputs).engine
    assert not isinstance(engine, Emulation), f"{job.step.kind} {job.step.key} is served"
    return engine


def _at_address(job: Job) -> bool:
    """Whether the server is the user's."""
    return isinstance(job.step.inputs_as(EngineInputs).engine, EngineAtAddress)


def endpoint(job: Job, url: str, model: str, concurrency: int) -> Endpoint:
    """A served model, which must be the same when the job leaves it."""
    from whichbits.engines.http.endpoint import Endpoint
    from whichbits.engines.http.slots import Slots

    def tokenizer() -> Any:
        from whichbits.models.tokenization import load_tokenizer

        return load_tokenizer(job.step.local_as(EngineLocal).tokenizer, trust_remote_code=trust_remote_code(job))

    slots = None
    if job.turns is not None:
        slots = Slots(job.turns / digest([url, concurrency]), concurrency)
    return Endpoint(
        url,
        model,
        max_length=_serving(job).max_length,
        concurrency=concurrency,
        access=access_of(job),
        tokenizer=tokenizer,
        watch=True,
        slots=slots,
    )


def served_weights(job: Job, model: LanguageModel) -> Agreement | None:
    """How near a server at an address of the user's is to the candidate's weights; None of a server of ours."""
    if not _at_address(job):
        return None
    from whichbits.engines.served_weights import agreement

    return agreement(model, _reference(job))


def _reference(job: Job, base: bool = False) -> Reference | None:
    """What the candidate's weights, or the base's of a step of a session, say on this machine."""
    from whichbits.engines.served_weights import reference

    if base:
        files, reads = job.step.inputs_as(SessionInputs).base, dict[str, str]()
    else:
        files, reads = job.step.inputs_as(EngineInputs).checkpoint or {}, dict(job.step.reads)
    checkpoint = job.step.local_as(SessionLocal).base_checkpoint if base else checkpoint_of(job)
    name = digest([dict(files) or None, reads])
    return reference(checkpoint, name, threads=threads(job), trust_remote_code=trust_remote_code(job))


def references(jobs: Sequence[Job]) -> dict[str, Reference | None]:
    """By the name of the candidate, for all that are measured at addresses of the user's; none where servers are ours."""
    found: dict[str, Reference | None] = {}
    for job in jobs:
        if _at_address(job):
            for name, base in ((job.step.local_as(SessionLocal).base, True), (job.step.labels.candidate, False)):
                if name not in found:
                    found[name] = _reference(job, base)
    return found


def server_of(name: str, url: str, job: Job, planned: EngineIdentity | None) -> EngineIdentity:
    """Who answers at a candidate's address; raises UserError where it is not who the plan was made for."""
    from whichbits.engines.http.connection import Connection
    from whichbits.engines.http.identity import identify
    from whichbits.studies.steps.shared.same_server import check_same

    if planned is not None:
        check_same(name, planned)
        return planned
    engine = _serving(job)
    model = engine.model_name if isinstance(engine, StartedEngine) else None
    return identify(Connection(url, model, access_of(job)))


def served_by(job: Job, context: StepContext) -> EngineIdentity | None:
    """Who served the checkpoint; None where it was emulated."""
    inputs = job.step.inputs_as(EngineInputs)
    if isinstance(inputs.engine, Emulation):
        return None
    name = job.servers[0]
    return server_of(name, context.server(name), job, inputs.server)


def access_of(job: Job) -> Access:
    """What a server asks for that the user names; servers that whichbits starts ask for nothing."""
    from whichbits.engines.http.access import OPEN, access_from_environment

    return access_from_environment() if _at_address(job) else OPEN


def token_counts(model: LanguageModel) -> str:
    """Who counted the tokens of generated texts: the engine, or the tokenizer where the server does not say."""
    from whichbits.engines.http.endpoint import Endpoint

    return "tokenizer" if isinstance(model, Endpoint) and model.counted else "engine"


def waited(model: LanguageModel) -> float:
    """Seconds that requests waited for their turn at a server that other work was asking."""
    from whichbits.engines.http.endpoint import Endpoint

    return model.waited_s if isinstance(model, Endpoint) else 0.0


def agreement_of(who: EngineIdentity, job: Job, expected: Reference | None) -> Agreement:
    """How near what answered at a candidate's address is to its weights, asked after the load, once a session."""
    from whichbits.core.errors import UserError
    from whichbits.engines.errors import EngineError
    from whichbits.engines.served_weights import agreement
    from whichbits.schema.served_weights import Agreement

    try:
        with endpoint(job, who.address, who.model, 1) as model:
            return agreement(model, expected)
    except (EngineError, UserError) as error:
        return Agreement(reason=str(error))
