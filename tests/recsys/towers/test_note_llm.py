from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM
from transformers.models.qwen2.configuration_qwen2 import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM

from recsys.encoders.causal_lm import LanguageModelConfig
from recsys.encoders.tokenizer import train_tokenizer
from recsys.exceptions import ConfigError
from recsys.towers import note_tower
from recsys.towers.base import ItemBatch, Note, TrainingBatch
from recsys.towers.note_llm import NoteLlmConfig, NoteLlmTower
from recsys.towers.note_tasks import draw_tasks, note_text
from recsys.towers.tower import unit

CORPUS = ["红色的苹果 red apple", "blue sea 蓝色大海", "green hills 绿色山丘"]
TINY = NoteLlmConfig(llm=LanguageModelConfig(max_tokens=24, vocab_size=100, width=16, layers=2, heads=2), width=8)
NOTES = [
    Note("red", "apple", ("sea", "blue"), "hills"),
    Note("blue", "sea", (), "green"),
    Note("green", "hills", ("red",), ""),
    Note("apple", "", (), ""),
]
TEMPERATURES = {"match_scale", "pair_scale", "match_bias"}


@pytest.fixture(scope="module")
def tower() -> NoteLlmTower:
    torch.manual_seed(0)
    return NoteLlmTower.create(TINY, CORPUS).eval()


def training_batch(tower: NoteLlmTower, notes: list[Note] = NOTES, seed: int = 0) -> TrainingBatch:
    n = len(notes)
    inputs = tower.inputs(ItemBatch([f"{note.title}\n{note.text}".strip() or None for note in notes], [None] * n))
    return TrainingBatch(
        step=0,
        steps=1,
        rows=torch.arange(n),
        inputs=inputs,
        captions=inputs.tokens,
        has_caption=torch.zeros(n, dtype=torch.bool),
        same=torch.eye(n, dtype=torch.bool),
        notes=notes,
        random=torch.Generator().manual_seed(seed),
    )


def learned(tower: NoteLlmTower) -> set[str]:
    """Parameters that a step of contrast and objective gives a gradient."""
    tower.train()
    tower.zero_grad()
    batch = training_batch(tower)
    out = tower(batch.inputs)
    target = torch.randn(tower.full_width, generator=torch.Generator().manual_seed(0))
    loss = (out["fused"] @ target).sum()
    (loss + sum(tower.objective(batch, out).values())).backward()
    names = {name for name, p in tower.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    tower.zero_grad()
    tower.eval()
    return names


def test_an_item_is_the_vector_of_its_text_and_nothing_without_one(tower: NoteLlmTower) -> None:
    out = tower.encode_items(ItemBatch([CORPUS[0], None, CORPUS[2]], [b"not looked at", b"nor this", None]))
    np.testing.assert_allclose(np.linalg.norm(out["fused"], axis=1), [1, 0, 1], atol=1e-5)
    np.testing.assert_array_equal(out["fused"], out["text"])
    np.testing.assert_allclose(out["text"][2], tower.encode_text([CORPUS[2]])[0], atol=1e-6)
    assert not out["image"].any()


def test_pictures_alone_are_refused_with_a_way_out(tower: NoteLlmTower) -> None:
    with pytest.raises(ConfigError, match="note_llm2"):
        tower.encode_image([b"a picture"])
    assert tower.capabilities == {"generate"}


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_the_vector_is_the_state_before_the_word_as_transformers_computes_it(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    tokenizer = train_tokenizer(CORPUS, 120)
    sizes = {
        "vocab_size": tokenizer.get_vocab_size(),
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
        "bos_token_id": None,
        "eos_token_id": tokenizer.token_to_id("[SEP]"),
        "pad_token_id": 0,
    }
    model = Qwen2ForCausalLM(Qwen2Config(**sizes)) if kind == "qwen2" else LlamaForCausalLM(LlamaConfig(**sizes))
    model.save_pretrained(tmp_path)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    tower = NoteLlmTower.create(NoteLlmConfig(llm=LanguageModelConfig(checkpoint=tmp_path, max_tokens=24), width=8), [])
    start, ids = tower.text.start_ids, tower.text.ids
    prompt = [*start, *ids("Note:"), *ids(CORPUS[0]), *ids("Compress to one word:")]
    assert len(prompt) > len(ids(CORPUS[0])) + 6  # a checkpoint is told in words
    with torch.inference_mode():
        reference = model.eval()(torch.tensor([prompt]), output_hidden_states=True).hidden_states[-1][:, -1]
        tokens = torch.from_numpy(tower.text.tokens([CORPUS[0], "a much longer text that fills up the other row"]))
        ours = tower.read_text(tokens)[:1]
        torch.testing.assert_close(ours, unit(tower.projection(reference)), atol=1e-5, rtol=0)


def test_every_token_of_the_content_changes_the_vector_and_nothing_behind_it_does(tower: NoteLlmTower) -> None:
    tokens = torch.from_numpy(tower.text.tokens([CORPUS[0]]))
    length = int((tokens != tower.text.pad_id).sum())
    assert 3 <= length < tokens.shape[1]
    before = tower.read_text(tokens)
    for place in range(length):
        changed = tokens.clone()
        changed[0, place] = tower.text.ids("sea")[0]
        if changed[0, place] != tokens[0, place]:
            assert not torch.allclose(tower.read_text(changed), before, atol=1e-6)

    everyone = torch.ones(1, dtype=torch.bool)
    endings = [
        [tower.prompter.ask([kind]), tower.prompter.answer([answer])]
        for kind, answer in (("category", "hills"), ("hashtag", "red apple"))
    ]
    nothing = torch.zeros(0, 0, 16)
    states = [
        tower.states(tower.prompter.compose(tokens, everyone, ~everyone, 0, ending), nothing) for ending in endings
    ]
    read_out = len(tower.text.start_ids) + 1 + length  # note, content, compress
    torch.testing.assert_close(states[0][:, : read_out + 1], states[1][:, : read_out + 1])
    assert not torch.allclose(states[0][:, read_out + 2], states[1][:, read_out + 2])
    torch.testing.assert_close(unit(tower.projection(states[0][:, read_out])), before)


def test_a_batch_equals_its_items_one_by_one(tower: NoteLlmTower) -> None:
    texts = [CORPUS[0], "red", CORPUS[1] + CORPUS[2]]
    alone = np.concatenate([tower.encode_text([text]) for text in texts])
    np.testing.assert_allclose(tower.encode_text(texts), alone, atol=1e-5)
    assert tower.encode_text([]).shape == (0, 8)
    assert tower.encode_items(ItemBatch([], []))["fused"].shape == (0, 8)


def test_parts_of_like_length_keep_their_rows(tower: NoteLlmTower, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(["red sea"] * (1 + 5 * i % 7)) for i in range(9)]
    together = tower.encode_text(texts)
    monkeypatch.setattr(note_tower, "FEWEST_TOGETHER", 2)
    np.testing.assert_allclose(tower.encode_text(texts), together, atol=1e-5)


def test_save_and_load_change_nothing(tower: NoteLlmTower, tmp_path: Path) -> None:
    tower.save(tmp_path)
    loaded = NoteLlmTower.load(tmp_path)
    np.testing.assert_array_equal(loaded.encode_text(CORPUS), tower.encode_text(CORPUS))
    batch = ItemBatch(CORPUS, [None] * 3)
    assert loaded.generate_tags(batch) == tower.generate_tags(batch)
    assert loaded.fingerprint == tower.fingerprint


def test_the_loss_is_the_cross_entropy_of_the_answers_and_their_ends(tower: NoteLlmTower) -> None:
    """Each task alone, by the model's own scores, token after token; a note without tags and category has no part."""
    batch = training_batch(tower, seed=5)
    tasks = draw_tasks(NOTES, 1.0, torch.Generator().manual_seed(5))
    assert [task.row for task in tasks] == [0, 1, 2]
    losses = []
    for task in tasks:
        shown = [*tower.text.start_ids, *tower.prompter.note, *tower.text.ids(task.text), *tower.prompter.compress]
        shown += tower.prompter.questions[task.kind]
        answer = [*tower.text.ids(task.answer), tower.text.eos_id]
        with torch.no_grad():
            logits = tower.text.model(torch.tensor([shown + answer])).logits[0]
        losses.append(F.cross_entropy(logits[len(shown) - 1 : -1], torch.tensor(answer), reduction="none"))
    loss = tower.objective(batch, tower(batch.inputs))["generation"]
    torch.testing.assert_close(loss.detach(), 0.01 * torch.cat(losses).mean(), rtol=1e-5, atol=0)


def test_without_weight_or_without_anything_to_write_there_is_no_loss(tower: NoteLlmTower) -> None:
    batch = training_batch(tower, [Note("red", "apple", (), ""), Note("", "", ("red",), "")])
    assert tower.objective(batch, tower(batch.inputs)) == {}  # the second shows nothing once its hashtag is taken out
    batch = training_batch(tower)
    assert tower.has_objective
    tower.adopt(TINY.model_copy(update={"generative_weight": 0.0}))
    assert not tower.has_objective
    assert tower.objective(batch, tower(batch.inputs)) == {}
    tower.adopt(TINY)


def test_temperature_starts_at_three(tower: NoteLlmTower) -> None:
    assert tower.pair_scale.item() == 3.0
    assert tower.match_scale.item() == pytest.approx(math.log(1 / 0.07))


def test_exactly_the_declared_parameters_learn(tower: NoteLlmTower) -> None:
    everything = {name for name, _ in tower.named_parameters()}
    assert learned(tower) == everything - TEMPERATURES
    frozen = TINY.model_copy(update={"llm": TINY.llm.model_copy(update={"frozen": True})})
    tower.adopt(frozen)
    assert {name for name, p in tower.named_parameters() if p.requires_grad} - TEMPERATURES == learned(tower)
    assert learned(tower) == {"projection.weight", "projection.bias"}
    tower.adopt(TINY)


def test_it_learns_to_write_category_and_the_hashtag_that_is_missing() -> None:
    """Two kinds of notes whose category and hashtags follow from their words."""
    torch.manual_seed(0)
    kinds = [("red apple", ("fruit", "sweet"), "food"), ("blue sea", ("wave", "salt"), "travel")]
    notes = [Note(title, "", tags, category) for title, tags, category in kinds] * 4
    corpus = [f"{title} {' '.join(tags)} {category}" for title, tags, category in kinds] * 3
    tower = NoteLlmTower.create(TINY.model_copy(update={"generative_weight": 1.0}), corpus)
    optimizer = torch.optim.AdamW(tower.parameters(), lr=3e-3)
    no_pictures = {"pictures": torch.zeros(len(notes), 0, 16)}
    for step in range(240):
        (loss,) = tower.train().objective(training_batch(tower, notes, seed=step), no_pictures).values()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2
    whole = ItemBatch([note_text(note) for note in notes[:2]], [None, None])
    assert tower.generate_category(whole) == ["food", "travel"]
    assert tower.generate_category(whole, among=["travel", "food"]) == ["food", "travel"]
    one_missing = ItemBatch(["red apple\n#sweet", "blue sea\n#wave"], [None, None])
    assert tower.generate_tags(one_missing, most=1) == [("fruit",), ("salt",)]
    for tags in tower.generate_tags(one_missing, most=3):
        assert len(set(tags)) == len(tags)


def test_a_poisoned_batch_stays_finite(tower: NoteLlmTower) -> None:
    long = Note("red " * 500, "sea " * 5000, ("apple " * 100,) * 3, "hills " * 200)
    notes = [Note("", "", (), ""), Note("", "", ("",), ""), long, long, Note("\u0000\ufffd", "", (), "x")]
    batch = training_batch(tower, notes)
    out = tower(batch.inputs)
    losses = tower.objective(batch, out)
    assert all(torch.isfinite(tensor).all() for tensor in (*out.values(), *losses.values()))
    assert "generation" in losses
    nothing = training_batch(tower, [Note("", "", (), "")] * 3)
    out = tower(nothing.inputs)
    out["fused"].sum().backward()
    assert not out["fused"].any()
    assert all(torch.isfinite(p.grad).all() for p in tower.parameters() if p.grad is not None)
    tower.zero_grad()
