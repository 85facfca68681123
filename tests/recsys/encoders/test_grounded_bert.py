from __future__ import annotations

import pytest
import torch

from recsys.encoders.grounded_bert import GroundedBert, GroundedBertSizes, pick

SIZES = GroundedBertSizes(
    vocab_size=50, image_width=12, width=16, layers=2, heads=2, inner_width=32, positions=10, dropout=0.0
)


@pytest.fixture(scope="module")
def bert() -> GroundedBert:
    torch.manual_seed(0)
    made = GroundedBert(SIZES).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(1, 50, (3, 7), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def states() -> torch.Tensor:
    return torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(2))


def test_a_later_token_never_changes_what_was_written_before(
    bert: GroundedBert, tokens: torch.Tensor, states: torch.Tensor
) -> None:
    pictures = bert.look(states)
    before, _ = bert.write(tokens, pictures)
    changed = tokens.clone()
    changed[:, 4] = changed[:, 4] % 49 + 1
    after, _ = bert.write(changed, pictures)
    torch.testing.assert_close(after[:, :4], before[:, :4], atol=1e-6, rtol=0)
    assert (after[:, 4:] - before[:, 4:]).abs().amax(dim=(0, 2)).min() > 1e-3


def test_writing_token_by_token_equals_writing_at_once(
    bert: GroundedBert, tokens: torch.Tensor, states: torch.Tensor
) -> None:
    pictures = bert.look(states)
    whole, _ = bert.write(tokens, pictures)
    past, parts = None, []
    for place in range(tokens.size(1)):
        hidden, past = bert.write(tokens[:, place : place + 1], pictures, past)
        parts.append(hidden)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=0)


def test_padding_changes_nothing_and_reading_looks_both_ways(bert: GroundedBert, tokens: torch.Tensor) -> None:
    everything = torch.ones_like(tokens, dtype=torch.bool)
    short = bert.read(tokens[:, :5], everything[:, :5])
    mask = everything.clone()
    mask[:, 5:] = False
    torch.testing.assert_close(bert.read(tokens, mask)[:, :5], short, atol=1e-5, rtol=0)
    assert (bert.read(tokens, everything)[:, 0] - short[:, 0]).abs().max() > 1e-3


def test_the_picture_counts_beside_it_and_not_alone(
    bert: GroundedBert, tokens: torch.Tensor, states: torch.Tensor
) -> None:
    mask = torch.ones_like(tokens, dtype=torch.bool)
    beside = bert.read(tokens, mask, bert.look(states))
    other = bert.read(tokens, mask, bert.look(states.flip(0)))
    assert (beside - other)[[0, 2]].abs().max() > 1e-3
    torch.testing.assert_close(beside[1], other[1])
    assert (bert.read(tokens, mask) - beside).abs().max() > 1e-3


def test_picking_pictures_equals_looking_at_them(bert: GroundedBert, states: torch.Tensor) -> None:
    rows = torch.tensor([2, 0, 0, 1])
    for picked, looked in zip(pick(bert.look(states), rows), bert.look(states[rows]), strict=True):
        torch.testing.assert_close(picked, looked)
    for picked in pick(bert.look(states, 3), rows):
        torch.testing.assert_close(picked, states[rows])


def test_short_texts_see_the_same_without_keys_and_values(
    bert: GroundedBert, tokens: torch.Tensor, states: torch.Tensor
) -> None:
    short = tokens[:, :3]
    mask = torch.ones_like(short, dtype=torch.bool)
    cheap = bert.look(states, 3)
    assert all(isinstance(one, torch.Tensor) for one in cheap)
    assert not any(isinstance(one, torch.Tensor) for one in bert.look(states, 4))
    torch.testing.assert_close(
        bert.read(short, mask, cheap), bert.read(short, mask, bert.look(states)), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(bert.write(short, cheap)[0], bert.write(short, bert.look(states))[0], atol=1e-5, rtol=0)


def test_reader_and_writer_share_all_but_self_attention(
    bert: GroundedBert, tokens: torch.Tensor, states: torch.Tensor
) -> None:
    """By the gradients: a parameter is shared if both roles reach it."""

    def reached(hidden: torch.Tensor) -> set[str]:
        bert.zero_grad()
        hidden.square().sum().backward()
        return {name for name, weight in bert.named_parameters() if weight.grad is not None and weight.grad.any()}

    reads = reached(bert.read(tokens, torch.ones_like(tokens, dtype=torch.bool), bert.look(states)))
    writes = reached(bert.write(tokens, bert.look(states))[0])
    assert {name.split(".")[2] for name in reads & writes if name.startswith("layers")} == {
        "cross_attention",
        "feed_forward",
    }
    assert {name.split(".")[2] for name in reads - writes} == {"attention"}
    assert {name.split(".")[2] for name in writes - reads} == {"writing_attention"}
    assert "words.weight" in reads & writes


def test_the_reading_part_reads_the_same(bert: GroundedBert, tokens: torch.Tensor) -> None:
    mask = tokens > 5
    mask[:, 0] = True
    part = bert.reading_part()
    torch.testing.assert_close(part.read(tokens, mask), bert.read(tokens, mask))
    names = {name for name, _ in part.named_parameters()}
    assert not any("writing" in name or "cross" in name or name.startswith("head") for name in names)
    assert names < {name for name, _ in bert.named_parameters()}


def test_output_weights_are_the_word_embeddings(bert: GroundedBert) -> None:
    hidden = torch.randn(4, 16)
    normal = bert.head_norm(torch.nn.functional.gelu(bert.head(hidden)))
    torch.testing.assert_close(bert.logits(hidden), normal @ bert.words.weight.T + bert.head_bias)
