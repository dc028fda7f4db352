import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichbits.core.errors import UserError
from whichbits.similarity.windows import builtin_documents, cut, read_document, token_windows


def test_windows_by_hand():
    assert cut([[1, 2, 3, 4, 5], [6], [7, 8, 9]], 2) == [[1, 2], [3, 4], [7, 8]]
    assert cut([[1, 2, 3, 4, 5], [6], [7, 8, 9]], 3, prefix=[0]) == [[0, 1, 2], [0, 3, 4], [0, 7, 8]]


@given(st.lists(st.lists(st.integers(1, 9), max_size=40), max_size=4), st.integers(2, 9), st.booleans())
def test_windows_cover_each_document_in_order_but_for_its_rest(documents, length, begin):
    prefix = [0] if begin else []
    windows = iter(cut(documents, length, prefix))
    for document in documents:
        step = length - len(prefix)
        whole = len(document) // step * step
        found = [token for _ in range(whole // step) for token in next(windows)[len(prefix) :]]
        assert found == document[:whole]
    assert next(windows, None) is None


@pytest.mark.parametrize(("length", "prefix"), [(1, []), (1, [0]), (2, [0, 0]), (0, [])])
def test_a_window_without_room_is_refused(length, prefix):
    with pytest.raises(ValueError, match="no room"):
        cut([[1, 2, 3]], length, prefix)


def test_windows_begin_as_the_model_s_sequences_do(byte_tokenizer):
    windows = token_windows(byte_tokenizer, ["abcdefg", "xyz"], 4)
    assert [byte_tokenizer.decode(window) for window in windows] == ["<s>abc", "<s>def", "<s>xyz"]


def test_windows_without_a_beginning_of_sequence_token(byte_tokenizer):
    from copy import deepcopy

    from tokenizers import processors

    plain = deepcopy(byte_tokenizer)
    plain.backend_tokenizer.post_processor = processors.ByteLevel()
    assert [plain.decode(window) for window in token_windows(plain, ["abcdefg"], 3)] == ["abc", "def"]


def test_a_text_that_fills_no_window_is_refused(byte_tokenizer):
    with pytest.raises(UserError, match="text: 3 tokens do not fill one window of 8"):
        token_windows(byte_tokenizer, ["abc"], 8)


def test_the_builtin_documents_have_some_six_thousand_words():
    documents = builtin_documents()
    assert len(documents) == 6
    assert 5500 <= sum(len(document.split()) for document in documents) <= 7500
    lines = [line for document in documents for line in document.splitlines() if len(line) > 60]
    assert len(lines) == len(set(lines))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_document(tmp_path / "missing.txt")
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"one\ntwo\ncaf\xe9")
    with pytest.raises(UserError, match="line 3 is not UTF-8"):
        read_document(latin)
