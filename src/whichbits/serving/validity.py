"""Whether a load level measured what it says, and if not why."""

from __future__ import annotations

from whichbits.schema.serve import Evidence, Metrics
from whichbits.schema.workload import Workload
from whichbits.serving.workload import LoadLevel

MINIMUM_LATENCIES = 3.5
"""Mean latencies in the steady window: of the five requests a stream or more that are sent, it holds about one fewer."""
LITTLE_TOLERANCE = 0.05
BACKLOG_TOLERANCE = 0.10
DISPATCH_TOLERANCE = 0.05
"""Largest share of a request's time that it may wait in the client: the bias of throughput."""
BUSY_CLIENT = 0.8
PREFIX_HITS = 0.01
FOREIGN_TOKENS = 0.01
MISSING_TOKENS = 0.1
"""Largest share of our tokens that its counters may lack: they may be a moment behind."""
THROTTLED = 0.01
"""Largest share of the time in which the machine may be held back."""
DRIFT = 0.1
"""Largest change of the mean latency from the first half of the window to the second."""
PROMPT_TOLERANCE = 0.01
"""A server may add a token of its own to a prompt."""
CLOCK_STEP_S = 0.001
AT_ONCE = 0.1
"""Largest share of requests whose tokens may arrive in one piece, as one of two tokens can."""
LOOP_LAG_TOLERANCE = 0.05
"""Largest share of the time to first token by which the client may read late: the bias of that time."""
LOOP_LAG_S = 0.002
"""Lateness of timers that tells nothing: the kernel rounds them to a millisecond."""


def prompt_tolerance(asked: int) -> float:
    """By how many tokens a prompt may differ from what was sent: a server may add one of its own."""
    return max(1, PROMPT_TOLERANCE * asked)


def judge(evidence: Evidence, metrics: Metrics, level: LoadLevel, workload: Workload) -> tuple[str, ...]:
    """Reasons why the load level is not valid, in words; none where it is."""
    return (*judge_requests(evidence, metrics, workload.most_shared), *_steady(evidence, metrics, level))


def judge_requests(evidence: Evidence, metrics: Metrics, shared: float = 0.0) -> tuple[str, ...]:
    """The same of any requests, whether or not their load is steady; `shared` is what prompts share on purpose."""
    return (
        *_complete(evidence),
        *_stream(evidence),
        *_lengths(evidence),
        *_server(evidence, shared),
        *_client(evidence, metrics),
    )


def _complete(evidence: Evidence) -> list[str]:
    found = []
    if evidence.errors:
        found.append(f"errors: {evidence.errors} requests failed, the first with {evidence.first_error}")
    if evidence.requests < evidence.requests_planned:
        found.append(f"too few samples: {evidence.requests} of {evidence.requests_planned} requests were answered")
    return found


def _stream(evidence: Evidence) -> list[str]:
    if evidence.at_once is None or evidence.at_once <= AT_ONCE:
        return []
    return [
        f"streamed in one piece: all tokens of {evidence.at_once:.0%} of the requests arrived at once, "
        "so that the time to first token cannot be measured; look for a proxy that buffers"
    ]


def _lengths(evidence: Evidence) -> list[str]:
    found = []
    for what, off in (("output", evidence.outputs_off), ("prompt", evidence.prompts_off)):
        if off is not None:
            found.append(
                f"{what} lengths off: {off.requests} of {evidence.requests} requests, "
                f"the first with {off.counted} tokens instead of {off.asked}"
            )
    return found


def _server(evidence: Evidence, shared: float) -> list[str]:
    found = []
    hits = evidence.prefix_cache_hit_rate
    if hits is not None and hits > PREFIX_HITS + shared:
        found.append(f"prefix cache hit: {hits:.1%} of the prompt tokens came from the cache, where {shared:.1%} are shared")
    if evidence.tokens_missing is not None and evidence.tokens_missing > MISSING_TOKENS:
        found.append(f"server started anew: its counters lack {evidence.tokens_missing:.0%} of the tokens that it sent")
    cause, share = max((evidence.throttled or {}).items(), key=lambda held: held[1], default=("", 0.0))
    if share > THROTTLED:
        found.append(f"throttled: the machine was held back for {share:.1%} of the time ({cause})")
    if evidence.foreign_tokens is not None and evidence.foreign_tokens > FOREIGN_TOKENS:
        found.append(f"server not alone: {evidence.foreign_tokens:.1%} of the tokens it generated were for others")
    return found


def _client(evidence: Evidence, metrics: Metrics) -> list[str]:
    found = []
    used, busiest, cpus = evidence.client_cpu, evidence.client_busiest_cpu, evidence.client_cpus
    if used is not None and busiest is not None and cpus is not None and (busiest > BUSY_CLIENT or used > BUSY_CLIENT * cpus):
        found.append(f"client saturated: {used:.2f} of its {cpus} cores used, {busiest:.2f} by one process")
    if evidence.dispatch_delay_s is not None and metrics.latency_s is not None:
        share = evidence.dispatch_delay_s / (evidence.dispatch_delay_s + metrics.latency_s.mean)
        if share > DISPATCH_TOLERANCE:
            late = evidence.dispatch_delay_s * 1e3
            found.append(f"client saturated: requests were sent {late:.1f} ms late, {share:.1%} of their time")
    lag = evidence.loop_lag_s
    if metrics.ttft_s is not None and lag is not None and lag > max(LOOP_LAG_S, LOOP_LAG_TOLERANCE * metrics.ttft_s.mean):
        found.append(f"client saturated: it read {lag * 1e3:.1f} ms late")
    if evidence.clock_step_s is not None and abs(evidence.clock_step_s) > CLOCK_STEP_S:
        found.append(f"clock stepped by {evidence.clock_step_s * 1e3:.1f} ms during the load level")
    return found


def _steady(evidence: Evidence, metrics: Metrics, level: LoadLevel) -> list[str]:
    latencies, seen, wanted = evidence.mean_latencies, evidence.in_flight, level.concurrency
    if evidence.steady_s is None or seen is None or latencies is None:
        return ["not in steady state: no time with the whole load in flight"]
    found = []
    if latencies < MINIMUM_LATENCIES:
        found.append(f"not in steady state: the window holds {latencies:.1f} mean latencies, fewer than {MINIMUM_LATENCIES}")
    if wanted is not None and abs(wanted - seen) > LITTLE_TOLERANCE * wanted:
        found.append(f"not in steady state: {seen:.2f} requests in flight (X·R) instead of {wanted}")
    if evidence.drift is not None and abs(evidence.drift) > DRIFT:
        found.append(f"still drifting: the mean latency changed by {evidence.drift:+.0%} from the first half to the second")
    if evidence.backlog_growth is not None:
        grown = f"{evidence.backlog_growth} more requests in flight at the end of the window than in its beginning"
        found.append(f"backlog grows: {grown}, so that latency depends on the length of the run")
    if piled_up(evidence, metrics):
        served = f"{metrics.requests_per_second:.2f} requests served of {evidence.offered_rate:.2f}"
        found.append(f"not in steady state: {served} that came each second")
    return found


def piled_up(evidence: Evidence, metrics: Metrics) -> bool:
    """Whether fewer requests were served than came."""
    offered, served = evidence.offered_rate, metrics.requests_per_second
    return offered is not None and served is not None and served < (1 - BACKLOG_TOLERANCE) * offered
