"""Results belong to who gave them: candidates of equal files, servers by address, and servers that change."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from whichbits.schema.generate import GenerateSummary
from whichbits.schema.provenance import Provenance

pytest.importorskip("torch")
pytest.importorskip("lm_eval")

import whichbits
from whichbits.core.errors import UserError
from whichbits.studies.planning.plan import Plan
from whichbits.studies.planning.planner import Expansion
from whichbits.studies.specification.schema import parse
from whichbits.studies.steps.shared.same_server import check_same
from whichbits.studies.store.store import Store


class Server:
    """Says what it serves; `stop` and `says` change that."""

    def __init__(self, **says: object) -> None:
        self.says = {"model": "m", "version": "0.11.0", "max_length": 512, "root": None} | says
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                s = outer.says
                entry = {"id": s["model"], "max_model_len": s["max_length"], "root": s["root"], "owned_by": "vllm"}
                answers = {"/v1/models": {"data": [entry]}, "/version": {"version": s["version"]}}
                body = json.dumps(answers.get(self.path, {})).encode()
                self.send_response(200 if self.path in answers else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started = [Server(), Server()]
    yield started
    for server in started:
        server.stop()


def plan(text: str) -> Plan:
    return Expansion(*parse(text, "s.yaml")).plan()


def keys(of: Plan, candidate: str) -> set[str]:
    return {planned.step.key for planned in of.steps if planned.step.labels.candidate == candidate}


def by_address(model: Path, urls: dict[str, str], candidates: str = "") -> str:
    listed = ", ".join(f'{name}: "{url}"' for name, url in urls.items())
    return (
        f"version: 1\nname: s\nmodel: {model}\ncandidates: [{candidates}]\ntasks: [{{name: recall, limit: 4}}]\n"
        f"workloads: [{{name: w, prompt_tokens: 32, output_tokens: 8, concurrency: [2]}}]\nrounds: 1\nbase_repeats: 1\n"
        f"engine: {{kind: url, urls: {{{listed}}}}}\n"
    )


def test_an_address_is_part_of_what_was_measured(tiny_llama: Path, servers: list[Server]):
    first, second = (keys(plan(by_address(tiny_llama, {"bf16": one.url})), "bf16") for one in servers)
    assert len(first) == 2
    assert not first & second
    assert first == keys(plan(by_address(tiny_llama, {"bf16": servers[0].url})), "bf16"), "the same server is known again"


@pytest.mark.parametrize("change", [{"version": "0.12.0"}, {"model": "other"}, {"root": "/models/other"}, {"max_length": 400}])
def test_so_is_what_it_says_of_itself(tiny_llama: Path, servers: list[Server], change: dict[str, object]):
    before = keys(plan(by_address(tiny_llama, {"bf16": servers[0].url})), "bf16")
    servers[0].says |= change
    assert not before & keys(plan(by_address(tiny_llama, {"bf16": servers[0].url})), "bf16")


def test_an_address_where_nobody_answers_is_an_error_before_all_else(tiny_llama: Path, tmp_path: Path):
    gone = Server()
    text = by_address(tiny_llama, {"bf16": gone.url}, "{format: w8a8-int, run: emulated}")
    gone.stop()
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UserError, match=f"engine.urls: bf16: url {gone.url}"):
        whichbits.study(tmp_path / "s.yaml", store=tmp_path / "store")
    with pytest.raises(UserError, match=gone.url):
        whichbits.bench(str(tiny_llama), ["64/16"], url=gone.url, store=tmp_path / "store")
    preview = whichbits.plan(tmp_path / "s.yaml", store=tmp_path / "store")
    assert gone.url in preview.text
    assert "steps to run" in preview.text


def test_a_server_that_takes_less_than_the_study_sends_is_refused(tiny_llama: Path, servers: list[Server]):
    servers[0].says["max_length"] = 39
    with pytest.raises(UserError, match="takes 39 tokens, and the study's requests have 40"):
        plan(by_address(tiny_llama, {"bf16": servers[0].url}))
    servers[0].says["max_length"] = 64
    lengths = {p.step.inputs.engine.max_length for p in plan(by_address(tiny_llama, {"bf16": servers[0].url})).steps}
    assert lengths == {64}


def test_one_server_cannot_serve_two_candidates_of_different_weights(tiny_llama: Path, servers: list[Server]):
    urls = {"bf16": servers[0].url, "w8a8-int": f"{servers[0].url}/v1"}
    with pytest.raises(UserError, match=r"w8a8-int: .* serves m for bf16 already"):
        plan(by_address(tiny_llama, urls, "w8a8-int"))


@pytest.mark.parametrize("change", [{"version": "0.12.0"}, {"version": None}])
def test_candidates_served_by_different_versions_are_refused(
    tiny_llama: Path, servers: list[Server], change: dict[str, object]
):
    servers[1].says |= change
    with pytest.raises(UserError, match=r"w8a8-int: .*vllm 0.11.0"):
        plan(by_address(tiny_llama, {"bf16": servers[0].url, "w8a8-int": servers[1].url}, "w8a8-int"))


def test_a_server_that_is_another_by_now_is_not_taken_for_the_planned_one(tiny_llama: Path, servers: list[Server]):
    (step, *_) = plan(by_address(tiny_llama, {"bf16": servers[0].url})).steps
    check_same("bf16", step.step.inputs.server)
    servers[0].says["version"] = "0.12.0"
    with pytest.raises(UserError, match=r"version was 0.11.0, and is 0\.12\.0"):
        check_same("bf16", step.step.inputs.server)


def test_equal_files_at_two_addresses_are_two_things(tiny_llama: Path, servers: list[Server], tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_llama, copy)
    text = by_address(tiny_llama, {"bf16": servers[0].url, "copy": servers[1].url}, f"{{checkpoint: {copy}}}")
    made = plan(text)
    assert not keys(made, "bf16") & keys(made, "copy")


EMULATED = """\
version: 1
name: again
model: {model}
candidates:
  - {{checkpoint: {model}, name: again, run: emulated}}
  - {{checkpoint: {model}, name: and-again, run: emulated}}
tasks: [{{name: recall, limit: 4}}]
similarity: {{windows: 2, window_tokens: 16}}
engine: {{kind: url, urls: {{bf16: "{url}"}}}}
"""


def test_the_base_as_its_own_candidate_is_evaluated_for_itself(tiny_llama: Path, servers: list[Server]):
    made = plan(EMULATED.format(model=tiny_llama, url=servers[0].url))
    each = [keys(made, name) for name in ("bf16", "again", "and-again")]
    assert all(each)
    assert len(set.union(*each)) == sum(map(len, each))
    assert each[1] == keys(plan(EMULATED.format(model=tiny_llama, url=servers[1].url)), "again"), "no address is in these"


def test_a_format_made_twice_in_the_same_way_is_refused_by_name(tiny_llama: Path, servers: list[Server]):
    with pytest.raises(UserError, match=r"candidates\.1: .*'twice'.*'w8a8-int'"):
        plan(by_address(tiny_llama, {"bf16": servers[0].url}, "w8a8-int, {format: w8a8-int, name: twice, run: emulated}"))


def test_measuring_afresh_keeps_what_was_measured_aside(tiny_llama: Path, servers: list[Server], tmp_path: Path):
    store = Store(tmp_path)
    steps = [planned.step for planned in plan(by_address(tiny_llama, {"bf16": servers[0].url})).steps]
    store.finish(steps[0], store.partial(steps[0]), GenerateSummary(n=1, tokens=5), Provenance())
    assert store.set_aside(steps) == 1
    assert not store.done(steps[0])
    assert json.loads(next(tmp_path.glob("superseded/**/result.json")).read_text())["summary"]["tokens"] == 5
