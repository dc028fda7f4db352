"""Each library against a computation of our own or by hand, with the encoders loaded from disk."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichbits.core.errors import UserError
from whichbits.similarity.encoders import Encoders, embedded_encoders
from whichbits.similarity.measure import Likeness
from whichbits.similarity.measures.bertscore import BertScore
from whichbits.similarity.measures.rouge import Rouge1, RougeL, RougeTokenizer
from whichbits.similarity.measures.sts import SentenceSimilarity

UNUSED = Encoders("", "")
BASE = ["The cat sat on the mat.", "Boil the water first, then add the rice.", "A short one"]
CANDIDATE = ["A dog lay on the mat.", "Add rice after the water boils, and a pinch of salt.", "Something else entirely"]


@pytest.mark.parametrize(
    ("base", "candidate", "rouge1", "rouge_l"),
    [
        ("the cat sat on the mat", "the cat lay on a mat", 4 / 6, 4 / 6),
        ("a b c d", "d c b a", 1.0, 0.25),
        ("a b c", "a b c d e f", 2 / 3, 2 / 3),
        ("a a b", "a b b", 2 / 3, 2 / 3),
        ("one two", "three", 0.0, 0.0),
        ("你好世界", "你好地球", 0.5, 0.5),
        ("Größe", "größe", 1.0, 1.0),
    ],
)
def test_rouge_by_hand(base, candidate, rouge1, rouge_l):
    ones, longest = (measure().likeness([base], [candidate], UNUSED) for measure in (Rouge1, RougeL))
    assert (ones[0], longest[0]) == (pytest.approx(rouge1), pytest.approx(rouge_l))


@given(st.text(st.characters(max_codepoint=127)))
def test_words_of_ascii_text_are_the_library_s(text):
    from rouge_score.tokenize import tokenize

    assert RougeTokenizer().tokenize(text) == tokenize(text, None)


def token_vectors(text: str) -> np.ndarray:
    """Last hidden states of the embedded encoder, one row a token with [CLS] and [SEP], in float64."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    path = embedded_encoders().sts
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()
    with torch.no_grad():
        return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].double().numpy()


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def reference_bertscore(base: str, candidate: str) -> float:
    """Greedy matching of Zhang et al. 2020, eq. 1: [CLS] and [SEP] may be matched but are not averaged over."""
    similarity = unit(token_vectors(candidate)) @ unit(token_vectors(base)).T
    precision, recall = similarity.max(1)[1:-1].mean(), similarity.max(0)[1:-1].mean()
    return 2 * precision * recall / (precision + recall)


def test_bertscore_matches_tokens_greedily():
    scores = BertScore().likeness(BASE, CANDIDATE, embedded_encoders())
    assert scores == pytest.approx([reference_bertscore(*both) for both in zip(BASE, CANDIDATE, strict=True)], abs=1e-5)


def test_sentence_similarity_is_the_cosine_of_mean_pooled_vectors():
    scores = SentenceSimilarity().likeness(BASE, CANDIDATE, embedded_encoders())
    means = [unit(np.stack([token_vectors(text).mean(0) for text in texts])) for texts in (BASE, CANDIDATE)]
    assert scores == pytest.approx(((1 + (means[0] * means[1]).sum(-1)) / 2).tolist(), abs=1e-5)


def tiny_roberta(folder, layers=2, **tokenizer_options):
    """A random RoBERTa with a tokenizer of bytes, saved in `folder`."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import RobertaConfig, RobertaModel, RobertaTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    vocabulary = {token: index for index, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    RobertaTokenizer(vocab=vocabulary, merges=[], **tokenizer_options).save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=130, pad_token_id=1, bos_token_id=0, eos_token_id=2,
    )  # fmt: skip
    RobertaModel(config).save_pretrained(folder)
    return Encoders(bertscore=str(folder), sts=str(folder), bertscore_layers=2)


def test_a_roberta_encoder_scores_and_cuts_what_is_too_long(tmp_path):
    encoders = tiny_roberta(tmp_path, model_max_length=128)
    same, other, longer = BertScore().likeness(["abc", "abc", "x" * 500], ["abc", "xyz and more", "x" * 500], encoders)
    assert same == pytest.approx(1, abs=1e-5)
    assert other < 0.999
    assert longer == pytest.approx(1, abs=1e-5)


def test_a_folder_of_roberta_large_is_read_to_the_papers_layer(tmp_path):
    """The 17th, as bert-score takes of the model of that name."""
    folder = str(tmp_path / "roberta-large")
    tiny_roberta(folder, layers=18, model_max_length=128)
    texts = (["abc", "one two"], ["xyz and more", "one too"])
    found, at_17, at_18 = (
        BertScore().likeness(*texts, Encoders(bertscore=folder, sts=folder, bertscore_layers=layers))
        for layers in (None, 17, 18)
    )
    assert found == at_17 != at_18


def test_what_is_wrong_with_an_encoder_is_said(tmp_path):
    def ask(measure: Likeness, encoders: Encoders) -> None:
        measure.likeness(["a"], ["b"], encoders)

    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match="bertscore_layers is not given"):
        ask(BertScore(), Encoders(bertscore=nowhere, sts=nowhere))
    with pytest.raises(UserError, match=r"encoder bertscore '.*nowhere' cannot be loaded"):
        ask(BertScore(), Encoders(bertscore=nowhere, sts=nowhere, bertscore_layers=2))
    with pytest.raises(UserError, match=r"encoder sts '.*nowhere' cannot be loaded"):
        ask(SentenceSimilarity(), Encoders(bertscore=nowhere, sts=nowhere))
    with pytest.raises(UserError, match="states no maximum length"):
        ask(BertScore(), tiny_roberta(tmp_path / "tiny"))
