"""The load client against a server whose delays are known: 80 ms to the first of 50 tokens, then 20 ms a token.

    python benchmarks/load_client.py TOKENIZER_FOLDER --streams 1 8 32 50

The server shares this machine's cores with the client. Prints a row a number of streams: the ideal rate, the measured one, the
client's share of a core, and by how much requests were sent and chunks were read late; then what else makes the run invalid.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from whichbits.serving.measure import measure
from whichbits.serving.workload import parse_workload

TTFT_S, ITL_S, TOKENS = 0.08, 0.02, 50
LATENCY_S = TTFT_S + (TOKENS - 1) * ITL_S
SERVER = Path(__file__).parents[1] / "tests" / "serving" / "engine.py"


def main() -> None:
    """Measure each number of streams on a fresh server."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=Path, help="a folder with tokenizer.json")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32, 50], help="requests in flight")
    given = parser.parse_args()
    print("streams  ideal/s  measured/s  off %   TTFT ms  ITL ms  client cores  sent late ms  read late ms  valid")
    for count in given.streams:
        options = json.dumps({"ttft": TTFT_S, "itl": ITL_S})
        server = subprocess.Popen([sys.executable, str(SERVER), options], stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            url = f"http://127.0.0.1:{int(server.stdout.readline())}"
            fields = {
                "name": "known",
                "prompt_tokens": 64,
                "output_tokens": TOKENS,
                "synchronous": False,
                "requests_per_stream": 8,
            }
            (found,) = measure(url, "m", given.tokenizer, parse_workload({**fields, "concurrency": [count]}), seed=1)
        finally:
            server.kill()
            server.wait()
        metrics, seen = found.metrics, found.evidence
        ideal, rate = count / LATENCY_S, metrics.requests_per_second or 0.0
        assert metrics.ttft_s is not None and metrics.itl_s is not None
        print(
            f"{count:7d}  {ideal:7.3f}  {rate:10.3f}  {100 * (rate / ideal - 1):5.1f}  {1e3 * metrics.ttft_s.mean:8.1f}"
            f"  {1e3 * metrics.itl_s.mean:6.2f}  {seen.client_cpu:12.2f}  {1e3 * (seen.dispatch_delay_s or 0):12.2f}"
            f"  {1e3 * (seen.loop_lag_s or 0):12.2f}  {'yes' if found.valid else '; '.join(found.reasons)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
