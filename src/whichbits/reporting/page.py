"""The HTML page: one file that needs no network and runs no script."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.resources import files
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from whichbits.reporting import (
    arrivals,
    capacity,
    crossovers,
    judged,
    natural_output,
    numbers,
    overview,
    panels,
    prefill_decode,
    speed,
    thinking,
)
from whichbits.reporting.citations import Citations, anchor
from whichbits.reporting.context import ReportContext
from whichbits.verdict.verdict import Verdict
from whichbits.verdict.words.answer import reasons, sentence
from whichbits.verdict.words.caveats import caveats
from whichbits.verdict.words.recommendations import evidence, no_recommendation_reason, recommendation_reason


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("whichbits.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "anchor": anchor,
        "duration": numbers.duration,
        "interval": numbers.interval,
        "times": numbers.times,
        "summary": lambda found: json.dumps(found.model_dump(mode="json", exclude_none=True), indent=1, ensure_ascii=False),
        "path": lambda value: "./" + quote(value),
        "percent": numbers.percent,
        "significant": numbers.significant,
        "recommendation_reason": recommendation_reason,
        "no_recommendation_reason": no_recommendation_reason,
        "evidence": evidence,
    }
    return environment


def script_json(verdict: Verdict, context: ReportContext) -> Markup:
    """Verdict, its words and context as JSON that no text in them can end: every <, > and & is written as its escape."""
    said = json.dumps({"sentence": sentence(verdict), "reasons": reasons(verdict), "caveats": caveats(verdict)})
    text = f'{{"verdict": {verdict.model_dump_json()}, "words": {said}, "context": {context.model_dump_json()}}}'
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def content_security_policy(style: str) -> str:
    """Nothing may load or run; only this style sheet applies."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def render(verdict: Verdict, context: ReportContext) -> str:
    """The report as one HTML document.

    Every text of verdict and context is taken to be hostile and is escaped; the page holds no script, and its
    Content-Security-Policy forbids any.
    """
    style = files("whichbits.reporting").joinpath("templates/page.css").read_text(encoding="utf-8")
    cite = Citations(context.steps)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            verdict=verdict,
            context=context,
            sentence=sentence(verdict),
            reasons=reasons(verdict),
            caveats=caveats(verdict),
            style=Markup(style),
            policy=content_security_policy(style),
            data=script_json(verdict, context),
            series=panels.series_of(verdict),
            formats=overview.format_rows(verdict, cite),
            changes=overview.would_change(verdict),
            checks=overview.checklist(verdict, context),
            suites=panels.suite_panel(verdict, cite),
            tasks=panels.task_panel(verdict, cite),
            modes=thinking.mode_panel(verdict, cite),
            thinking=thinking.result_tables(verdict, cite),
            reply_measures=thinking.reply_measures(verdict),
            judged=judged.judged_tables(verdict, cite),
            similarity=panels.similarity_panels(verdict, cite),
            emulation=panels.emulation_panel(verdict, cite),
            costs=panels.cost_panel(verdict, cite),
            sizes=panels.size_panel(verdict, cite),
            speeds=speed.speed_sections(verdict, cite),
            arrivals=arrivals.arrivals_rows(verdict, cite),
            capacities=capacity.cited(capacity.capacity_rows(verdict), cite),
            batches=prefill_decode.cited(prefill_decode.batch_tables(verdict, cite), cite),
            footprints=prefill_decode.footprint_rows(verdict, cite),
            parts=prefill_decode.parts_rows(verdict),
            naturals=natural_output.natural_rows(verdict, cite),
            crossovers=crossovers.crossover_rows(verdict, cite),
            targets=any(found.target_rate is not None for found in verdict.capacity),
            paretos=speed.pareto_charts(verdict, cite),
            cite=cite.cite,
        )
    )
