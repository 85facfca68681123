"""Measurements of what only some towers can do: judge a (text, picture) pair, and describe a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipelines.tower_evidence import SEED, Asked, Sizes, drawn
from recsys.data.dataset import Dataset
from recsys.embeddings.sight import seen_by
from recsys.evaluation.alike_texts import most_alike
from recsys.evaluation.cross_modal import CUT_OFFS
from recsys.evaluation.intervals import mean_intervals, paired_difference
from recsys.evaluation.judgements import Judgements
from recsys.evaluation.metrics import Values
from recsys.evaluation.ranks import BestRanks, ranks_of_scores
from recsys.evaluation.report import metric_label
from recsys.evaluation.tower_report import Difference, FigureRow, FigureTable
from recsys.towers.abilities import Captioning, Matching
from recsys.towers.hard_negatives import draw_hard_negatives
from recsys.towers.tower import Tower
from recsys.types import NO_ROW, FloatArray, RowArray

PAIRS_AT_ONCE = 128
RERANKED = 32
PAIRS_IN_BATCH = 64
RIGHT_PICTURE, OTHER_PICTURE = "right picture", "another picture"


@dataclass(frozen=True, eq=False)
class Viewed:
    """Pictures of evaluated items, encoded once for all texts that are held against them.

    Attributes:
        rows: of the items, ascending.
        vectors: the image read-out, ``[m, d]``.
        images: as :class:`recsys.towers.base.TowerInputs` takes them: states ``[m, t, width]``, or the vectors that
            items bring along.
    """

    rows: RowArray
    vectors: FloatArray
    images: Tensor

    @classmethod
    @torch.inference_mode()
    def of(cls, data: Dataset, tower: Tower, vectors: FloatArray, rows: RowArray, sizes: Sizes) -> Viewed:
        """At most ``sizes.reranked_among`` of the items at ``rows``, all of which have a picture."""
        chosen = drawn(rows, sizes.reranked_among)
        images = torch.from_numpy(tower.image.prepare(seen_by(tower, data, chosen.tolist())))
        if tower.image.reads_pixels:
            tower.eval()
            images = torch.cat([tower.image.states(part.to(tower.device)) for part in images.split(PAIRS_AT_ONCE)])
        return cls(chosen, np.asarray(vectors[chosen]), images)


def matching_tables(tower: Matching, viewed: Viewed, asked: list[Asked], sizes: Sizes) -> list[FigureTable]:
    """Are hard pairs told apart, and does looking again improve what the vectors found?"""
    told, reranked, differences = [], [], []
    for language in asked:
        about = language.among(viewed.rows)
        if len(about.texts) < 2:
            continue
        told += _told_apart(tower, viewed, about, sizes)
        rows, difference = _reranked(tower, viewed, about, sizes)
        reranked += rows
        differences += difference
    if not reranked:
        return []
    leading = tuple(language.language for language in asked)
    return [
        FigureTable(
            title="Matching of hard pairs",
            caption="Each picture with one text about it, and with a wrong text or picture: the text that shares most "
            "words with the right one, or that text's picture; drawn by the softmax of the tower's own similarity in "
            f"batches of {PAIRS_IN_BATCH}; or the most similar of all by it. Right is a match above even odds for the "
            "first, below for the other. What is drawn by what the tower's vectors believe can only be told apart by "
            "what goes beyond them.",
            main="accuracy",
            rows=tuple(told),
            leading=leading,
        ),
        FigureTable(
            title="Text → picture, looked at again",
            caption=f"The {RERANKED} pictures nearest to a text by cosine, ordered anew by cosine / temperature "
            f"plus log odds of a match by their weight, among {len(viewed.rows):,} pictures.",
            main="recall@1",
            rows=tuple(reranked),
            differences=tuple(differences),
            leading=leading,
        ),
    ]


def caption_table(tower: Captioning, viewed: Viewed, asked: list[Asked], sizes: Sizes) -> FigureTable | None:
    """Is a text likelier beside its own picture than beside another? ``None`` where there are no texts."""
    rows, differences = [], []
    for language in asked:
        about = language.among(viewed.rows)
        text, picture = _one_text_each(about, sizes.looked_at)
        if len(picture) < 2:
            continue
        texts = [about.texts[place] for place in text]
        likelihood = {
            name: by_pairs(tower, tower.caption_nll, texts, viewed.images, places)
            for name, places in ((RIGHT_PICTURE, picture), (OTHER_PICTURE, np.roll(picture, len(picture) // 2)))
        }
        estimates = mean_intervals(likelihood, SEED)
        rows += [
            FigureRow(name=name, part=about.language, n=estimate.n, figures={"nll": estimate})
            for name, estimate in estimates.items()
        ]
        gain = paired_difference(likelihood[OTHER_PICTURE], likelihood[RIGHT_PICTURE], SEED)
        if gain is not None:
            label = f"{OTHER_PICTURE} − {RIGHT_PICTURE}, nll, {about.language}"
            differences.append(Difference(label=label, estimate=gain, leading=True))
    if not rows:
        return None
    return FigureTable(
        title="Captions",
        caption="Mean negative log likelihood per token of a text, beside its own picture and beside another. A tower "
        "that does not look at pictures shows no difference.",
        main="nll",
        rows=tuple(rows),
        differences=tuple(differences),
        leading=(),
        higher_is_better=False,
    )


def _told_apart(tower: Matching, viewed: Viewed, about: Asked, sizes: Sizes) -> list[FigureRow]:
    text, picture = _one_text_each(about, sizes.looked_at)
    words = np.unique(about.texts, return_inverse=True)[1]
    fits = np.zeros((words.max() + 1, len(viewed.rows)), np.bool_)
    fits[words[about.right.requests], about.right.items] = True
    fits = fits[words]  # of each text and picture
    cosine = np.where(fits, -np.inf, about.vectors @ viewed.vectors.T)
    drawn_text, drawn_picture = _drawn_by_similarity(tower, cosine, text, picture)
    fit = fits[np.ix_(text, picture)]
    alike = most_alike([about.texts[place] for place in text], fit | fit.T)
    judged = (drawn_text >= 0) & (drawn_picture >= 0) & (alike != NO_ROW)
    if not judged.any():
        return []
    alike_text, alike_picture = text[alike], picture[alike]
    text, picture, drawn_text, drawn_picture, alike_text, alike_picture = (
        places[judged] for places in (text, picture, drawn_text, drawn_picture, alike_text, alike_picture)
    )
    hardest_text, hardest_picture = cosine[:, picture].argmax(axis=0), cosine[text].argmax(axis=1)

    def odds(texts: RowArray, pictures: RowArray) -> Values:
        return by_pairs(tower, tower.match_logits, [about.texts[place] for place in texts], viewed.images, pictures)

    right = odds(text, picture)
    beside = {
        "the text most alike": odds(alike_text, picture),
        "its picture": odds(text, alike_picture),
        "a drawn text": odds(drawn_text, picture),
        "a drawn picture": odds(text, drawn_picture),
        "the hardest text": odds(hardest_text, picture),
        "the hardest picture": odds(text, hardest_picture),
    }
    told = {name: _judged(right, wrong) for name, wrong in beside.items()}
    chance = {"accuracy": 0.5, "right above wrong": 0.5}
    return [
        FigureRow(name="match", part=part, n=len(right), figures=mean_intervals(values, SEED), chance=chance)
        for part, values in {
            about.language: _mean(told["the text most alike"], told["its picture"]),
            f"{about.language}, drawn": _mean(told["a drawn text"], told["a drawn picture"]),
            **{f"{about.language}, {name}": values for name, values in told.items()},
        }.items()
    ]


def _judged(right: Values, wrong: Values) -> dict[str, Values]:
    believed, doubted = (right > 0).astype(np.float64), (wrong <= 0).astype(np.float64)
    return {
        "accuracy": (believed + doubted) / 2,
        "of right pairs": believed,
        "of wrong pairs": doubted,
        "right above wrong": np.where(right == wrong, 0.5, right > wrong),
    }


def _mean(first: dict[str, Values], second: dict[str, Values]) -> dict[str, Values]:
    return {name: (first[name] + second[name]) / 2 for name in first}


def _drawn_by_similarity(
    tower: Matching, cosine: FloatArray, text: RowArray, picture: RowArray
) -> tuple[RowArray, RowArray]:
    """A wrong text for each picture and a wrong picture for each text, drawn within batches of pairs; -1 without one.

    Args:
        tower: has the temperature.
        cosine: of all texts and pictures; -inf where they fit.
        text: numbers of the texts, one a pair.
        picture: numbers of the pictures.
    """
    random = torch.Generator().manual_seed(SEED)
    wrong_text, wrong_picture = np.full_like(text, -1), np.full_like(picture, -1)
    order = torch.randperm(len(text), generator=random).numpy()
    for batch in np.array_split(order, max(1, round(len(order) / PAIRS_IN_BATCH))):
        similarity = torch.from_numpy(cosine[np.ix_(text[batch], picture[batch])]) / tower.contrast_temperature
        fits = similarity.isneginf()
        for wrong, of, logits, same in (
            (wrong_picture, picture, similarity, fits),
            (wrong_text, text, similarity.T, fits.T),
        ):
            drawn = draw_hard_negatives(logits, same, random).numpy()
            wrong[batch] = np.where(drawn >= 0, of[batch][drawn], -1)
    return wrong_text, wrong_picture


def _reranked(tower: Matching, viewed: Viewed, about: Asked, sizes: Sizes) -> tuple[list[FigureRow], list[Difference]]:
    about = about.take(drawn(np.arange(len(about.texts), dtype=np.int32), sizes.looked_at))
    cosine = (about.vectors @ viewed.vectors.T).astype(np.float64)
    count = min(RERANKED, cosine.shape[1])
    nearest = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
    logits = by_pairs(
        tower,
        tower.match_logits,
        [text for text in about.texts for _ in range(count)],
        viewed.images,
        nearest.ravel(),
    ).reshape(nearest.shape)
    cosines = np.take_along_axis(cosine, nearest, axis=1)
    scores = cosines / tower.contrast_temperature + tower.match_weight.item() * logits
    again = cosine - 2 + np.minimum(scores.min(axis=1, keepdims=True), 0)  # behind whatever is looked at again
    np.put_along_axis(again, nearest, scores, axis=1)
    ranks = {"cosine": ranks_of_scores(cosine, about.right), "looked at again": ranks_of_scores(again, about.right)}
    hits = {(name, f"recall@{k}"): of.hits(k) for name, of in ranks.items() for k in CUT_OFFS}
    clusters = first_answers(about.right)
    estimates = mean_intervals(hits, SEED, clusters)
    blind = BestRanks.by_chance(about.right, len(viewed.rows))
    chance = {f"recall@{k}": float(blind.hits(k).mean()) for k in CUT_OFFS}
    rows = [
        FigureRow(
            name=name,
            part=about.language,
            n=len(about.texts),
            figures={f"recall@{k}": estimates[name, f"recall@{k}"] for k in CUT_OFFS},
            chance=chance,
        )
        for name in ranks
    ]
    differences = []
    for k in CUT_OFFS:
        key = f"recall@{k}"
        gain = paired_difference(hits["looked at again", key], hits["cosine", key], SEED, clusters)
        if gain is not None:
            label = f"looked at again − cosine, {metric_label(key)}, {about.language}"
            differences.append(Difference(label=label, estimate=gain, leading=k == 1))
    return rows, differences


def _one_text_each(about: Asked, count: int) -> tuple[RowArray, RowArray]:
    """The first text about each picture, and the picture's place; at most ``count``, drawn at random."""
    picture, first = np.unique(about.right.items, return_index=True)
    chosen = drawn(np.arange(len(picture), dtype=np.int32), count)
    return about.right.requests[first[chosen]].astype(np.int32), picture[chosen]


@torch.inference_mode()
def by_pairs(
    tower: Tower,
    score: Callable[[Tensor, Tensor], Tensor],
    texts: list[str],
    images: Tensor,
    places: npt.NDArray[np.integer],
) -> Values:
    """A score of each text beside the picture at its place, ``[n]``."""
    tower.eval()
    order = np.argsort([len(text) for text in texts], kind="stable")  # texts of like length: little padding
    tokens = torch.from_numpy(tower.text.tokens([texts[place] for place in order]))
    chosen = torch.from_numpy(places[order].astype(np.int64))
    parts = [
        score(some.to(tower.device), images[which.to(images.device)].to(tower.device)).double().cpu()
        for some, which in zip(tokens.split(PAIRS_AT_ONCE), chosen.split(PAIRS_AT_ONCE), strict=True)
    ]
    out = np.empty(len(texts))
    out[order] = torch.cat(parts).numpy()
    return out


def first_answers(right: Judgements) -> npt.NDArray[np.int64]:
    """Clusters for intervals: texts about one picture belong together."""
    return right.items[right.offsets[:-1]].astype(np.int64)
