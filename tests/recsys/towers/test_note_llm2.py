from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.qwen2.configuration_qwen2 import Qwen2Config
from transformers.models.qwen2.modeling_qwen2 import Qwen2ForCausalLM
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTModel

from recsys.encoders.causal_lm import LanguageModelConfig
from recsys.encoders.image import ImageConfig
from recsys.encoders.projector import ProjectorConfig
from recsys.encoders.tokenizer import train_tokenizer
from recsys.towers.base import ItemBatch, Note, TowerInputs, TrainingBatch
from recsys.towers.note_llm2 import LateFusion, NoteLlm2Config, NoteLlm2Tower
from recsys.towers.note_tower import at
from recsys.towers.tower import unit

CORPUS = ["红色的苹果 red apple", "blue sea 蓝色大海", "green hills 绿色山丘"]
TINY = NoteLlm2Config(
    llm=LanguageModelConfig(max_tokens=16, vocab_size=100, width=16, layers=2, heads=2),
    image=ImageConfig(pixels=16, patch=8, width=16, layers=1, heads=2),
    projector=ProjectorConfig(kind="resampler", queries=3, heads=2),
    width=8,
)
MLP = TINY.model_copy(update={"projector": ProjectorConfig(kind="mlp")})
NOTES = [
    Note("red", "apple", ("sea", "blue"), "hills"),
    Note("", "", (), "green"),
    Note("green", "hills", ("red",), ""),
    Note("", "", (), "blue"),
]
TEMPERATURES = {"match_scale", "pair_scale", "match_bias"}


def picture(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (30, 40), colour).save(stream, "PNG")
    return stream.getvalue()


PICTURES = [picture("red"), picture("blue"), None, None]


@pytest.fixture(scope="module", params=["resampler", "mlp"])
def tower(request: pytest.FixtureRequest) -> NoteLlm2Tower:
    torch.manual_seed(0)
    return NoteLlm2Tower.create(TINY if request.param == "resampler" else MLP, CORPUS).eval()


@pytest.fixture
def batch() -> ItemBatch:
    return ItemBatch([CORPUS[0], None, CORPUS[2], None], PICTURES)


def training_batch(tower: NoteLlm2Tower, seed: int = 0) -> TrainingBatch:
    n = len(NOTES)
    inputs = tower.inputs(ItemBatch([f"{note.title}\n{note.text}".strip() or None for note in NOTES], PICTURES))
    return TrainingBatch(
        step=0,
        steps=1,
        rows=torch.arange(n),
        inputs=inputs,
        captions=inputs.tokens,
        has_caption=torch.zeros(n, dtype=torch.bool),
        same=torch.eye(n, dtype=torch.bool),
        notes=NOTES,
        random=torch.Generator().manual_seed(seed),
    )


def learned(tower: NoteLlm2Tower) -> set[str]:
    """Parameters that a step of contrast and objective gives a gradient."""
    tower.train()
    tower.zero_grad()
    batch = training_batch(tower)
    out = tower(batch.inputs)
    target = torch.randn(tower.full_width, generator=torch.Generator().manual_seed(0))
    loss = sum((out[name] @ target).sum() for name in ("fused", "text", "image"))
    (loss + sum(tower.objective(batch, out).values())).backward()
    names = {name for name, p in tower.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    tower.zero_grad()
    tower.eval()
    return names


def test_rows_are_unit_or_zero_where_nothing_is_there(tower: NoteLlm2Tower, batch: ItemBatch) -> None:
    lengths = {name: np.linalg.norm(vectors, axis=1) for name, vectors in tower.encode_items(batch).items()}
    np.testing.assert_allclose(lengths["fused"], [1, 1, 1, 0], atol=1e-5)
    np.testing.assert_allclose(lengths["text"], [1, 0, 1, 0], atol=1e-5)
    np.testing.assert_allclose(lengths["image"], [1, 1, 0, 0], atol=1e-5)


def test_an_item_that_lacks_one_side_is_the_other(tower: NoteLlm2Tower, batch: ItemBatch) -> None:
    out = tower.encode_items(batch)
    np.testing.assert_allclose(out["fused"][1], out["image"][1], atol=1e-6)
    np.testing.assert_allclose(out["fused"][2], out["text"][2], atol=1e-6)
    np.testing.assert_allclose(out["text"][[0, 2]], tower.encode_text([CORPUS[0], CORPUS[2]]), atol=1e-6)
    np.testing.assert_allclose(out["image"][:2], tower.encode_image(PICTURES[:2]), atol=1e-6)


def test_the_picture_is_read_before_the_text_and_the_item_from_both(tower: NoteLlm2Tower) -> None:
    """mICL: no text changes the image read-out; text and picture each change the fused one."""
    red, blue = PICTURES[:2]
    out = tower.encode_items(ItemBatch([CORPUS[0], CORPUS[1], None, CORPUS[0]], [red, red, red, blue]))
    np.testing.assert_allclose(out["image"][1], out["image"][0], atol=1e-6)
    np.testing.assert_allclose(out["image"][2], out["image"][0], atol=1e-6)
    assert out["image"][3] @ out["image"][0] < 0.999
    assert out["fused"][1] @ out["fused"][0] < 0.999
    assert out["fused"][3] @ out["fused"][0] < 0.999
    np.testing.assert_allclose(out["text"][3], out["text"][0], atol=1e-6)


def test_a_batch_equals_its_items_one_by_one(tower: NoteLlm2Tower, batch: ItemBatch) -> None:
    together = tower.encode_items(batch)
    alone = [tower.encode_items(ItemBatch([t], [i])) for t, i in zip(batch.texts, batch.images, strict=True)]
    for name, vectors in together.items():
        np.testing.assert_allclose(vectors, np.concatenate([one[name] for one in alone]), atol=1e-5)
    assert tower.encode_image([]).shape == tower.encode_text([]).shape == (0, 8)
    assert tower.encode_items(ItemBatch([], []))["fused"].shape == (0, 8)


def test_late_fusion_is_the_written_out_formula() -> None:
    torch.manual_seed(0)
    fusion = LateFusion(3)
    h, v = torch.randn(2, 3), torch.randn(2, 3)
    with torch.no_grad():
        weight, bias = fusion.gate.weight, fusion.gate.bias
        for row in range(2):
            for i in range(3):
                score = bias[i] + sum(weight[i, j] * h[row, j] + weight[i, 3 + j] * v[row, j] for j in range(3))
                z = 1 / (1 + torch.exp(-score))
                torch.testing.assert_close(fusion(h, v)[row, i], z * h[row, i] + (1 - z) * v[row, i])


def test_read_outs_are_the_states_of_transformers_before_each_word(tmp_path: Path) -> None:
    """From checkpoints in the hub's format: one prompt written out by hand, through Qwen2's and ViT's own classes."""
    torch.manual_seed(1)
    tokenizer = train_tokenizer(CORPUS, 120)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    eos = tokenizer.token_to_id("[SEP]")
    config = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(), num_key_value_heads=2, eos_token_id=eos, pad_token_id=0, **sizes
    )
    llm, vit = Qwen2ForCausalLM(config), ViTModel(ViTConfig(image_size=16, patch_size=8, **sizes))
    llm.save_pretrained(tmp_path / "llm")
    tokenizer.save(str(tmp_path / "llm" / "tokenizer.json"))
    vit.save_pretrained(tmp_path / "vit")
    tower = NoteLlm2Tower.create(
        NoteLlm2Config(
            llm=LanguageModelConfig(checkpoint=tmp_path / "llm", max_tokens=24),
            image=ImageConfig(checkpoint=tmp_path / "vit"),
            projector=ProjectorConfig(kind="linear"),
            width=8,
        ),
        [],
    ).eval()
    ids = tower.text.ids
    with torch.inference_mode():
        pixels = torch.from_numpy(tower.image.prepare(PICTURES[:1])).float() / 255 * 2 - 1
        states = vit.eval()(pixel_values=pixels).last_hidden_state
        words = tower.text.model.get_input_embeddings()
        before = words(torch.tensor([[*tower.text.start_ids, *ids("Picture:")]]))
        compress = words(torch.tensor([ids("Compress to one word:")]))
        spots = tower.projector(states[:, 1:])
        assert spots.shape == (1, 4, 16)
        word = tower.text.tokenizer.token_to_id("<IMG_EMB>")
        after = words(torch.tensor([[word, *ids("Note:"), *ids(CORPUS[0])]]))
        prompt = torch.cat([before, spots, compress, after, compress], dim=1)
        hidden = llm.eval()
        hidden.resize_token_embeddings(len(words.weight))
        hidden = hidden(inputs_embeds=prompt, output_hidden_states=True).hidden_states[-1]
        seen = before.shape[1] + 4 + compress.shape[1] - 1
        v = tower.image_projection(states[:, 1:].mean(dim=1))
        expected = {
            name: unit(tower.late_fusion(tower.projection(state), v)).numpy()
            for name, state in (("image", hidden[:, seen]), ("fused", hidden[:, -1]))
        }
    out = tower.encode_items(ItemBatch([CORPUS[0], CORPUS[1] + CORPUS[2]], [PICTURES[0], PICTURES[1]]))
    for name, vectors in expected.items():
        np.testing.assert_allclose(out[name][:1], vectors, atol=1e-5)


def test_states_of_a_frozen_encoder_serve_as_well_as_its_pixels(tower: NoteLlm2Tower, batch: ItemBatch) -> None:
    inputs = tower.inputs(batch)
    with torch.inference_mode():
        cached = TowerInputs(inputs.tokens, inputs.has_text, tower.image.states(inputs.images), inputs.has_image)
        for name, vectors in tower(inputs).items():
            torch.testing.assert_close(tower(cached)[name], vectors)
    assert tower.reads_states


def test_vectors_that_items_bring_along_are_seen() -> None:
    torch.manual_seed(0)
    config = MLP.model_copy(update={"image": ImageConfig(kind="features", width=12)})
    tower = NoteLlm2Tower.create(config, CORPUS).eval()
    vectors = np.random.default_rng(0).random((2, 12)).astype(np.float32)
    out = tower.encode_items(ItemBatch([CORPUS[0]] * 2, list(vectors)))
    assert out["image"][0] @ out["image"][1] < 0.999
    assert out["fused"][0] @ out["fused"][1] < 0.999


def test_save_and_load_change_nothing(tower: NoteLlm2Tower, batch: ItemBatch, tmp_path: Path) -> None:
    tower.save(tmp_path)
    loaded = NoteLlm2Tower.load(tmp_path)
    for name, vectors in tower.encode_items(batch).items():
        np.testing.assert_array_equal(loaded.encode_items(batch)[name], vectors)
    shown = ItemBatch(batch.texts[:3], batch.images[:3])
    assert loaded.generate_category(shown) == tower.generate_category(shown)
    assert loaded.fingerprint == tower.fingerprint
    with torch.no_grad():
        loaded.late_fusion.gate.bias += 1e-3
    loaded.save(tmp_path / "other")
    assert loaded.fingerprint != tower.fingerprint


def test_exactly_the_declared_parameters_learn(tower: NoteLlm2Tower) -> None:
    config = TINY if tower.projector_config.kind == "resampler" else MLP
    everything = {name for name, _ in tower.named_parameters()} - TEMPERATURES
    assert learned(tower) == everything
    for frozen in (("text.model",), ("image.backbone",), ("text.model", "image.backbone")):
        llm = config.llm.model_copy(update={"frozen": "text.model" in frozen})
        image = config.image.model_copy(update={"frozen": "image.backbone" in frozen})
        tower.adopt(config.model_copy(update={"llm": llm, "image": image}))
        free = {name for name in everything if not name.startswith(frozen)}
        assert {name for name, p in tower.named_parameters() if p.requires_grad} - TEMPERATURES == free
        assert learned(tower) == free
    tower.adopt(config)
    assert learned(tower) == everything


def test_a_picture_is_looked_at_when_writing(tower: NoteLlm2Tower) -> None:
    """Another picture makes the same answer more or less likely; what lies in an absent one's place does nothing."""
    batch = training_batch(tower)
    out = dict(tower(batch.inputs))
    loss = tower.objective(batch, out)["generation"]
    other = {**out, "pictures": out["pictures"].roll(1, dims=0)}
    again = training_batch(tower)
    assert not torch.allclose(tower.objective(again, other)["generation"], loss)
    assert not out["pictures"][2:].any()
    unused = {**out, "pictures": torch.where(batch.inputs.has_image[:, None, None], out["pictures"], 1e6)}
    torch.testing.assert_close(tower.objective(training_batch(tower), unused)["generation"], loss)


def test_a_picture_alone_has_a_category_to_learn(tower: NoteLlm2Tower) -> None:
    """Note 1 has a picture and no text, note 3 neither: only the first is asked."""
    batch = training_batch(tower)
    rows = TrainingBatch(
        **{
            **batch.__dict__,
            "rows": batch.rows[[1, 3]],
            "inputs": batch.inputs[torch.tensor([1, 3])],
            "notes": [NOTES[1], NOTES[3]],
        }
    )
    out = tower(rows.inputs)
    everyone = torch.ones(1, dtype=torch.bool)
    nothing = torch.zeros(1, 0, dtype=torch.int64)
    ending = [tower.prompter.ask(["category"]), tower.prompter.answer(["green"])]
    prompts = tower.prompter.compose(nothing, ~everyone, everyone, out["pictures"].shape[1], ending)
    answer = [*tower.text.ids("green"), tower.text.eos_id]
    with torch.no_grad():
        hidden = tower.states(prompts, out["pictures"][:1])
        scores = tower.text.logits(hidden[0, -len(answer) - 1 : -1]).log_softmax(dim=1)
    expected = -scores[torch.arange(len(answer)), torch.tensor(answer)].mean()
    torch.testing.assert_close(tower.objective(rows, out)["generation"].detach(), 0.01 * expected)


def test_a_poisoned_batch_stays_finite(tower: NoteLlm2Tower) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (3000, 9), "black").save(stream, "PNG")
    giant = stream.getvalue()
    texts = ["red " * 5000, "", None, "same", "same"]
    out = tower.train()(tower.inputs(ItemBatch(texts, [giant, picture("black"), None, PICTURES[0], PICTURES[0]])))
    sum(out[name].sum() for name in ("fused", "text", "image")).backward()
    assert all(torch.isfinite(vectors).all() for vectors in out.values())
    assert all(torch.isfinite(p.grad).all() for p in tower.parameters() if p.grad is not None)
    tower.zero_grad()
    tower.eval()


def test_bfloat16_gives_nearly_the_same(tower: NoteLlm2Tower) -> None:
    batch = training_batch(tower)
    exact = tower(batch.inputs)
    loss = tower.objective(batch, exact)["generation"]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = tower(batch.inputs)
        again = tower.objective(training_batch(tower), rounded)["generation"]
    for name in ("fused", "text", "image"):
        torch.testing.assert_close(rounded[name], exact[name], atol=0.05, rtol=0)
    torch.testing.assert_close(again, loss, atol=0, rtol=0.03)


def test_the_state_at_a_position_is_taken_row_by_row() -> None:
    states = torch.arange(12.0).reshape(2, 3, 2)
    assert at(states, torch.tensor([2, 0])).tolist() == [[4.0, 5.0], [6.0, 7.0]]
