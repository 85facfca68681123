from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers.models.blip.configuration_blip import BlipConfig as HubConfig
from transformers.models.blip.modeling_blip import BlipForConditionalGeneration, BlipForImageTextRetrieval

from recsys.encoders.grounded_text import GroundedTextConfig
from recsys.encoders.image import ImageConfig
from recsys.encoders.tokenizer import train_tokenizer
from recsys.exceptions import ConfigError
from recsys.towers.base import ItemBatch, Note, TowerInputs, TrainingBatch
from recsys.towers.blip import BlipConfig, BlipTower
from recsys.towers.hard_negatives import draw_hard_negatives
from recsys.towers.tower import WEIGHTS_FILE
from recsys.towers.weights import load_weights, unique_weights

CORPUS = ["红色的苹果 red apple", "blue sea 蓝色大海", "green hills 绿色山丘", "a yellow sun", "the white snow falls"]
COLOURS = ["red", "blue", "green", "yellow", "white"]
TINY = BlipConfig(
    text=GroundedTextConfig(max_tokens=12, vocab_size=100, width=16, layers=2, heads=2, dropout=0.0),
    image=ImageConfig(pixels=16, patch=8, width=24, layers=1, heads=2),
    width=8,
    queue=0,
    alpha=0.0,
)
SLOW = TINY.model_copy(update={"queue": 7, "alpha": 0.4})


def picture(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (30, 40), colour).save(stream, "PNG")
    return stream.getvalue()


PICTURES = [picture(colour) for colour in COLOURS]


def made(config: BlipConfig = TINY) -> BlipTower:
    torch.manual_seed(0)
    tower = BlipTower.create(config, 2 * CORPUS)
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if parameter.ndim and not name.startswith("momentum."):
                parameter.add_(0.1 * torch.randn_like(parameter))
    tower.adopt(config)
    return tower


def training_batch(tower: BlipTower, rows: list[int] | None = None, step: int = 9, steps: int = 10) -> TrainingBatch:
    rows = list(range(5)) if rows is None else rows
    inputs = tower.inputs(ItemBatch([CORPUS[row] for row in rows], [PICTURES[row] for row in rows]))
    return with_inputs(inputs, rows, step, steps)


def with_inputs(inputs: TowerInputs, rows: list[int], step: int = 9, steps: int = 10) -> TrainingBatch:
    items = torch.tensor(rows)
    return TrainingBatch(
        step=step,
        steps=steps,
        rows=items,
        inputs=inputs,
        captions=inputs.tokens,
        has_caption=torch.zeros(len(rows), dtype=torch.bool),
        same=items[:, None] == items[None, :],
        notes=[Note("", "", (), "")] * len(rows),
        random=torch.Generator().manual_seed(step),
    )


def losses_of(tower: BlipTower, batch: TrainingBatch) -> dict[str, torch.Tensor]:
    tower.train()
    tower.before_step(batch)
    return tower.objective(batch, tower(batch.inputs))


@pytest.fixture(scope="module")
def tower() -> BlipTower:
    return made().eval()


# --- parity with transformers ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], tuple[Path, Any]]:
    """Writes a random checkpoint in the hub's format: vocabulary as published, two rows behind the tokenizer's."""

    def write(kind: Any) -> tuple[Path, Any]:
        path = tmp_path_factory.mktemp("hub")
        tokenizer = train_tokenizer(2 * CORPUS, 100)
        known = tokenizer.get_vocab_size()
        sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
        text = {"vocab_size": known + 2, "hidden_size": 16, "max_position_embeddings": 20, "bos_token_id": known}
        config = HubConfig(
            text_config={**text, "sep_token_id": tokenizer.token_to_id("[SEP]"), **sizes},
            vision_config={"hidden_size": 24, "image_size": 16, "patch_size": 8, "initializer_range": 0.02, **sizes},
            image_text_hidden_size=10,
        )
        torch.manual_seed(1)
        model = kind(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        model.save_pretrained(path)
        tokenizer.save(str(path / "tokenizer.json"))
        return path, model.eval()

    return write


def batch_for(tower: BlipTower) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens, pixels as we take them, and as BLIP of transformers does."""
    tokens = torch.from_numpy(tower.text.tokens(CORPUS)).long()
    pixels = torch.from_numpy(tower.image.prepare(PICTURES))
    return tokens, pixels, (pixels.float() / 255 - tower.image.mean) / tower.image.std


@torch.no_grad()
def test_contrast_and_matching_equal_those_of_transformers(hub: Callable[[Any], tuple[Path, Any]]) -> None:
    path, theirs = hub(BlipForImageTextRetrieval)
    tower = BlipTower.create(TINY.model_copy(update={"checkpoint": path}), []).eval()
    assert tower.width == 10
    tokens, pixels, scaled = batch_for(tower)
    mask = (tokens != tower.text.pad_id).long()
    similarity = theirs(tokens, scaled, use_itm_head=False, attention_mask=mask).itm_score
    ours = tower.read_image(pixels) @ tower.read_text(tokens).T
    torch.testing.assert_close(ours, similarity, atol=1e-5, rtol=1e-5)
    led = tokens.clone()
    led[:, 0] = tower.text.match_id  # transformers leaves this to its caller
    logits = theirs(led, scaled, attention_mask=mask).itm_score
    torch.testing.assert_close(tower.match_logits(tokens, pixels), logits[:, 1] - logits[:, 0], atol=1e-5, rtol=1e-5)
    probability = tower.match(CORPUS, PICTURES)
    np.testing.assert_allclose(probability, logits.softmax(dim=1)[:, 1].numpy(), atol=1e-5)


@torch.no_grad()
def test_captions_equal_those_of_transformers(hub: Callable[[Any], tuple[Path, Any]]) -> None:
    path, theirs = hub(BlipForConditionalGeneration)
    tower = BlipTower.create(TINY.model_copy(update={"checkpoint": path}), []).eval()
    assert tower.width == TINY.width
    tokens, pixels, scaled = batch_for(tower)
    mask = (tokens != tower.text.pad_id).long()
    led = tokens.clone()
    led[:, 0] = tower.text.write_id
    labels = tokens.masked_fill(mask == 0, -100)
    want = theirs(scaled, led, attention_mask=mask, labels=labels)
    logits, following, _ = tower.text.predict(tokens, tower.text.bert.look(tower.image.states(pixels)))
    there = labels[:, 1:] != -100
    torch.testing.assert_close(logits, want.logits[:, :-1][there], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(F.cross_entropy(logits, following), want.loss, atol=1e-5, rtol=1e-5)
    per_token = F.cross_entropy(want.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="none")
    per_row = per_token.view(len(tokens), -1).sum(dim=1) / there.sum(dim=1)
    torch.testing.assert_close(tower.caption_nll(tokens, pixels), per_row, atol=1e-5, rtol=1e-5)

    unspoken = tower.text.unspoken.tolist()
    written = theirs.generate(scaled, max_new_tokens=6, suppress_tokens=unspoken, do_sample=False)
    start = (written[0] == tower.text.write_id).nonzero()[0, 0] + 1
    assert tower.caption(PICTURES, max_tokens=6) == tower.text.texts(written[:, start : start + 6])


def test_only_a_blip_is_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    with pytest.raises(ConfigError, match="'clip'"):
        BlipTower.create(TINY.model_copy(update={"checkpoint": tmp_path}), [])


# --- encoding -------------------------------------------------------------------------------------------------------


def test_text_only_and_picture_only_items(tower: BlipTower) -> None:
    out = tower.encode_items(ItemBatch([CORPUS[0], None, CORPUS[2], None], [PICTURES[0], PICTURES[1], None, None]))
    lengths = {name: np.linalg.norm(vectors, axis=1) for name, vectors in out.items()}
    np.testing.assert_allclose(lengths["fused"], [1, 1, 1, 0], atol=1e-5)
    np.testing.assert_allclose(lengths["text"], [1, 0, 1, 0], atol=1e-5)
    np.testing.assert_allclose(lengths["image"], [1, 1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(out["fused"][1], tower.encode_image([PICTURES[1]])[0], atol=1e-5)
    np.testing.assert_allclose(out["fused"][2], tower.encode_text([CORPUS[2]])[0], atol=1e-5)


def test_picture_and_text_each_change_the_item(tower: BlipTower) -> None:
    fused = tower.encode_items(ItemBatch([CORPUS[0], CORPUS[0], CORPUS[1]], [PICTURES[0], PICTURES[1], PICTURES[0]]))
    assert fused["fused"][0] @ fused["fused"][1] < 0.9999
    assert fused["fused"][0] @ fused["fused"][2] < 0.9999


def test_a_batch_equals_its_items_one_by_one(tower: BlipTower) -> None:
    together = tower.encode_items(ItemBatch(CORPUS, PICTURES))["fused"]
    alone = [tower.encode_items(ItemBatch([t], [i]))["fused"][0] for t, i in zip(CORPUS, PICTURES, strict=True)]
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)
    odds = tower.match(CORPUS, PICTURES)
    np.testing.assert_allclose(odds[2:3], tower.match(CORPUS[2:3], PICTURES[2:3]), atol=1e-5)
    assert tower.match([], []).shape == (0,)
    assert tower.caption([]) == []


def test_vectors_that_items_bring_along_are_looked_at_too() -> None:
    config = TINY.model_copy(update={"image": ImageConfig(kind="features", width=6)})
    tower = made(config).eval()
    vectors = [np.eye(6, dtype=np.float32)[row] for row in range(5)]
    assert tower.encode_items(ItemBatch(CORPUS, vectors))["fused"].shape == (5, 8)
    probability = tower.match([CORPUS[0]] * 2, vectors[:2])
    assert probability[0] != probability[1]
    assert len(tower.caption(vectors, max_tokens=3)) == 5


def test_states_that_are_not_normalised_are_before_they_are_looked_at() -> None:
    """Else what all states have in common drowns what tells them apart: those of a ResNet are never negative."""
    tower = made(TINY.model_copy(update={"image": ImageConfig(kind="features", width=6)})).eval()
    tokens, vectors = torch.from_numpy(tower.text.tokens(CORPUS)), torch.randn(5, 6)
    nll = tower.caption_nll(tokens, vectors)
    torch.testing.assert_close(tower.caption_nll(tokens, 50 * vectors + 1000), nll, atol=1e-2, rtol=1e-2)
    assert isinstance(made().image_norm, torch.nn.Identity)


def test_states_of_a_frozen_encoder_give_what_pixels_give() -> None:
    config = SLOW.model_copy(update={"image": TINY.image.model_copy(update={"frozen": True})})
    tower = made(config).eval()
    batch = training_batch(tower)
    cached = tower.image.states(batch.inputs.images)
    inputs = TowerInputs(batch.inputs.tokens, batch.inputs.has_text, cached, batch.inputs.has_image)
    from_states = with_inputs(inputs, list(range(5)))
    want, got = losses_of(tower, batch), losses_of(tower, from_states)
    for name, loss in want.items():
        torch.testing.assert_close(got[name], loss)
    assert tower.momentum is not None
    assert "image" not in tower.momentum


# --- objective ------------------------------------------------------------------------------------------------------


def test_the_three_losses_as_written_out() -> None:
    tower = made()
    batch = training_batch(tower)
    out = tower(batch.inputs)
    losses = tower.objective(batch, out)
    own = torch.arange(5)
    logits = out["text"] @ out["image"].T / tower.temperature
    itc = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
    torch.testing.assert_close(losses["itc"], itc)

    random = torch.Generator().manual_seed(batch.step)
    image_of = draw_hard_negatives(logits, batch.same, random)
    text_of = draw_hard_negatives(logits.T, batch.same.T, random)
    assert (image_of != own).all()
    tokens, images = batch.inputs.tokens, batch.inputs.images
    odds = torch.cat(
        [
            tower.match_logits(tokens, images),
            tower.match_logits(tokens, images[image_of]),
            tower.match_logits(tokens[text_of], images),
        ]
    )
    right, wrong = F.softplus(-odds[:5]).mean(), F.softplus(odds[5:]).mean()
    torch.testing.assert_close(losses["itm"], (right + wrong) / 2)

    written, following, _ = tower.text.predict(tokens, tower.text.bert.look(tower.image.states(images)))
    smooth = F.cross_entropy(written, following, label_smoothing=0.1)
    torch.testing.assert_close(losses["lm"], smooth)
    assert losses["lm"] != F.cross_entropy(written, following)


def test_only_items_with_text_and_picture_take_part() -> None:
    tower = made()
    batch = training_batch(tower)
    part = training_batch(tower, [0, 2, 3])
    texts, images = list(CORPUS), list(PICTURES)
    mixed = tower.inputs(ItemBatch([*texts[:1], None, *texts[2:]], [*images[:4], None]))
    got = losses_of(tower, with_inputs(mixed, list(range(5))))
    for name, loss in losses_of(tower, part).items():
        torch.testing.assert_close(got[name], loss)
    assert losses_of(tower, batch)["itc"] != got["itc"]


def test_negatives_of_matching_get_hard_little_by_little() -> None:
    tower = made(TINY.model_copy(update={"hardness": 0.6, "hardness_ramp": 0.5}))
    batch = training_batch(tower, step=2)
    out = tower(batch.inputs)
    similarity = (0.6 * 2 / 5 * out["text"] @ out["image"].T / tower.temperature).detach()
    pictures = tower.text.bert.look(out["image_states"])
    want = tower._matching(batch.inputs.tokens, pictures, similarity, batch.same, torch.Generator().manual_seed(2))
    torch.testing.assert_close(tower.objective(batch, out)["itm"], want)


@pytest.mark.parametrize("config", [TINY, SLOW])
def test_a_poisoned_batch_stays_finite(config: BlipConfig) -> None:
    tower = made(config)
    nothing = tower.inputs(ItemBatch([None] * 3, [None] * 3))
    alone = tower.inputs(ItemBatch([CORPUS[0]], [PICTURES[0]]))
    twins = tower.inputs(ItemBatch([""] * 3, [picture("black")] * 3))
    for inputs, rows in ((nothing, [0, 1, 2]), (alone, [0]), (twins, [4, 4, 4])):
        losses = losses_of(tower, with_inputs(inputs, rows))
        total = sum(losses.values())
        assert set(losses) == {"itc", "itm", "lm"}
        tower.zero_grad()
        total.backward()
        assert total.isfinite()
        assert all(p.grad.isfinite().all() for p in tower.parameters() if p.grad is not None)
        tower.after_step()


def test_with_equal_ids_only_positives_are_judged() -> None:
    """All rows are one item, so no hard negative is left: the loss is that of the three positives."""
    tower = made()
    batch = training_batch(tower, [1, 1, 1])
    odds = tower.match_logits(batch.inputs.tokens, batch.inputs.images)
    want = F.binary_cross_entropy_with_logits(odds, torch.ones(3))
    torch.testing.assert_close(losses_of(tower, batch)["itm"], want)


@pytest.mark.parametrize("config", [TINY, SLOW])
def test_the_set_of_parameters_that_learn(config: BlipConfig) -> None:
    """All but the slow copies, the gate and the scales, which only the trainer's contrast reaches."""
    tower = made(config)
    sum(losses_of(tower, training_batch(tower)).values()).backward()
    got = {name for name, parameter in tower.named_parameters() if parameter.grad is not None}
    others = ("momentum.", "fusion.", "match_scale", "match_bias", "pair_scale")
    assert got == {name for name, _ in tower.named_parameters() if not name.startswith(others)}


def test_weights_of_the_losses_and_losses_left_out() -> None:
    tower = made()
    batch = training_batch(tower)
    full = losses_of(tower, batch)
    tower.adopt(TINY.model_copy(update={"contrast_weight": 0.5, "matching_weight": 0.0, "caption_weight": 2.0}))
    part = losses_of(tower, training_batch(tower))
    assert set(part) == {"itc", "lm"}
    torch.testing.assert_close(part["itc"], 0.5 * full["itc"])
    torch.testing.assert_close(part["lm"], 2 * full["lm"])


def test_a_few_steps_teach_all_three() -> None:
    torch.manual_seed(0)
    tower = BlipTower.create(SLOW, 2 * CORPUS)
    optimizer = torch.optim.AdamW([p for p in tower.parameters() if p.requires_grad], lr=3e-3)
    history = []
    for step in range(200):
        losses = losses_of(tower, training_batch(tower, step=step, steps=200))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        tower.after_step()
        history.append({name: float(loss.detach()) for name, loss in losses.items()})
    first, last = history[0], history[-1]
    assert last["itm"] < 0.5 * first["itm"]
    assert last["lm"] < 0.5 * first["lm"]
    assert last["itc"] < first["itc"]
    right = tower.match(CORPUS, PICTURES)
    wrong = tower.match(CORPUS, PICTURES[1:] + PICTURES[:1])
    assert right.mean() > 0.7 > 0.3 > wrong.mean()


def test_the_temperature_is_clamped_after_each_step() -> None:
    tower = made()
    for value, kept in ((3.0, 0.5), (-1.0, 0.001), (0.2, 0.2)):
        with torch.no_grad():
            tower.temperature.fill_(value)
        tower.after_step()
        assert float(tower.temperature.detach()) == pytest.approx(kept)
    assert float(BlipTower.create(TINY, CORPUS).temperature.detach()) == pytest.approx(0.07)


# --- momentum and queue ---------------------------------------------------------------------------------------------


def test_slow_copies_follow_before_the_step_and_only_then() -> None:
    tower = made(SLOW)
    assert tower.momentum is not None
    assert tower.momentum.training is False
    slow = tower.momentum["text_projection"].weight
    before = slow.clone()
    torch.testing.assert_close(before, tower.text_projection.weight)
    with torch.no_grad():
        tower.text_projection.weight.add_(1.0)
        tower.text.bert.layers[0].attention.query_key_value.weight.add_(1.0)
    batch = training_batch(tower)
    out = tower(batch.inputs)
    tower.objective(batch, out)
    torch.testing.assert_close(slow, before)
    tower.before_step(batch)
    torch.testing.assert_close(slow, 0.995 * before + 0.005 * tower.text_projection.weight)
    copied = tower.momentum["text"].layers[0].attention.query_key_value.weight
    live = tower.text.bert.layers[0].attention.query_key_value.weight
    torch.testing.assert_close(live - copied, torch.full_like(live, 0.995))


def test_the_queue_takes_what_a_finished_step_saw() -> None:
    tower = made(SLOW)
    assert tower.queue is not None
    losses_of(tower, training_batch(tower))
    assert len(tower.queue.filled()[2]) == 0
    tower.after_step()
    text, _, items = tower.queue.filled()
    assert items.tolist() == [0, 1, 2, 3, 4]
    torch.testing.assert_close(text.norm(dim=1), torch.ones(5))
    losses_of(tower, training_batch(tower, [3, 4]))  # never finished: its gradient was not finite, say
    losses_of(tower, training_batch(tower, [0, 1, 2]))
    tower.after_step()
    assert tower.queue.filled()[2].tolist() == [2, 1, 2, 3, 4, 0, 1]


def test_an_item_in_the_queue_is_no_negative_of_itself() -> None:
    tower = made(SLOW.model_copy(update={"alpha": 0.0}))
    losses_of(tower, training_batch(tower, [0, 1, 2, 3, 4]))
    tower.after_step()
    seen = losses_of(tower, training_batch(tower, [0, 1]))["itc"]
    assert tower.queue is not None
    tower.queue.items.add_(100)
    strange = losses_of(tower, training_batch(tower, [0, 1]))["itc"]
    assert seen != strange
    tower.queue.items.sub_(100)
    tower.queue.image[:2] = tower.queue.image[:2].flip(1)
    batch = training_batch(tower, [0, 1])
    out = tower(batch.inputs)
    assert tower.momentum is not None
    slow_image = tower.momentum["image_projection"](tower.momentum["image"](batch.inputs.images))
    slow_text = tower.momentum["text_projection"](tower.text(batch.inputs.tokens, tower.momentum["text"]))
    want = torch.zeros(())
    for live, slow, old in (
        (out["text"], slow_image, tower.queue.image[:5]),
        (out["image"], slow_text, tower.queue.text[:5]),
    ):
        log = F.log_softmax(live @ torch.cat([F.normalize(slow, dim=1), old]).T / tower.temperature, dim=1)
        want = want - (log[0, 0] + log[0, 2] + log[1, 1] + log[1, 3]) / 8
    torch.testing.assert_close(tower.objective(batch, out)["itc"], want)


def test_the_belief_of_the_slow_copies_is_trusted_little_by_little() -> None:
    tower = made(SLOW.model_copy(update={"alpha_ramp": 0.5}))
    hard = made(SLOW.model_copy(update={"alpha": 0.0}))
    itc = [float(losses_of(tower, training_batch(tower, step=step, steps=10))["itc"].detach()) for step in (0, 2, 5, 9)]
    assert itc[0] == pytest.approx(float(losses_of(hard, training_batch(hard, step=0))["itc"].detach()))
    assert itc[2] == pytest.approx(itc[3], abs=1e-4)
    assert itc[1] - itc[0] == pytest.approx(0.4 * (itc[2] - itc[0]), abs=1e-4)


def test_without_queue_and_belief_there_are_no_slow_copies() -> None:
    tower = made(TINY)
    assert tower.momentum is None
    assert not any(name.startswith(("momentum", "queue")) for name in tower.state_dict())


def test_resuming_continues_exactly(tmp_path: Path) -> None:
    def steps(tower: BlipTower, first: int, last: int) -> None:
        for step in range(first, last):
            losses = losses_of(tower, training_batch(tower, [step % 5, (step + 2) % 5, 4], step=step))
            tower.zero_grad()
            sum(losses.values()).backward()
            with torch.no_grad():
                for parameter in tower.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(0.1 * parameter.grad)
            tower.after_step()

    whole, first = made(SLOW), made(SLOW)
    steps(whole, 0, 6)
    steps(first, 0, 3)
    second = made(SLOW)
    load_weights(second, {name: tensor.clone() for name, tensor in unique_weights(first).items()})
    steps(second, 3, 6)
    for name, tensor in unique_weights(whole).items():
        assert torch.equal(tensor, unique_weights(second)[name]), name


def test_saving_leaves_out_what_serving_does_not_need(tmp_path: Path) -> None:
    tower = made(SLOW)
    losses_of(tower, training_batch(tower))
    tower.after_step()
    tower.before_step(training_batch(tower))
    tower.save(tmp_path)
    names = load_file(tmp_path / WEIGHTS_FILE).keys()
    assert not any(name.startswith(("momentum.", "queue.")) for name in names)
    loaded = BlipTower.load(tmp_path)
    assert loaded.momentum is None
    assert loaded.fingerprint == tower.fingerprint
    for name, vectors in tower.encode_items(ItemBatch(CORPUS, PICTURES)).items():
        np.testing.assert_array_equal(loaded.encode_items(ItemBatch(CORPUS, PICTURES))[name], vectors)
    np.testing.assert_array_equal(loaded.match(CORPUS, PICTURES), tower.match(CORPUS, PICTURES))
    assert loaded.caption(PICTURES, 5) == tower.caption(PICTURES, 5)
    loaded.adopt(SLOW)
    assert loaded.momentum is not None
    assert torch.equal(loaded.momentum["text_projection"].weight, tower.text_projection.weight)
    assert loaded.queue is not None
    assert len(loaded.queue.filled()[2]) == 0


def test_going_on_from_disk_freezes_what_the_config_says(tmp_path: Path) -> None:
    made().save(tmp_path)
    frozen = SLOW.model_copy(update={"image": TINY.image.model_copy(update={"frozen": True})})
    tower = BlipTower.load(tmp_path)
    tower.adopt(frozen)
    sum(losses_of(tower, training_batch(tower)).values()).backward()
    assert all(parameter.grad is None for parameter in tower.image.parameters())
    assert tower.text.bert.words.weight.grad is not None
    assert tower.momentum is not None
    assert "image" not in tower.momentum
    tower.adopt(SLOW)
    assert all(parameter.requires_grad for parameter in tower.image.parameters())
    assert "image" in tower.momentum


def test_sharing_holds_after_save_and_load(tmp_path: Path) -> None:
    """One set of weights for both roles, but for self-attention: changing a shared one changes both."""
    made().save(tmp_path)
    tower = BlipTower.load(tmp_path)
    tokens, pixels, _ = batch_for(tower)

    def both() -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            return tower.match_logits(tokens, pixels), tower.caption_nll(tokens, pixels)

    layer = tower.text.bert.layers[0]
    for part, changes in (
        (layer.feed_forward.inner.weight, (True, True)),
        (layer.cross_attention.key_value.weight, (True, True)),
        (layer.attention.query_key_value.weight, (True, False)),
        (layer.writing_attention.query_key_value.weight, (False, True)),
    ):
        before = both()
        with torch.no_grad():
            part.add_(0.3 * torch.randn_like(part))
        after = both()
        assert tuple(bool((new - old).abs().max() > 1e-6) for new, old in zip(after, before, strict=True)) == changes
