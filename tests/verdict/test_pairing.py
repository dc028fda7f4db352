from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from whichbits.core.errors import UserError
from whichbits.verdict.pairing import SCORE_COLUMNS, PairingError, Reference, pair_scores, read_columns, scored


def table(**changes):
    columns = {
        "item": ["b", "a"],
        "prompt_hash": ["pb", "pa"],
        "target_hash": ["tb", "ta"],
        "cluster": ["x", "y"],
        "score": [1.0, 0.0],
    }
    return pa.table(columns | changes)


def join(base, candidate):
    return pair_scores(base, candidate, chance=0.25, what="recall")


def test_joins_by_name_whatever_the_order_of_the_rows():
    other = table(score=[0.5, 0.0]).take([1, 0])
    for candidate in (table(score=[0.5, 0.0]), other):
        pair = join(table(), candidate)
        assert (pair.base.tolist(), pair.score.tolist(), pair.chance) == ([0.0, 1.0], [0.0, 0.5], 0.25)
        assert pair.cluster.tolist() == [1, 0]  # y before x


def test_runs_that_stopped_before_the_reference_are_joined_on_their_own_items():
    run = scored(table().slice(1), "recall")
    pair = Reference(scored(table(), "recall"), chance=0.25).among(run).join(run, what="recall")
    assert (pair.base.tolist(), pair.score.tolist()) == ([0.0], [0.0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_hash": ["pb", "other"]}, r"prompt_hash of item 'a' differs: 'pa' and 'other'"),
        ({"target_hash": ["other", "ta"]}, r"target_hash of item 'b' differs"),
        ({"cluster": ["x", "x"]}, r"cluster of item 'a' differs"),
        ({"item": ["b", "c"]}, r"2 items are in one run but not in the other, first 'a' in the base only"),
        ({"item": ["b", "b"]}, r"item 'b' appears twice"),
        ({"score": [1.5, 0.0]}, r"score 1.5 of item 'b' is not a number from 0 to 1"),
        ({"score": [float("nan"), 0.0]}, r"score nan of item 'b'"),
        ({"score": [None, 0.0]}, r"score None of item 'b'"),
        ({name: [] for name in SCORE_COLUMNS}, r"candidate: no items"),
    ],
)
def test_whatever_does_not_match_is_an_error(changes, message):
    with pytest.raises(PairingError, match=message):
        join(table(), table(**changes))


def test_clusters_are_for_all_items_or_for_none():
    nothing = table(cluster=[None, None])
    assert join(nothing, nothing).cluster is None
    some = table(cluster=["x", None])
    with pytest.raises(PairingError, match="some items have a cluster"):
        join(some, some)


def test_a_missing_column_is_named(tmp_path):
    parquet.write_table(pa.table({"item": ["a"]}), tmp_path / "items.parquet")
    with pytest.raises(PairingError, match="no column score"):
        read_columns(tmp_path / "items.parquet", ("item", "score"))


@pytest.mark.parametrize("content", [None, b"", b"PAR1 and no more"])
def test_a_table_that_cannot_be_read_is_named_with_what_to_do(tmp_path: Path, content: bytes | None):
    path = tmp_path / "step" / "items.parquet"
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"items.parquet cannot be read") as caught:
        read_columns(path, ("score",))
    assert f"delete the folder {path.parent}" in caught.value.remedy
    assert "\n" not in str(caught.value)
