from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from recsys.encoders.grounded_bert import pick
from recsys.encoders.grounded_text import GroundedText, GroundedTextConfig

CORPUS = ["a red apple falls", "the blue sea", "green hills", "红色的苹果 apple", "蓝色大海"] * 2


@pytest.fixture(scope="module")
def text() -> GroundedText:
    torch.manual_seed(0)
    config = GroundedTextConfig(max_tokens=12, vocab_size=100, width=16, layers=2, heads=2)
    made = GroundedText.create(config, 12, CORPUS).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


@pytest.fixture
def states() -> torch.Tensor:
    return torch.randn(3, 5, 12, generator=torch.Generator().manual_seed(2))


def test_roles_have_tokens_of_their_own(text: GroundedText, states: torch.Tensor) -> None:
    tokens = torch.from_numpy(text.tokens(CORPUS[:3])).long()
    assert len({text.write_id, text.match_id, int(tokens[0, 0])}) == 3
    pictures = text.bert.look(states)
    led = tokens.clone()
    led[:, 0] = text.match_id
    want = text.bert.read(led, led != text.pad_id, pictures)[:, 0]
    torch.testing.assert_close(text.beside(tokens, pictures), want, atol=1e-5, rtol=0)
    assert int(tokens[0, 0]) == text.tokenizer.token_to_id("[CLS]"), "the tokens handed in stay as they are"


def test_predictions_are_of_the_next_token_and_never_of_padding(text: GroundedText, states: torch.Tensor) -> None:
    tokens = torch.from_numpy(text.tokens(CORPUS[:3])).long()
    logits, labels, rows = text.predict(tokens, text.bert.look(states))
    lengths = (tokens != text.pad_id).sum(dim=1)
    assert torch.bincount(rows).tolist() == (lengths - 1).tolist()
    assert text.pad_id not in labels
    assert labels[rows == 1].tolist() == tokens[1, 1 : lengths[1]].tolist()
    led = tokens.clone()
    led[:, 0] = text.write_id
    hidden, _ = text.bert.write(led, text.bert.look(states))
    everywhere = text.bert.logits(hidden)[:, :-1]
    padded = tokens[:, 1:].masked_fill(tokens[:, 1:] == text.pad_id, -100)
    want = F.cross_entropy(everywhere.flatten(0, 1), padded.flatten(), label_smoothing=0.1)
    torch.testing.assert_close(F.cross_entropy(logits, labels, label_smoothing=0.1), want)


def test_written_texts_are_greedy_step_by_step(text: GroundedText, states: torch.Tensor) -> None:
    """Against the whole prefix computed anew for every token."""
    pictures = text.bert.look(states)
    written = torch.full((3, 1), text.write_id)
    for _ in range(6):
        logits = text.bert.logits(text.bert.write(written, pictures)[0][:, -1])
        logits[:, text.unspoken] = -torch.inf
        written = torch.cat([written, logits.argmax(dim=1)[:, None]], dim=1)
    assert text.write(pictures, 6) == text.texts(written[:, 1:])


def test_an_ended_text_stays_ended_and_special_tokens_are_not_written(text: GroundedText, states: torch.Tensor) -> None:
    end = text.end_id
    apple, sea = (text.tokenizer.token_to_id(word) for word in ("apple", "sea"))
    assert text.texts(torch.tensor([[apple, end, sea], [sea, apple, sea]])) == ["apple", "sea apple sea"]
    random = torch.Generator().manual_seed(0)
    written = text.write(text.bert.look(states.repeat(40, 1, 1)), 8, 1.0, random)
    assert len(written) == 120
    assert not any("[" in one for one in written)
    assert len(set(written)) > 60


def test_the_seed_decides_what_is_drawn(text: GroundedText, states: torch.Tensor) -> None:
    pictures = text.bert.look(states)
    one, two, three = (text.write(pictures, 8, 0.9, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert one == two != three


def test_chinese_is_written_without_spaces(text: GroundedText) -> None:
    ids = [text.tokenizer.token_to_id(character) for character in ("红", "色", "apple", "大", "海")]
    assert text.texts(torch.tensor([ids])) == ["红色 apple 大海"]


def test_texts_in_parts_of_like_length_are_read_as_each_alone(text: GroundedText) -> None:
    many = [CORPUS[row % 5] * (1 + row % 3) for row in range(101)]
    tokens = torch.from_numpy(text.tokens(many)).long()
    states = torch.randn(4, 5, 12, generator=torch.Generator().manual_seed(3))
    which = torch.randint(0, 4, (101,), generator=torch.Generator().manual_seed(4))
    pictures = text.bert.look(states)
    assert len(text._by_length(tokens)) > 3
    read, beside = text(tokens), text.beside(tokens, pictures, which)
    logits, labels, rows = text.predict(tokens, pick(pictures, which))
    for row in range(0, 101, 7):
        alone, own = tokens[row : row + 1], pick(pictures, which[row : row + 1])
        torch.testing.assert_close(read[row : row + 1], text(alone), atol=1e-5, rtol=0)
        torch.testing.assert_close(beside[row : row + 1], text.beside(alone, own), atol=1e-5, rtol=0)
        want, following, _ = text.predict(alone, own)
        torch.testing.assert_close(logits[rows == row], want, atol=1e-5, rtol=0)
        assert torch.equal(labels[rows == row], following)


def test_nothing_to_write_gives_nothing(text: GroundedText) -> None:
    assert text.write(text.bert.look(torch.zeros(0, 5, 12)), 5) == []
    assert text(torch.zeros(0, 12, dtype=torch.long)).shape == (0, 16)


def test_describing_and_restoring_keeps_shape_and_tokens(text: GroundedText) -> None:
    again = GroundedText.restore(text.describe(), text.tokenizer)
    again.load_state_dict(text.state_dict())
    tokens = torch.from_numpy(text.tokens(CORPUS[:3]))
    torch.testing.assert_close(again.eval()(tokens), text(tokens))
