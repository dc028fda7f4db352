"""Replies find their items by the prompt, sample by sample, and what was kept is left as it is."""

from __future__ import annotations

import pytest

from whichbits.accuracy.item import Item
from whichbits.accuracy.registry import task
from whichbits.accuracy.replies.measure import Reply
from whichbits.accuracy.replies.measured import measured, summary
from whichbits.accuracy.result import Work, summarize
from whichbits.schema.evaluate import EvaluateItem, RepliedItem
from whichbits.schema.thinking import ThinkingMode


def item(name: str, prompt: str, **more: object) -> Item:
    return Item(item=name, prompt_hash=prompt, target_hash="t", cluster=name, score=1.0, prediction="", target="", **more)  # type: ignore[arg-type]


def words(count: int) -> Reply:
    return Reply("w " * count, count, "stop")


def test_samples_and_equal_prompts():
    asked = [("p", words(1)), ("q", words(10)), ("p", words(3)), ("p", words(5)), ("q", words(20)), ("p", words(7))]
    found = measured([item("a", "p"), item("b", "q"), item("c", "p")], asked)
    assert [one.replies["words"] for one in found] == [3.0, 15.0, 5.0]


def test_items_that_were_kept_stay():
    kept = item("a", "p", replies={"words": 99.0, "tokens": 98.0, "truncated": 0.0, "repetitive": 1.0})
    found = measured([kept, item("b", "p")], [("p", words(4))])
    assert [one.replies["words"] for one in found] == [99.0, 4.0]
    together = summary(found, samples=1, seconds=2.5)
    assert {each.measure.key: each.value for each in together.measures} == {
        "words": 51.5, "tokens": 51.0, "truncated": 0.0, "repetitive": 0.5,
    }  # fmt: skip
    assert (together.count, together.seconds) == (2, 2.5)


def test_only_a_task_in_a_mode_has_them():
    plain = task("humaneval_chat")
    work = Work(30, 6, (("p", words(3)),), 1.5)
    without = summarize(plain, [item("a", "p")], Work(30, 6), available=1, most=1)
    assert without.summary.replies is None and without.summary.mode is None
    assert type(without.rows()[0]) is EvaluateItem
    asked = plain.in_mode(ThinkingMode(name="off", suffix=" /no_think"), max_tokens=64)
    assert (asked.name, asked.max_tokens) == ("humaneval_chat (off)", 64)
    found = summarize(asked, [item("a", "p")], work, available=1, most=1)
    assert found.summary.mode == "off" and found.summary.replies is not None
    assert found.summary.replies.seconds == 1.5
    (row,) = found.rows()
    assert isinstance(row, RepliedItem)
    assert (row.item, dict(row.replies)) == ("a", {"words": 3.0, "tokens": 3.0, "truncated": 0.0, "repetitive": 0.0})


def test_the_mode_is_in_the_key_where_there_is_one_alone():
    plain = task("humaneval_chat")
    assert "mode" not in plain.model_dump(mode="json")
    asked = plain.in_mode(ThinkingMode(name="off", arguments={"enable_thinking": False}), max_tokens=None)
    assert asked.model_dump(mode="json")["mode"] == {
        "name": "off", "suffix": "", "system": None, "arguments": {"enable_thinking": False},
    }  # fmt: skip
    assert asked.max_tokens == plain.max_tokens == 1024


@pytest.mark.parametrize("reply", ["", "<think>"])
def test_an_empty_reply_is_a_reply(reply: str):
    (found,) = measured([item("a", "p")], [("p", Reply(reply, 0, "stop"))])
    assert found.replies["truncated"] == 0.0
