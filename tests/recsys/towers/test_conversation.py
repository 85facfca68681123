from __future__ import annotations

import pytest
import torch

from recsys.encoders.causal_lm import IGNORED, LanguageModel, LanguageModelConfig
from recsys.towers.conversation import IMAGE, ROLE_TOKENS, ConversationEncoder, Turn

CORPUS = ["红色的苹果 a red apple", "蓝色的大海 a blue sea and a boat", "what is this? 这是什么? user: assistant:"] * 3
TINY = LanguageModelConfig(max_tokens=8, vocab_size=200, width=16, layers=1, heads=2)
TALKS = {
    "one turn": [Turn("user", "what is this?", images=1), Turn("assistant", "a red apple")],
    "several turns": [
        Turn("system", "a boat"),
        Turn("user", "what is this?", images=1),
        Turn("assistant", "a blue sea"),
        Turn("user", "这是什么?"),
        Turn("assistant", "蓝色的大海"),
    ],
    "several pictures": [
        Turn("user", "what is this?", images=2),
        Turn("assistant", "a boat"),
        Turn("user", "and this?", images=1),
        Turn("assistant", "a red apple"),
    ],
    "text only": [Turn("user", "what is this?"), Turn("assistant", "red")],
}


@pytest.fixture(scope="module", params=["role tokens", "role words"])
def encoder(request: pytest.FixtureRequest) -> ConversationEncoder:
    special = ROLE_TOKENS if request.param == "role tokens" else ()
    return ConversationEncoder(LanguageModel.create(TINY, CORPUS, special))


@pytest.mark.parametrize("name", list(TALKS))
def test_labels_are_what_the_assistant_says_and_its_ends(encoder: ConversationEncoder, name: str) -> None:
    model = encoder.model
    talk = encoder.encode(TALKS[name], image_tokens=3)
    answers = [turn.text for turn in TALKS[name] if turn.role == "assistant"]
    assert [label for label in talk.labels if label != IGNORED] == [
        id for answer in answers for id in (*model.ids(answer), model.eos_id)
    ]
    assert len(talk.ids) == len(talk.labels)
    assert all(label in (IGNORED, id) for id, label in zip(talk.ids, talk.labels, strict=True))
    assert talk.ids.count(IMAGE) == 3 * sum(turn.images for turn in TALKS[name])


def test_an_answer_follows_the_prompt_that_asks_for_it(encoder: ConversationEncoder) -> None:
    """What is tuned on is what is served: the ids before the answer are those of the prompt alone."""
    for talk in TALKS.values():
        whole, prompt = encoder.encode(talk, 3), encoder.encode(talk[:-1], 3)
        assert whole.ids[: len(prompt.ids)] == prompt.ids
        answer = [*encoder.model.ids(talk[-1].text), encoder.model.eos_id]
        assert whole.ids[len(prompt.ids) :] == answer
        assert encoder.encode(talk[:1], 3).labels == [IGNORED] * len(encoder.encode(talk[:1], 3).ids)


def test_a_cut_answer_does_not_teach_to_stop(encoder: ConversationEncoder) -> None:
    talk = encoder.encode([Turn("user", "red"), Turn("assistant", "apple " * 20)], 0)
    assert talk.labels.count(IGNORED) == len(talk.labels) - TINY.max_tokens
    assert encoder.model.eos_id not in talk.labels


def test_rows_of_a_batch_are_padded_at_the_right(encoder: ConversationEncoder) -> None:
    talks = [encoder.encode(talk, 3) for talk in TALKS.values()]
    ids, labels, mask = encoder.collate(talks)
    for row, talk in enumerate(talks):
        assert ids[row][mask[row]].tolist() == talk.ids
        assert labels[row][mask[row]].tolist() == talk.labels
        assert not mask[row, len(talk.ids) :].any()
    assert bool((labels[~mask] == IGNORED).all())
    assert bool((ids[~mask] == encoder.model.pad_id).all())
    assert ids.dtype == labels.dtype == torch.int64
