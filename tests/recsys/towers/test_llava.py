from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers.models.clip.configuration_clip import CLIPVisionConfig
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llava.configuration_llava import LlavaConfig as HubConfig
from transformers.models.llava.modeling_llava import LlavaForConditionalGeneration

from recsys.encoders.causal_lm import IGNORED, LanguageModelConfig
from recsys.encoders.image import ImageConfig
from recsys.encoders.projector import ProjectorConfig
from recsys.encoders.tokenizer import train_tokenizer
from recsys.exceptions import ArtifactError, ConfigError
from recsys.towers.base import READ_OUTS, ItemBatch, Note, TrainingBatch
from recsys.towers.conversation import IMAGE, Turn
from recsys.towers.instructions import instructions
from recsys.towers.llava import LlavaConfig, LlavaTower
from recsys.training.lora import LoraConfig, add_lora, merge_lora

CORPUS = ["红色的苹果 red apple", "blue sea 蓝色大海", "green hills 绿色山丘 and a very long way to go"]
NOTES = [
    Note("Red apple", "", ("fruit",), "food"),
    Note("Blue sea", "so blue", (), "travel"),
    Note("Hills", "green hills", ("hill", "green"), ""),
    Note("", "", (), ""),
]
TRAINERS = {"match_scale", "match_bias", "pair_scale"}  # of the contrast between read-outs
TINY = LlavaConfig(
    llm=LanguageModelConfig(max_tokens=12, vocab_size=200, width=16, layers=2, heads=2),
    image=ImageConfig(pixels=16, patch=8, width=16, layers=2, heads=2),
    projector=ProjectorConfig(queries=3, heads=2),
    width=8,
)
FEATURES = TINY.model_copy(update={"image": ImageConfig(kind="features", width=6)})


def picture(colour: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (30, 40), colour).save(stream, "PNG")
    return stream.getvalue()


def training_batch(tower: LlavaTower, batch: ItemBatch, notes: Sequence[Note] = NOTES) -> TrainingBatch:
    inputs, n = tower.inputs(batch), len(batch)
    return TrainingBatch(
        step=0,
        steps=1,
        rows=torch.arange(n),
        inputs=inputs,
        captions=inputs.tokens,
        has_caption=torch.zeros(n, dtype=torch.bool),
        same=torch.eye(n, dtype=torch.bool),
        notes=notes,
        random=torch.Generator().manual_seed(0),
    )


def grown(config: LlavaConfig) -> LlavaTower:
    """A tower whose weights are spread so widely that it says different things to different items."""
    torch.manual_seed(0)
    tower = LlavaTower.create(config, CORPUS)
    with torch.no_grad():
        for parameter in tower.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return tower.eval()


def learn(tower: LlavaTower, batch: TrainingBatch) -> set[str]:
    """Names of the parameters that read-outs and objectives reach."""
    tower.train()
    tower.zero_grad()
    out = tower(batch.inputs)
    target = torch.randn(8, generator=torch.Generator().manual_seed(0))
    read = torch.stack([(out[name] @ target).sum() for name in READ_OUTS])
    torch.stack([read.sum(), *tower.objective(batch, out).values()]).sum().backward()
    return {name for name, p in tower.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


@pytest.fixture(scope="module")
def tower() -> LlavaTower:
    return grown(TINY)


@pytest.fixture
def batch() -> ItemBatch:
    return ItemBatch([CORPUS[0], None, CORPUS[2], None], [picture("red"), picture("blue"), None, None])


@pytest.fixture
def pictured() -> ItemBatch:
    return ItemBatch(CORPUS, [picture(colour) for colour in ("red", "blue", "green")])


def test_rows_are_unit_or_zero_where_nothing_is_there(tower: LlavaTower, batch: ItemBatch) -> None:
    out = tower.encode_items(batch)
    lengths = {name: np.linalg.norm(vectors, axis=1) for name, vectors in out.items()}
    np.testing.assert_allclose(lengths["fused"], [1, 1, 1, 0], atol=1e-5)
    np.testing.assert_allclose(lengths["text"], [1, 0, 1, 0], atol=1e-5)
    np.testing.assert_allclose(lengths["image"], [1, 1, 0, 0], atol=1e-5)


def test_an_item_that_lacks_one_side_is_the_other(tower: LlavaTower, batch: ItemBatch) -> None:
    out = tower.encode_items(batch)
    np.testing.assert_allclose(out["fused"][1], out["image"][1], atol=1e-5)
    np.testing.assert_allclose(out["fused"][2], out["text"][2], atol=1e-5)
    np.testing.assert_allclose(out["text"][2], tower.encode_text([CORPUS[2]])[0], atol=1e-5)
    np.testing.assert_allclose(out["image"][:2], tower.encode_image([picture("red"), picture("blue")]), atol=1e-5)


def test_nothing_to_encode_gives_nothing(tower: LlavaTower) -> None:
    assert tower.encode_text([]).shape == (0, 8)
    assert tower.encode_image([]).shape == (0, 8)
    assert tower.encode_items(ItemBatch([], []))["fused"].shape == (0, 8)
    assert tower.caption([]) == []


def test_picture_and_text_each_change_the_item(tower: LlavaTower) -> None:
    texts, images = [CORPUS[0], CORPUS[0], CORPUS[1]], [picture("red"), picture("blue"), picture("red")]
    fused = tower.encode_items(ItemBatch(texts, images))["fused"]
    assert fused[0] @ fused[1] < 0.999
    assert fused[0] @ fused[2] < 0.999


@pytest.mark.parametrize("kind", ["linear", "mlp", "resampler"])
def test_a_batch_equals_its_items_one_by_one(kind: str, batch: ItemBatch) -> None:
    tower = grown(TINY.model_copy(update={"projector": ProjectorConfig(kind=kind, queries=3, heads=2)}))
    longer = ItemBatch([*batch.texts, "red"], [*batch.images, picture("green")])
    together = tower.encode_items(longer)
    for row, (text, image) in enumerate(zip(longer.texts, longer.images, strict=True)):
        alone = tower.encode_items(ItemBatch([text], [image]))
        for name in READ_OUTS:
            np.testing.assert_allclose(together[name][row], alone[name][0], atol=1e-5)


def test_one_pass_reads_what_the_three_prompts_say(tower: LlavaTower, pictured: ItemBatch) -> None:
    """Against prompts written out one by one: picture and text and [EMB], picture and [EMB], text and [EMB]."""
    out = tower.encode_items(pictured)
    start = tower.text.embed(torch.tensor(tower.text.start_ids))
    with torch.inference_mode():
        pictures = tower.projector(tower.image.states(tower.inputs(pictured).images)[:, 1:])
        for row, text in enumerate(CORPUS):
            words = tower.text.embed(torch.tensor(tower.text.ids(text)[:12]))
            prompts = {"fused": [start, pictures[row], words], "image": [start, pictures[row]], "text": [start, words]}
            for name, parts in prompts.items():
                prompt = torch.cat([*parts, tower.embedding_token[None]])[None]
                expected = torch.nn.functional.normalize(tower.head(tower.text.hidden(prompt)[0, -1]), dim=0)
                np.testing.assert_allclose(out[name][row], expected.numpy(), atol=1e-5)


def test_the_loss_of_a_batch_is_that_of_its_captions(tower: LlavaTower, batch: ItemBatch, pictured: ItemBatch) -> None:
    """The objective reads the same pass as the vectors; what it learns is how well a caption follows its picture."""
    mixed = ItemBatch([*batch.texts, *pictured.texts], [*batch.images, *pictured.images])
    made = training_batch(tower, mixed, NOTES + NOTES[:3])
    with torch.no_grad():
        loss = tower.objective(made, tower(made.inputs))["caption"]
    total, count = 0.0, 0
    start = tower.text.start_ids
    for text, image in zip(mixed.texts, mixed.images, strict=True):
        if text is None or image is None:
            continue
        words = tower.text.ids(text)
        labels = [*words, tower.text.eos_id] if len(words) < 12 else words[:12]
        ids = torch.tensor([[*start, *[IMAGE] * 4, *words[:12]]])
        with torch.no_grad():
            logits = tower.language_logits(ids, tower.inputs(ItemBatch([None], [image])).images)
        scores = logits[0, len(start) + 3 : len(start) + 3 + len(labels)].log_softmax(dim=1)
        nll = -scores[torch.arange(len(labels)), labels]
        total, count = total + float(nll.sum()), count + len(labels)
        alone = tower.inputs(ItemBatch([text], [image]))
        with torch.no_grad():
            assert float(tower.caption_nll(alone.tokens, alone.images)) == pytest.approx(float(nll.mean()), abs=1e-5)
    assert float(loss) == pytest.approx(total / count, abs=1e-5)


def test_the_picture_matters_to_the_caption(tower: LlavaTower, pictured: ItemBatch) -> None:
    inputs = tower.inputs(pictured)
    with torch.no_grad():
        right = tower.caption_nll(inputs.tokens, inputs.images)
        together = tower.caption_nll(inputs.tokens[:1], inputs.images[:1])
        other = tower.caption_nll(inputs.tokens, inputs.images.roll(1, dims=0))
    assert ((right - other).abs() > 1e-4).all()
    torch.testing.assert_close(right[:1], together)


def test_instructions_are_learned_from_the_answers_alone(tower: LlavaTower, batch: ItemBatch) -> None:
    """Against each conversation alone: the mean over the tokens of all answers."""
    made = training_batch(tower, batch)
    random = torch.Generator().manual_seed(0)
    total, count = 0.0, 0
    with torch.no_grad():
        loss = tower.objective(made, tower(made.inputs))["instruction"]
        for row, note in enumerate(NOTES):
            seen = bool(made.inputs.has_image[row])
            if turns := instructions(note, seen, random):
                talk = tower.conversations.encode(turns, 4)
                images = made.inputs.images[row : row + 1][: int(seen)]
                scores = tower.language_logits(torch.tensor([talk.ids]), images)[0].log_softmax(dim=1)
                answers = [(place, label) for place, label in enumerate(talk.labels) if label != IGNORED]
                total -= sum(float(scores[place - 1, label]) for place, label in answers)
                count += len(answers)
    assert float(loss) == pytest.approx(total / count, abs=1e-5)


def test_text_only_talks_and_talks_of_several_pictures_share_a_batch(tower: LlavaTower) -> None:
    talks: list[list[Turn]] = [
        [Turn("user", "red", images=1), Turn("assistant", "apple")],
        [Turn("user", "blue"), Turn("assistant", "sea"), Turn("user", "long"), Turn("assistant", "way")],
        [Turn("user", "green", images=2), Turn("assistant", "hills and a way")],
    ]
    images = torch.from_numpy(tower.image.prepare([picture(colour) for colour in ("red", "blue", "green")]))
    ids, labels, mask = tower.conversations.collate([tower.conversations.encode(talk, 4) for talk in talks])
    with torch.no_grad():
        together = tower.language_logits(ids, images)
        for row, shown in enumerate((images[:1], images[:0], images[1:])):
            alone = tower.language_logits(ids[row : row + 1, mask[row]], shown)
            torch.testing.assert_close(together[row, mask[row]], alone[0], atol=1e-5, rtol=1e-4)
    assert [(row != IGNORED).sum().item() for row in labels] == [
        sum(len(tower.text.ids(turn.text)) + 1 for turn in talk if turn.role == "assistant") for talk in talks
    ]


@pytest.mark.parametrize("kind", ["linear", "mlp", "resampler"])
@pytest.mark.parametrize("stage", [1, 2])
def test_each_stage_trains_what_it_declares(kind: str, stage: int, batch: ItemBatch) -> None:
    projector = ProjectorConfig.model_validate({"kind": kind, "queries": 3, "heads": 2})
    tower = grown(TINY.model_copy(update={"stage": stage, "projector": projector}))
    names = {name for name, _ in tower.named_parameters()} - TRAINERS
    if stage == 1:
        names = {name for name in names if name.startswith(("projector.", "head.", "embedding_token"))}
    assert {name for name, p in tower.named_parameters() if p.requires_grad} - TRAINERS == names
    assert learn(tower, training_batch(tower, batch)) == names
    assert tower.text.model.training == tower.image.backbone.training == (stage == 2)


def test_layers_that_are_not_read_are_not_trained(batch: ItemBatch) -> None:
    """LLaVA reads the last layer but one: no gradient reaches the last."""
    tower = grown(TINY.model_copy(update={"image": TINY.image.model_copy(update={"layer": -2})}))
    learned = learn(tower, training_batch(tower, batch))
    trainable = {name for name, p in tower.named_parameters() if p.requires_grad}
    assert trainable - TRAINERS == learned
    assert any("layers.0" in name for name in learned)
    assert not any("image" in name and "layers.1" in name for name in learned)


def test_what_is_frozen_stays_frozen(batch: ItemBatch) -> None:
    frozen = TINY.model_copy(
        update={
            "image": TINY.image.model_copy(update={"frozen": True}),
            "llm": TINY.llm.model_copy(update={"frozen": True}),
        }
    )
    learned = learn(tower := grown(frozen), training_batch(tower, batch))
    assert {name.split(".")[0] for name in learned} == {"projector", "head", "embedding_token"}


def test_a_language_model_tuned_by_lora_ends_as_an_ordinary_one(batch: ItemBatch) -> None:
    tower = grown(TINY.model_copy(update={"image": TINY.image.model_copy(update={"frozen": True})}))
    before = tower.encode_items(batch)["fused"]
    shape = {name: weight.shape for name, weight in tower.state_dict().items()}
    add_lora(tower, LoraConfig(parts=("text.model",)))
    with torch.no_grad():
        for name, parameter in tower.named_parameters():
            if "lora_B" in name:
                parameter.add_(torch.randn(parameter.shape))
    learned = learn(tower, training_batch(tower, batch))
    assert {name.split(".")[0] for name in learned} == {"text", "projector", "head", "embedding_token"}
    assert all("lora" in name for name in learned if name.startswith("text."))
    tuned = tower.eval().encode_items(batch)["fused"]
    assert np.abs(tuned - before).max() > 1e-3
    merge_lora(tower)
    assert {name: weight.shape for name, weight in tower.state_dict().items()} == shape
    np.testing.assert_allclose(tower.encode_items(batch)["fused"], tuned, atol=1e-5)


def test_a_saved_first_stage_goes_on_as_a_second(tmp_path: Path, batch: ItemBatch) -> None:
    first = grown(TINY.model_copy(update={"stage": 1}))
    first.save(tmp_path)
    second = LlavaTower.load(tmp_path)
    second.adopt(TINY)
    assert learn(second, training_batch(second, batch)) == {n for n, _ in second.named_parameters()} - TRAINERS
    second.eval()
    for name, vectors in first.encode_items(batch).items():
        np.testing.assert_array_equal(second.encode_items(batch)[name], vectors)


def test_a_batch_without_pictures_or_texts_still_learns(tower: LlavaTower) -> None:
    for items in (ItemBatch([CORPUS[0]], [None]), ItemBatch([None], [picture("red")]), ItemBatch([None], [None])):
        made = training_batch(tower, items, [NOTES[3]])
        losses = tower.objective(made, tower(made.inputs))
        assert {name: float(loss.detach()) for name, loss in losses.items()} == {"caption": 0.0, "instruction": 0.0}
        assert all(loss.requires_grad for loss in losses.values())


def test_the_embedding_token_starts_at_the_mean() -> None:
    tower = LlavaTower.create(TINY, CORPUS)
    words = tower.text.model.get_input_embeddings().weight
    torch.testing.assert_close(tower.embedding_token.data, words.mean(dim=0))


def test_save_and_load_change_nothing(tower: LlavaTower, batch: ItemBatch, tmp_path: Path) -> None:
    tower.save(tmp_path)
    loaded = LlavaTower.load(tmp_path)
    for name, vectors in tower.encode_items(batch).items():
        np.testing.assert_array_equal(loaded.encode_items(batch)[name], vectors)
    assert loaded.fingerprint == tower.fingerprint
    images = [picture("red"), picture("blue")]
    assert loaded.caption(images) == tower.caption(images)
    assert loaded.generate_category(batch) == tower.generate_category(batch)


def test_items_may_bring_vectors(batch: ItemBatch) -> None:
    tower = grown(FEATURES)
    vectors = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    items = ItemBatch(batch.texts, [vectors[0], vectors[1], None, None])
    out = tower.encode_items(items)
    assert out["image"][0] @ out["image"][1] < 0.999
    assert {name.split(".")[0] for name in learn(tower, training_batch(tower, items))} == {
        "text",
        "projector",
        "head",
        "embedding_token",
    }


def test_cached_states_stand_for_the_pictures(tower: LlavaTower, pictured: ItemBatch) -> None:
    inputs = tower.inputs(pictured)
    with torch.inference_mode():
        states = tower.image.states(inputs.images)
        torch.testing.assert_close(tower.read_image(states), tower.read_image(inputs.images))


def fit(tower: LlavaTower, batch: ItemBatch, notes: Sequence[Note], steps: int) -> None:
    optimizer = torch.optim.AdamW([p for p in tower.parameters() if p.requires_grad], 1e-2)
    made = training_batch(tower, batch, notes)
    tower.train()
    for _ in range(steps):
        optimizer.zero_grad()
        torch.stack([*tower.objective(made, tower(made.inputs)).values()]).sum().backward()
        optimizer.step()
    tower.eval()


def test_what_was_learned_is_written_again() -> None:
    """A tower that has seen three notes often enough describes, tags and sorts them by their pictures."""
    torch.manual_seed(0)
    tower = LlavaTower.create(TINY, [*CORPUS, "fruit water grass food travel nature"])
    notes = [
        Note("red apple", "", ("fruit",), "food"),
        Note("blue sea", "", ("water", "sea"), "travel"),
        Note("绿色山丘", "", ("grass",), "nature"),
    ]
    batch = ItemBatch([note.title for note in notes], [picture(colour) for colour in ("red", "blue", "green")])
    fit(tower, batch, notes, 110)
    alone = ItemBatch([None] * 3, batch.images)
    assert tower.caption(batch.images[:3]) == ["red apple", "blue sea", "绿色山丘"]  # type: ignore[arg-type]
    assert tower.generate_captions(alone)[:2] == ["red apple", "blue sea"]
    assert tower.generate_category(alone)[:2] == ["food", "travel"]
    assert tower.generate_category(batch, among=("travel", "nature", "food")) == ["food", "travel", "nature"]
    assert tower.generate_tags(batch) == [("fruit",), ("water", "sea"), ("grass",)]
    with torch.inference_mode():
        inputs = tower.inputs(batch)
        right = tower.caption_nll(inputs.tokens, inputs.images)
        assert (tower.caption_nll(inputs.tokens, inputs.images.roll(1, dims=0)) > right + 1).all()


@dataclass(frozen=True)
class Checkpoint:
    """A tiny random LLaVA in the hub's format, and the model that it was written from."""

    path: Path
    model: Any
    image_token: int


@pytest.fixture(scope="module", params=["bias", "no bias"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = tmp_path_factory.mktemp("llava")
    tokenizer = train_tokenizer(CORPUS, 200)
    start, end = (tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A", special_tokens=[("[CLS]", start)])
    tokenizer.add_special_tokens(["<image>"])
    image_token = tokenizer.token_to_id("<image>")
    text = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=start,
        eos_token_id=end,
        pad_token_id=0,
        initializer_range=0.2,
    )
    vision = CLIPVisionConfig(
        hidden_size=12,
        intermediate_size=20,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    config = HubConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_token,
        multimodal_projector_bias=request.param == "bias",
        pad_token_id=0,
    )
    model = LlavaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model.save_pretrained(path)
    tokenizer.save(str(path / "tokenizer.json"))
    preprocessor = {
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.2, 0.3, 0.4],
        "size": {"shortest_edge": 16},
        "crop_size": {"height": 16, "width": 16},
        "do_center_crop": True,
    }
    (path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    assert image_token is not None
    return Checkpoint(path, model, image_token)


def scaled(pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in ([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]))
    return (pixels / 255 - mean) / std


def test_a_checkpoint_gives_the_logits_of_transformers(checkpoint: Checkpoint, tmp_path: Path) -> None:
    """Two pictures in one text, one in another, none in the third, all in one batch."""
    tower = LlavaTower.create(TINY.model_copy(update={"checkpoint": checkpoint.path}), []).eval()
    tower.save(tmp_path)
    images = torch.from_numpy(tower.image.prepare([picture(colour) for colour in ("red", "blue", "green")]))
    images = (images + torch.randint(0, 60, images.shape, generator=torch.Generator().manual_seed(0))).byte()
    talks = [
        [Turn("user", "red apple", images=2), Turn("assistant", "blue sea")],
        [Turn("user", "green", images=1), Turn("assistant", "hills and a long way")],
        [Turn("user", "sea"), Turn("assistant", "blue")],
    ]
    ids, _, mask = tower.conversations.collate([tower.conversations.encode(talk, 4) for talk in talks])
    theirs = ids.masked_fill(ids == IMAGE, checkpoint.image_token)
    with torch.inference_mode():
        features = checkpoint.model.get_image_features(pixel_values=scaled(images)).pooler_output
        expected = checkpoint.model(input_ids=theirs, attention_mask=mask.long(), pixel_values=scaled(images)).logits
        for same in (tower, LlavaTower.load(tmp_path)):
            torch.testing.assert_close(same._pictures(images), torch.stack(list(features)), atol=1e-5, rtol=0)
            logits = same.language_logits(ids, images)
            torch.testing.assert_close(logits[mask], expected[mask], atol=1e-5, rtol=0)
        assert (expected[0, -1] - expected[1, -1]).abs().max() > 0.1


def test_a_checkpoint_writes_what_transformers_writes(checkpoint: Checkpoint) -> None:
    tower = LlavaTower.create(TINY.model_copy(update={"checkpoint": checkpoint.path}), [])
    image = picture("red")
    prompt = tower.conversations.encode([Turn("user", "red apple", images=1)], 4)
    ids = torch.tensor([prompt.ids])
    pixels = scaled(torch.from_numpy(tower.image.prepare([image])))
    written = checkpoint.model.generate(
        input_ids=ids.masked_fill(ids == IMAGE, checkpoint.image_token),
        attention_mask=torch.ones_like(ids),
        pixel_values=pixels,
        max_new_tokens=6,
        do_sample=False,
        suppress_tokens=[tower.text.pad_id],
    )[0, ids.shape[1] :]
    expected = tower.text.decode([id for id in written.tolist() if id != tower.text.eos_id])
    shown = ItemBatch([None, CORPUS[2]], [image, None])
    assert tower.generate(["red apple", "green"], shown, max_tokens=6)[0] == expected
    assert tower.generate([], ItemBatch([], [])) == []


def test_the_image_encoder_of_a_checkpoint_stays_frozen(checkpoint: Checkpoint, batch: ItemBatch) -> None:
    tower = LlavaTower.create(TINY.model_copy(update={"checkpoint": checkpoint.path}), [])
    assert tower.image.layer == -2
    learned = learn(tower, training_batch(tower, batch))
    assert {name.split(".")[0] for name in learned} == {"text", "projector", "head", "embedding_token"}


def test_another_model_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match="'bert'"):
        LlavaTower.create(TINY.model_copy(update={"checkpoint": tmp_path}), [])
    with pytest.raises(ArtifactError, match="config"):
        LlavaTower.create(TINY.model_copy(update={"checkpoint": tmp_path / "nowhere"}), [])
