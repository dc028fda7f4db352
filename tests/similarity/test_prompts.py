from collections import Counter

import pytest

from whichbits.core.errors import UserError
from whichbits.similarity.prompts import builtin_prompts, parse_prompts, read_prompts


def test_the_builtin_prompts_are_48_of_five_kinds():
    prompts = builtin_prompts()
    assert len(prompts) == 48
    assert set(Counter(prompt.category for prompt in prompts)) == {"chat", "instruction", "code", "summary", "reasoning"}
    assert len({prompt.messages[-1].content for prompt in prompts}) == 48
    assert all(prompt.messages[-1].role == "user" for prompt in prompts)


def test_a_file_of_the_user(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(
        '\ufeff{"id": "a", "prompt": "Say \u2028 hello"}\n\n'
        '{"id": "b", "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}]}\n',
        encoding="utf-8",
    )
    first, second = read_prompts(path)
    assert (first.id, first.messages[0].content) == ("a", "Say \u2028 hello")
    assert [message.role for message in second.messages] == ["system", "user"]


def test_arena_hards_questions_are_read_as_they_are_published(tmp_path):
    path = tmp_path / "question.jsonl"
    path.write_text('{"uid": "328c", "category": "arena-hard-v0.1", "cluster": "ABC", "prompt": "Write a tune."}\n')
    (prompt,) = read_prompts(path)
    assert (prompt.id, prompt.category, prompt.messages[0].content) == ("328c", "arena-hard-v0.1", "Write a tune.")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": "b", "prompt": ', r"own line 2, text: not JSON .*→ write one JSON object a line"),
        ("[" * 100_000, r"line 2, text: not to be read"),
        ('["b"]', r"line 2: the line is \['b'\]"),
        ('{"id": "b"}', r"line 2: messages is .*Field required"),
        ('{"id": "b", "prompt": ""}', r"line 2: messages.0.content is ''"),
        ('{"id": "b", "promt": "x", "prompt": "y"}', r"line 2: promt is 'x': Extra inputs"),
        ('{"id": "b", "prompt": "x", "messages": []}', r"line 2: "),
        ('{"id": "b", "messages": [{"role": "robot", "content": "x"}]}', r"line 2: messages.0.role is 'robot'"),
        ('{"id": 3, "prompt": "x"}', r"line 2: id is 3"),
        ('{"id": "a", "prompt": "x"}', r"line 2: id 'a' occurs twice → give each prompt its own id"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(line, says):
    with pytest.raises(UserError, match=says):
        parse_prompts(('{"id": "a", "prompt": "x"}\n' + line).encode(), "own")


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_prompts(tmp_path / "missing.jsonl")
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(b'{"id": "a", "prompt": "x"}\n{"id": "b", "prompt": "caf\xe9"}\n')
    with pytest.raises(UserError, match="line 2, text: not UTF-8 at byte 26"):
        read_prompts(latin)
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n\n")
    with pytest.raises(UserError, match="holds no prompt"):
        read_prompts(empty)
