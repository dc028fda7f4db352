"""Semantic textual similarity: the cosine of sentence embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from whichbits.schema.metrics import Measure
from whichbits.similarity.encoders import NOT_LOADED, Encoders, not_loaded
from whichbits.similarity.measure import Likeness

BATCH = 16


class SentenceSimilarity(Likeness):
    """(1 + cosine) / 2 of sentence embeddings, by sentence-transformers.

    The paper normalises the cosine to 0-1 without a formula; this is the linear map. Texts longer than the encoder's
    `max_seq_length` (256 tokens for MiniLM) are cut by the library.
    """

    described: ClassVar[Measure] = Measure(key="sts", title="Semantic similarity (STS)", better="higher")

    def likeness(self, base: Sequence[str], candidate: Sequence[str], encoders: Encoders) -> Sequence[float]:
        """Similarity of each pair. Raises UserError for an encoder that cannot be loaded."""
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.util import pairwise_cos_sim

        try:
            model = SentenceTransformer(encoders.sts, device="cpu", trust_remote_code=False)
        except NOT_LOADED as error:
            raise not_loaded("sts", encoders.sts, error) from error
        left, right = (
            model.encode(list(texts), batch_size=BATCH, convert_to_tensor=True, show_progress_bar=False)
            for texts in (base, candidate)
        )
        values: list[float] = ((1 + pairwise_cos_sim(left, right)) / 2).tolist()
        return values
