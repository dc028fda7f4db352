"""Load clients against a server whose delays are known: 80 ms to the first of 50 tokens, then 20 ms a token.

    python benchmarks/load_client.py TOKENIZER_FOLDER --streams 1 8 32 50 [--vllm COMMAND] [--guidellm COMMAND]

The server shares this machine's cores with the client. Prints a row a number of streams and client: how far the rate and the
means of TTFT, ITL, TPOT and latency are from those delays, in %, and by how much the server itself sent first tokens late.
`--vllm` measures with vLLM's `bench serve` too, and `--guidellm` with GuideLLM: what they write of each request is read as
`whichbits bench --from` does, so that all metrics are defined alike. Of whichbits itself follow the client's share of a core,
and by how much requests were sent and chunks read late.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from whichbits.schema.serve import Distribution
from whichbits.schema.workload import Workload
from whichbits.serving.importers.registry import read
from whichbits.serving.importers.results import result_of
from whichbits.serving.measure import measure
from whichbits.serving.result import LoadLevelResult

TTFT_S, ITL_S, TOKENS, PROMPT = 0.08, 0.02, 50, 64
LATENCY_S = TTFT_S + (TOKENS - 1) * ITL_S
REQUESTS_PER_STREAM = 8
COLUMNS = (
    "streams", "client", "rate, % off", "TTFT", "ITL", "TPOT", "latency", "server late, ms", "client, cores", "sent late, ms",
    "read late, ms", "valid",
)  # fmt: skip
MODEL = "m"
SERVER = Path(__file__).parents[1] / "tests" / "serving" / "engine.py"


@contextmanager
def known_server() -> Iterator[str]:
    """A fresh server, by its URL."""
    options = json.dumps({"ttft": TTFT_S, "itl": ITL_S})
    with subprocess.Popen([sys.executable, str(SERVER), options], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def workload(streams: int) -> Workload:
    """The load as whichbits asks it."""
    return Workload(
        name="known", prompt_tokens=PROMPT, output_tokens=TOKENS, synchronous=False, concurrency=(streams,),
        requests_per_stream=REQUESTS_PER_STREAM,
    )  # fmt: skip


def by_whichbits(url: str, tokenizer: Path, streams: int) -> LoadLevelResult:
    """The load measured with whichbits' client."""
    (found,) = measure(url, MODEL, tokenizer, workload(streams), seed=1)
    return found


def by_command(command: list[str], folder: Path, streams: int) -> LoadLevelResult:
    """The load as another tool measured it, from the file that it leaves in a folder."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    run = read(folder)
    (load,) = run.loads
    return result_of(load, run.lacks, workload(streams))


def by_vllm(command: str, url: str, tokenizer: Path, streams: int) -> LoadLevelResult:
    """The load measured with vLLM's `bench serve`."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            *shlex.split(command), "bench", "serve", "--base-url", url, "--endpoint", "/v1/completions", "--model", MODEL,
            "--tokenizer", str(tokenizer), "--dataset-name", "random", "--random-input-len", str(PROMPT),
            "--random-output-len", str(TOKENS), "--ignore-eos", "--max-concurrency", str(streams),
            "--num-prompts", str(REQUESTS_PER_STREAM * streams), "--save-result", "--save-detailed", "--result-dir", folder,
        ]  # fmt: skip
        return by_command(words, Path(folder), streams)


def by_guidellm(command: str, url: str, tokenizer: Path, streams: int) -> LoadLevelResult:
    """The load measured with GuideLLM's own command, of version 0.8."""
    with tempfile.TemporaryDirectory() as folder:
        words = [
            *shlex.split(command), "run", "--disable-console",
            "--backend", f"kind=openai_http,target={url},model={MODEL},request_format=/v1/completions,validate_backend=false",
            "--profile", f"kind=concurrent,streams={streams}",
            "--constraint", f"kind=max_requests,count={REQUESTS_PER_STREAM * streams}",
            "--tokenizer", f"kind=huggingface_auto,model={tokenizer}",
            "--data", f"kind=synthetic_text,prompt_tokens={PROMPT},output_tokens={TOKENS}",
            "--output", f"kind=json,path={folder}/benchmarks.json",
        ]  # fmt: skip
        return by_command(words, Path(folder), streams)


def mean(found: Distribution | None) -> float | None:
    """The mean of a metric over requests; None where it is not known."""
    return None if found is None else found.mean


def server_late_ms(url: str) -> float:
    """By how much the server sent first tokens later than it was to, on average."""
    late = httpx.get(f"{url}/late").json()
    return 1e3 * sum(late) / len(late)


def row(client: str, streams: int, found: LoadLevelResult, late_ms: float) -> str:
    """A row of the table."""
    metrics, seen = found.metrics, found.evidence
    measured = {
        "rate": (metrics.requests_per_second, streams / LATENCY_S),
        "TTFT": (mean(metrics.ttft_s), TTFT_S),
        "ITL": (mean(metrics.itl_s), ITL_S),
        "TPOT": (mean(metrics.tpot_s), ITL_S),
        "latency": (mean(metrics.latency_s), LATENCY_S),
    }
    off = " | ".join("–" if value is None else f"{100 * (value / true - 1):+.1f}" for value, true in measured.values())
    own = f"{seen.client_cpu or 0:.2f} | {1e3 * (seen.dispatch_delay_s or 0):.2f} | {1e3 * (seen.loop_lag_s or 0):.2f}"
    told = "yes" if found.valid else "; ".join(found.reasons)
    return f"| {streams} | {client} | {off} | {late_ms:.1f} | {own if client == 'whichbits' else '– | – | –'} | {told} |"


def main() -> None:
    """Measure each number of streams with each client on a fresh server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=Path, help="a folder with tokenizer.json")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32, 50], help="requests in flight")
    parser.add_argument("--vllm", metavar="COMMAND", help="vLLM's, to measure with its bench serve too")
    parser.add_argument("--guidellm", metavar="COMMAND", help="GuideLLM's, to measure with it too")
    given = parser.parse_args()
    clients: dict[str, Callable[[str, int], LoadLevelResult]] = {
        "whichbits": lambda url, streams: by_whichbits(url, given.tokenizer, streams)
    }
    if given.vllm:
        clients["vllm bench serve"] = lambda url, streams: by_vllm(given.vllm, url, given.tokenizer, streams)
    if given.guidellm:
        clients["guidellm"] = lambda url, streams: by_guidellm(given.guidellm, url, given.tokenizer, streams)
    print(f"| {' | '.join(COLUMNS)} |\n|--:|---{'|--:' * (len(COLUMNS) - 3)}|---|")
    for streams in given.streams:
        for client, by in clients.items():
            with known_server() as url:
                found = by(url, streams)
                print(row(client, streams, found, server_late_ms(url)), flush=True)


if __name__ == "__main__":
    main()
