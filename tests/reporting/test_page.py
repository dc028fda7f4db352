import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from whichbits.reporting.context import PublishedComparison, ReportContext
from whichbits.reporting.page import render
from whichbits.schema.serve import ClientCeiling
from whichbits.schema.server_abilities import AS_TEXT, BY_MIN_TOKENS
from whichbits.verdict.caveat_codes import BeyondClient, MeasuredOtherwise
from whichbits.verdict.estimates import SingleRound
from whichbits.verdict.verdict import GuidelineRow, NoRecommendation, Verdict
from whichbits.verdict.words.answer import reasons, sentence
from whichbits.verdict.words.caveats import caveats
from whichbits.verdict.words.decisions import failure

HOSTILE = (
    "</script></style></title></textarea>--><img src=x onerror=\"document.title='owned'\">"
    "<script>document.title='owned'</script>\"'><a href=javascript:alert(1)>&lt;{{ 7 * 7 }}\u2028</pre>"
)
KEPT = {"state", "provenance", "mode", "code", "date", "key", "reads", "better", "per", "measure", "metric"}


class Page(HTMLParser):
    """Tags, attributes and the text of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.data = ""
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        if self.tags and self.tags[-1] == "script":
            self.data += data
        self.text += data

    def all(self, name: str) -> list[str]:
        return [value or "" for _, attribute, value in self.attributes if attribute == name]


def hostile(value: Any, name: str = "") -> Any:
    """The same data with a hostile end on every text that is free."""
    if isinstance(value, str) and name not in KEPT and not re.fullmatch("[0-9a-f]{64}", value):
        return value + HOSTILE
    if isinstance(value, dict):
        free = name in {"labels", "environment", "seeds", "seconds", "summary"}
        return {key + HOSTILE if free else key: hostile(v, "" if free else key) for key, v in value.items()}
    return [hostile(v, name) for v in value] if isinstance(value, list) else value


def made_hostile(model):
    return type(model).model_validate_json(json.dumps(hostile(model.model_dump(mode="json"))))


def check_harmless(html: str) -> None:
    page = Page(html)
    assert set(page.tags) <= {
        "html", "head", "meta", "title", "style", "body", "nav", "main", "header", "section", "article", "div", "span", "p",
        "i", "h1", "h2", "h3", "h4", "ul", "li", "dl", "dt", "dd", "a", "small", "strong", "code", "pre", "time", "br",
        "script",
        "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "figure", "figcaption",
        "svg", "g", "line", "circle", "path", "rect", "text",
    }  # fmt: skip
    assert page.tags.count("script") == 1
    assert ("script", "type", "application/json") in page.attributes
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name in ("src", "style", "srcset")]
    assert not [link for link in page.all("href") if not link.startswith(("#", "./"))]


@pytest.mark.parametrize("name", ["verdict", "empty_verdict"])
def test_the_page_needs_nothing_from_outside(name, context, request):
    html = render(request.getfixturevalue(name), context)
    check_harmless(html)
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style


def test_no_text_can_become_markup(verdict, context):
    html = render(made_hostile(verdict), made_hostile(context))
    check_harmless(html)
    assert "<img" not in html
    assert "49" not in Page(html).all("title")
    assert html.count("{{ 7 * 7 }}") > 100


def test_the_data_in_the_page_is_the_data(verdict, context):
    bad, around = made_hostile(verdict), made_hostile(context)
    data = json.loads(Page(render(bad, around)).data)
    assert Verdict.model_validate_json(json.dumps(data["verdict"])) == bad
    assert ReportContext.model_validate_json(json.dumps(data["context"])) == around


def test_the_policy_names_the_style_sheet_and_nothing_else(verdict, context):
    html = render(verdict, context)
    policy = next(v for v in Page(html).all("content") if "default-src" in v)
    assert re.fullmatch(r"default-src 'none'; style-src 'sha256-[\w+/]{43}='; base-uri 'none'; form-action 'none'", policy)


def test_every_link_within_the_page_has_its_target(verdict, context):
    page = Page(render(verdict, context))
    ids = page.all("id")
    links = {link[1:] for link in page.all("href") if link.startswith("#")}
    assert len(ids) == len(set(ids))
    assert links <= set(ids)
    assert sum(link.startswith("step-") for link in links) > 30


def test_the_page_says_it_all(verdict, context):
    text = Page(render(verdict, context)).text
    facts = [sentence(verdict), *reasons(verdict), *caveats(verdict), *map(failure, verdict.failures), *context.commands]
    facts += context.model_notes
    facts += [
        context.hardware,
        context.specification,
        "99.3 % (97.9 – 100.7)",
        "excluded: the base scores 3.7 points above chance",
        "client saturated",
        "emulated",
    ]
    facts += ["VLLM_CPU_INT4_W4A8=0", "--dtype bfloat16", "6 min 42 s", "6,800 more items of order", "0.096 USD"]
    assert [fact for fact in facts if fact not in text] == []


def test_a_study_in_which_all_failed_says_so(empty_verdict, context):
    text = Page(render(empty_verdict, context)).text
    for line in (
        "No verdict: no format could be compared with bf16 on any task.",
        "No task was scored.",
        "No speed was measured.",
        "1 step failed or missing",
    ):
        assert line in text


def test_many_workloads_are_a_table_and_not_cards(verdict, context):
    row = GuidelineRow(mode="synchronous", deployment="cpu, 2 cores", workloads=("rag", "chat"), best="w8a8-int", next="bf16")
    many = verdict.model_copy(update={"recommendations": verdict.recommendations * 3, "guideline": (row,)})
    html = render(many, context)
    assert 'class="card"' not in html
    assert "rag, chat" in html
    assert render(verdict, context).count('class="card"') == 2


def test_what_is_not_recommended_says_why(verdict, context):
    refused = NoRecommendation(
        workload="rag",
        deployment="cpu, 2 cores",
        mode="asynchronous",
        code="base_not_valid",
    )
    text = Page(render(verdict.model_copy(update={"not_recommended": (refused,)}), context)).text
    assert "rag · asynchronous · cpu, 2 cores: no round of bf16 is valid" in text
    assert "Where nothing is recommended" not in Page(render(verdict, context)).text


def test_a_page_of_one_round_shows_no_interval_of_speed(verdict, context):
    speed = tuple(
        s.model_copy(
            update={"estimate": SingleRound(value=s.estimate.value), "ratio": s.ratio and SingleRound(value=s.ratio.value)}
        )
        for s in verdict.speed
    )
    cost = tuple(
        c.model_copy(update={"cost_reduction": c.cost_reduction and SingleRound(value=1.42), "queries_per_dollar": None})
        for c in verdict.cost
    )
    text = Page(render(verdict.model_copy(update={"speed": speed, "cost": cost}), context)).text
    assert "1.42× (one round)" in text
    assert f"{next(s for s in verdict.speed if s.ratio).ratio.value:.2f}× (one round)" in text


def test_published_figures_stand_in_a_table_of_their_own(verdict: Verdict, context: ReportContext):
    assert "Published for the same model" not in render(verdict, context)
    entry = PublishedComparison(
        candidate="w8a8-int", on="winogrande", quantity="recovery", own=None, published=100.51, above_chance=101.4,
        source="2411.02355-table-10-11", erratum="swapped",
    )  # fmt: skip
    page = Page(render(verdict, context.model_copy(update={"published": (entry,)})))
    for said in ("Published for the same model", "winogrande", "100.51 %", "101.4 %", "2411.02355-table-10-11", "swapped"):
        assert said in page.text


def test_texts_stand_side_by_side_with_where_they_part(verdict: Verdict, context: ReportContext):
    assert "least alike" not in Page(render(verdict, context.model_copy(update={"texts": ()}))).text
    page = Page(render(verdict, context))
    (pair,) = context.texts
    assert page.text.count(pair.alike) == 3, "twice to be read, once as data"
    for said in (pair.base, pair.text, "built-in", "refund-1", "ROUGE-1"):
        assert said in page.text


def test_what_a_server_cannot_do_stands_above_the_figures(verdict, context):
    assert "measured-otherwise" not in render(verdict, context)
    lacks = MeasuredOtherwise(candidates=("w8a8-int",), instead=(AS_TEXT, BY_MIN_TOKENS))
    told = render(verdict.model_copy(update={"caveats": (*verdict.caveats, lacks)}), context)
    (line,) = re.findall(r'<p class="dim measured-otherwise">(.*?)</p>', told)
    assert "w8a8-int" in line and f"The server {AS_TEXT}; it {BY_MIN_TOKENS}." in line
    assert told.index("measured-otherwise") < told.index("Over the base's"), "before the figures and their validity"


def test_the_load_clients_ceiling_and_the_loads_beyond_it(verdict, context):
    assert "client-ceiling" not in render(verdict, context)
    beyond = BeyondClient(candidate="w8a8-int", workload="chat", load="concurrency 16", share=1.34)
    ceiling = ClientCeiling(tokens_per_second=11_320.0, cores=2)
    told = render(verdict.model_copy(update={"client_ceiling": ceiling, "caveats": (*verdict.caveats, beyond)}), context)
    (line,) = re.findall(r'<p class="dim" id="client-ceiling">(.*?)</p>', told)
    assert "11,320 tokens a second on its 2 cores: 226 streams of 50." in line
    assert "beyond it" in line
    assert "w8a8-int, chat, concurrency 16: 1.3 times." in line
    within = render(verdict.model_copy(update={"client_ceiling": ceiling}), context)
    assert "beyond it" not in within
