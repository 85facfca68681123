from __future__ import annotations

import pytest
import torch

from recsys.encoders.causal_lm import LanguageModelConfig
from recsys.towers.note_prompt import ANSWER_TOKENS, NotePrompter, Part, Piece, join, language_model

CORPUS = ["red apple", "blue sea", "green hills and a red sea"]


def piece(*rows: list[int], length: int) -> Piece:
    """Rows of ids; what is missing up to ``length`` is not real."""
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    return Piece(ids, torch.tensor([[i < len(row) for i in range(length)] for row in rows]))


def test_pieces_follow_each_other_without_gaps() -> None:
    head = Piece.fixed([7, 8], torch.tensor([True, False, True]))
    content = Piece.ragged([[1, 2, 3], [4], []], torch.device("cpu"))
    tail = Piece.fixed([9], torch.tensor([True, True, True]))
    joined = join([head, content, tail], pad_id=-5)
    assert joined.tokens.tolist() == [[7, 8, 1, 2, 3, 9], [4, 9, -5, -5, -5, -5], [7, 8, 9, -5, -5, -5]]
    assert joined.parts.tolist() == [[0, 0, 1, 1, 1, 2], [1, 2, -1, -1, -1, -1], [0, 0, 2, -1, -1, -1]]
    assert joined.mask.sum(dim=1).tolist() == [6, 2, 3]


def test_ends_and_next_tokens_of_a_part() -> None:
    everywhere = torch.ones(2, dtype=torch.bool)
    joined = join([Piece.fixed([7], everywhere), piece([1, 2], [3], length=2), Piece.fixed([9], everywhere)], pad_id=0)
    assert [joined.end(number).tolist() for number in range(3)] == [[0, 0], [2, 1], [3, 2]]
    assert joined.next_tokens(1).tolist() == [[1, 2, -100, -100], [3, -100, -100, -100]]
    assert joined.next_tokens(0).tolist() == [[-100] * 4] * 2  # nothing stands before the first token


def test_a_cut_keeps_the_first_real_tokens() -> None:
    ids = torch.tensor([[5, 1, 2, 3], [1, 0, 0, 0]])
    gap = Piece(ids, torch.tensor([[False, True, True, True], [True, False, False, False]]))
    assert join([gap.cut(2)], pad_id=0).tokens.tolist() == [[1, 2], [1, 0]]
    assert gap.cut(0).ids.shape == (2, 0)


def test_no_rows_make_no_prompts() -> None:
    none = torch.zeros(0, dtype=torch.bool)
    assert join([Piece.fixed([7, 8], none), Piece.ragged([], none.device)], pad_id=0).tokens.shape == (0, 0)


@pytest.fixture(scope="module")
def prompter() -> NotePrompter:
    torch.manual_seed(0)
    config = LanguageModelConfig(max_tokens=8, vocab_size=100, width=16, layers=1, heads=2)
    return NotePrompter(language_model(config, CORPUS))


def read(prompter: NotePrompter, tokens: torch.Tensor) -> list[str]:
    tokenizer = prompter.text.tokenizer
    lines = [" ".join(str(tokenizer.id_to_token(id)) for id in row) for row in tokens.tolist()]
    return [line.replace(" ##", "").replace(" [PAD]", "") for line in lines]


def test_the_prompts_read_as_the_papers_say(prompter: NotePrompter) -> None:
    content = torch.from_numpy(prompter.text.tokens(["red apple", "blue sea", ""]))
    yes, no = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
    has_text, has_image = torch.tensor([True, True, False]), torch.tensor([True, False, True])
    prompts = prompter.compose(content, has_text, has_image, spots=2)
    picture = "Picture: <IMG> <IMG> Compress to one word: <IMG_EMB>"
    assert read(prompter, prompts.tokens) == [
        f"[CLS] {picture} Note: red apple Compress to one word:",
        "[CLS] Note: blue sea Compress to one word:",
        f"[CLS] {picture}",
    ]
    last, of_picture = prompts.end(Part.COMPRESS), prompts.end(Part.PICTURE_COMPRESS)
    assert last[:2].tolist() == prompts.mask[:2].sum(dim=1).sub(1).tolist()
    assert prompts.tokens[[0, 2], of_picture[[0, 2]] + 1].tolist() == [prompter.picture_word] * 2  # right before it
    without = prompter.compose(content, yes, no, spots=2)
    blind = prompter.compose(content, yes, yes, spots=0)
    assert torch.equal(without.tokens, blind.tokens)

    ending = [prompter.ask(["hashtag", "category", "category"]), prompter.answer(["apple", "blue sea", "red"])]
    asked = prompter.compose(content, has_text, no, ending=ending)
    assert read(prompter, asked.tokens) == [
        "[CLS] Note: red apple Compress to one word: [EMB] One more hashtag: apple [EOS]",
        "[CLS] Note: blue sea Compress to one word: [EMB] Category: blue sea [EOS]",
        "[CLS] [EMB] Category: red [EOS]",
    ]
    following = asked.next_tokens(Part.ANSWER)
    learned = [following[row][following[row] >= 0][None] for row in range(3)]
    assert [read(prompter, ids)[0] for ids in learned] == ["apple [EOS]", "blue sea [EOS]", "red [EOS]"]
    before = [asked.tokens[row][following[row] >= 0][0].item() for row in range(3)]
    assert read(prompter, torch.tensor([before])) == ["One more hashtag: Category: Category:"]


def test_where_the_context_is_short_the_content_is_cut_and_nothing_else(prompter: NotePrompter) -> None:
    content = torch.from_numpy(prompter.text.tokens(["green hills and a red sea", "red"]))
    everyone = torch.ones(2, dtype=torch.bool)
    ending = [prompter.ask(["category"] * 2), prompter.answer(["sea", "sea"])]
    whole = prompter.compose(content, everyone, everyone, 2, ending)
    fixed = int((whole.parts[0] != Part.CONTENT).sum())
    short = NotePrompter(prompter.text)
    short.context = fixed + 2
    cut = short.compose(content, everyone, everyone, 2, ending)
    assert cut.tokens.shape[1] == short.context
    for row, shown in ((0, content[0, :2]), (1, content[1, :1])):
        assert cut.tokens[row][cut.parts[row] == Part.CONTENT].tolist() == shown.tolist()
        for part in set(Part) - {Part.CONTENT}:
            ours, theirs = (p.tokens[row][p.parts[row] == part].tolist() for p in (cut, whole))
            assert ours == theirs


def test_a_note_cannot_speak_in_the_words_of_the_prompt(prompter: NotePrompter) -> None:
    """A new model's phrases and every model's markers are ids that no text has."""
    own = {prompter.word, prompter.spot, prompter.picture_word, *prompter.compress, *prompter.note, *prompter.picture}
    assert len(own) == 6
    spoken = prompter.text.ids("[EMB] <IMG> <IMG_EMB> Compress to one word: Note: Picture:")
    assert not own & set(spoken)


def test_an_answer_that_is_cut_does_not_end(prompter: NotePrompter) -> None:
    written = prompter.answer(["sea " * 40, "sea"])
    assert written.ids.shape == (2, ANSWER_TOKENS)
    ends = (written.ids == prompter.text.eos_id) & written.real
    assert ends.sum(dim=1).tolist() == [0, 1]
