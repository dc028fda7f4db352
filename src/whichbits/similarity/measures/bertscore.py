"""BERTScore: tokens matched greedily by the cosine of their contextual embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from whichbits.core.errors import UserError
from whichbits.schema.metrics import Measure
from whichbits.similarity.encoders import NOT_LOADED, Encoders, not_loaded
from whichbits.similarity.measure import Likeness

BATCH = 16


class BertScore(Likeness):
    """F1 without idf and without baseline rescaling, by bert-score (Zhang et al. 2020).

    Texts longer than the encoder's context (512 tokens for MiniLM and RoBERTa) are cut by the library.
    """

    described: ClassVar[Measure] = Measure(key="bertscore", title="BERTScore", better="higher")

    def likeness(self, base: Sequence[str], candidate: Sequence[str], encoders: Encoders) -> Sequence[float]:
        """F1 of each pair. Raises UserError for an encoder that cannot be used."""
        from bert_score import BERTScorer
        from bert_score.utils import model2layers

        name = encoders.bertscore
        layers = encoders.bertscore_layers or model2layers.get(name) or model2layers.get(Path(name).name)
        if layers is None:
            raise UserError(
                f"bertscore_layers is not given and bert-score has no default for '{name}'",
                remedy="name the folder after its model, as roberta-large, or set bertscore_layers to the number of layers",
            )
        try:
            scorer = BERTScorer(model_type=name, num_layers=layers, device="cpu", use_fast_tokenizer=True)
        except NOT_LOADED as error:
            raise not_loaded("bertscore", name, error) from error
        try:
            _, _, f1 = scorer.score(list(candidate), list(base), batch_size=BATCH)
        except OverflowError as error:
            raise UserError(
                f"the tokenizer of '{name}' states no maximum length",
                remedy="set model_max_length in its tokenizer_config.json",
            ) from error
        values: list[float] = f1.tolist()
        return values
