from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recsys.encoders.qformer import START, QFormer
from recsys.encoders.qformer_masks import multimodal_causal, uni_modal
from recsys.encoders.tokenizer import train_tokenizer

CORPUS = ["红色的苹果 red apple", "blue sea 蓝色大海", "green hills 绿色山丘"]
QUERIES = 3


@pytest.fixture
def qformer() -> QFormer:
    torch.manual_seed(0)
    return QFormer(train_tokenizer(CORPUS, 100), 6, 12, 16, 3, 2, QUERIES, 2, dropout=0.0).eval()


@pytest.fixture
def tokens(qformer: QFormer) -> Tensor:
    return qformer.cut(torch.from_numpy(qformer.tokens(["red", "green hills apple"])))


@pytest.fixture
def states() -> Tensor:
    return torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))


def other(tokens: Tensor, column: int) -> Tensor:
    changed = tokens.clone()
    changed[:, column] = (changed[:, column] + 7) % 30 + 6  # no padding
    return changed


def test_queries_differ_from_the_start_and_stay_different(qformer: QFormer, states: Tensor) -> None:
    """At zeros, as every class of transformers has them, they would be one and the same query for ever."""
    assert torch.pdist(qformer.query_tokens).min() > 0.01
    asked, _ = qformer.ask(qformer.look(states))
    asked.square().mean().backward()
    with torch.no_grad():
        for parameter in qformer.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad
    asked, _ = qformer.ask(qformer.look(states))
    assert torch.pdist(asked[0]).min() > 1e-3


def test_asking_and_reading_alone_is_the_uni_modal_mask(qformer: QFormer, tokens: Tensor, states: Tensor) -> None:
    memory = qformer.look(states)
    together = torch.cat([qformer._queries(2), qformer._embed(tokens)], dim=1)
    masked, _ = qformer._run(together, QUERIES, memory, uni_modal(QUERIES, tokens != qformer.pad_id))
    torch.testing.assert_close(qformer.ask(memory)[0], masked[:, :QUERIES])
    torch.testing.assert_close(qformer.read(tokens), masked[:, QUERIES:])


def test_telling_with_the_queries_past_is_the_causal_mask(qformer: QFormer, tokens: Tensor, states: Tensor) -> None:
    memory = qformer.look(states)
    together = torch.cat([qformer._queries(2), qformer._embed(tokens)], dim=1)
    mask = multimodal_causal(QUERIES, tokens.size(1), tokens.device)
    masked, _ = qformer._run(together, QUERIES, memory, mask)
    asked, past = qformer.ask(memory)
    torch.testing.assert_close(asked, masked[:, :QUERIES])
    torch.testing.assert_close(qformer.tell(tokens, past)[0], masked[:, QUERIES:])


def test_word_by_word_is_the_same_as_all_at_once(qformer: QFormer, tokens: Tensor, states: Tensor) -> None:
    _, past = qformer.ask(qformer.look(states))
    whole, _ = qformer.tell(tokens, past)
    parts = []
    for token in tokens.split(1, dim=1):
        hidden, past = qformer.tell(token, past)
        parts.append(hidden)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)


def test_a_later_token_never_changes_what_was_predicted_before(
    qformer: QFormer, tokens: Tensor, states: Tensor
) -> None:
    _, past = qformer.ask(qformer.look(states))
    for column in range(1, tokens.size(1)):
        before = qformer.predict(qformer.tell(tokens, past)[0])
        after = qformer.predict(qformer.tell(other(tokens, column), past)[0])
        torch.testing.assert_close(after[:, :column], before[:, :column], rtol=0, atol=0)
        assert (after[:, column:] != before[:, column:]).any(dim=-1).all()


def test_text_changes_the_queries_in_matching(qformer: QFormer, tokens: Tensor, states: Tensor) -> None:
    memory = qformer.look(states)
    assert not torch.allclose(qformer.match(tokens, memory), qformer.match(other(tokens, 1), memory), atol=1e-4)


def test_padding_changes_nothing(qformer: QFormer, states: Tensor) -> None:
    padded = torch.from_numpy(qformer.tokens(["red", "green hills apple"]))
    memory = qformer.look(states[:1])
    alone, beside = qformer.cut(padded[:1]), padded[:1]
    assert alone.size(1) < beside.size(1) == qformer.max_tokens
    torch.testing.assert_close(qformer.read(beside)[:, 0], qformer.read(alone)[:, 0])
    torch.testing.assert_close(qformer.match(beside, memory), qformer.match(alone, memory))


def test_rows_of_padding_and_no_rows_at_all(qformer: QFormer, states: Tensor) -> None:
    assert qformer.read(qformer.cut(torch.full((2, 12), qformer.pad_id))).isfinite().all()
    nothing = torch.zeros(0, 12, dtype=torch.int32)
    assert qformer.cut(nothing).shape == (0, 1)
    assert qformer.match(qformer.cut(nothing), qformer.look(states[:0])).shape == (0, QUERIES, 16)


def test_a_picture_is_read_in_full_precision_under_autocast(qformer: QFormer, tokens: Tensor, states: Tensor) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        asked, past = qformer.ask(qformer.look(states.bfloat16()))
        hidden, _ = qformer.tell(tokens, past)
        logits = qformer.predict(hidden)
    assert asked.dtype == hidden.dtype == logits.dtype == torch.float32


def test_texts_come_back_without_special_tokens(qformer: QFormer) -> None:
    tokens = torch.from_numpy(qformer.tokens(["Red apple", "蓝色大海", "red [SEP] sea"]))
    assert (tokens == qformer.end_id).sum(dim=1).tolist() == [1, 1, 1]  # what a user writes stays text
    tokens[:, 0] = qformer.start_id
    assert qformer.texts(tokens)[:2] == ["red apple", "蓝色大海"]
    assert qformer.tokenizer.token_to_id(START) == qformer.start_id


def test_query_parameters_are_those_that_asking_uses(qformer: QFormer, states: Tensor) -> None:
    asked, _ = qformer.ask(qformer.look(states))
    (asked * torch.randn(asked.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    used = {id(parameter) for parameter in qformer.parameters() if parameter.grad is not None}
    assert used == {id(parameter) for parameter in qformer.query_parameters()}
