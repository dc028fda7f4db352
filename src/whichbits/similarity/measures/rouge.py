"""ROUGE-1 and ROUGE-L: words, or their longest common subsequence, that occur in both texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from whichbits.schema.metrics import Measure
from whichbits.similarity.measure import Likeness

if TYPE_CHECKING:
    from whichbits.similarity.encoders import Encoders

# Words as rouge-score's own tokenizer finds them in ASCII text; letters of other scripts are kept, and those written without
# spaces (Thai, kana, Chinese) count one by one, where the library's tokenizer would drop them and score identical texts as 0.
_UNSPACED = r"\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[^\W_])+")


class RougeTokenizer:
    """Words for rouge-score: its own on ASCII text, and letters of every script beyond."""

    def tokenize(self, text: str) -> list[str]:
        """Lower-case words."""
        return _WORD.findall(text.lower())


class Rouge1(Likeness):
    """F1 of the words that occur in both, without stemming, by rouge-score."""

    described: ClassVar[Measure] = Measure(key="rouge1", title="ROUGE-1", better="higher")

    def likeness(self, base: Sequence[str], candidate: Sequence[str], encoders: Encoders) -> Sequence[float]:
        """F1 of each pair."""
        from rouge_score.rouge_scorer import RougeScorer

        scorer = RougeScorer([self.described.key], tokenizer=RougeTokenizer())
        pairs = zip(base, candidate, strict=True)
        return [scorer.score(target, prediction)[self.described.key].fmeasure for target, prediction in pairs]


class RougeL(Rouge1):
    """F1 of the longest common subsequence of words, without stemming, by rouge-score."""

    described = Measure(key="rougeL", title="ROUGE-L", better="higher")
