"""What the tower report shows as pictures: texts, pictures and items with what they find, captions, and a map."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from pipelines.measure_abilities import Viewed
from pipelines.measure_tower import Tables, with_picture
from pipelines.tower_evidence import Asked, Evaluated, LaterPairs, drawn
from recsys import schemas
from recsys.data.dataset import Dataset
from recsys.evaluation.catalogue_map import MOST_TILES, draw_map
from recsys.evaluation.sheet import Card, Row, SheetSection, Words
from recsys.index.exact import ExactIndex
from recsys.towers.abilities import Captioning
from recsys.types import NO_ROW, RowArray

ROWS_PER_SECTION = 5
RESULTS = 6
LONGEST_CAPTION = 24
CHARACTERS = 80


def tower_sheet(
    data: Dataset, tables: Tables, evaluated: Evaluated, asked: Sequence[Asked], later: LaterPairs | None
) -> list[SheetSection]:
    """Sections of the sheet; those the data set has no material for are left out."""
    gallery = with_picture(tables, evaluated.rows)
    sections = []
    for language in asked:
        about = language.among(gallery)
        if about.texts:
            sections += [_text_to_picture(data, tables, gallery, about), _picture_to_text(data, tables, gallery, about)]
    if later is not None:
        sections.append(_item_to_item(data, tables, later))
    return [section for section in sections if section.rows]


def caption_section(data: Dataset, tower: Captioning, viewed: Viewed, asked: Sequence[Asked]) -> SheetSection:
    """Pictures, what the tower writes about them, and what people wrote."""
    chosen = drawn(np.arange(len(viewed.rows), dtype=np.int32), ROWS_PER_SECTION)
    with torch.inference_mode():
        images = viewed.images[torch.from_numpy(chosen.astype(np.int64))].to(tower.device)
        written = tower.eval().write_captions(images, LONGEST_CAPTION)
    rows = []
    for place, text, card in zip(chosen, written, _cards(data, viewed.rows[chosen]), strict=True):
        theirs = [words for language in asked for words in _texts_about(language, int(viewed.rows[place]))[:1]]
        results = (Words(text, "written by the tower"), *(Words(words, "written by a person") for words in theirs))
        rows.append(Row(card, results))
    return SheetSection("Captions", "A picture, what the tower writes about it, and what people wrote.", tuple(rows))


def map_of(data: Dataset, tables: Tables) -> bytes | None:
    """A map of the catalogue as a JPEG; ``None`` where no more than one item has a picture."""
    rows = np.flatnonzero((data.items["n_images"].to_numpy() > 0) & np.asarray(tables["fused"].vectors).any(axis=1))
    chosen = drawn(rows.astype(np.int32), MOST_TILES)
    if len(chosen) < 2:
        return None
    covers = [cover or b"" for cover in data.covers(chosen.tolist())]
    return draw_map(np.asarray(tables["fused"].vectors[chosen]), covers)


def _text_to_picture(data: Dataset, tables: Tables, gallery: RowArray, about: Asked) -> SheetSection:
    some = about.take(drawn(np.arange(len(about.texts), dtype=np.int32), ROWS_PER_SECTION))
    scores = some.vectors @ np.asarray(tables["image"].vectors[gallery]).T
    rows = []
    for query, text in enumerate(some.texts):
        best = np.argsort(-scores[query], kind="stable")[:RESULTS]
        right = set(some.right.between(query, query + 1).items.tolist())
        rows.append(Row(text, tuple(_cards(data, gallery[best], {int(gallery[place]) for place in right}))))
    return SheetSection(
        f"Text → picture, {about.language}", "A text, and the pictures nearest to it; its own are marked.", tuple(rows)
    )


def _picture_to_text(data: Dataset, tables: Tables, gallery: RowArray, about: Asked) -> SheetSection:
    pictures = drawn(np.unique(about.right.items), ROWS_PER_SECTION)
    scores = np.asarray(tables["image"].vectors[gallery[pictures]]) @ about.vectors.T
    rows = []
    for place, card, similarity in zip(pictures, _cards(data, gallery[pictures]), scores, strict=True):
        own = set(about.right.requests[about.right.items == place].tolist())
        best = np.argsort(-similarity, kind="stable")[:RESULTS]
        rows.append(Row(card, tuple(Words(about.texts[text], hit=int(text) in own) for text in best)))
    return SheetSection(
        f"Picture → text, {about.language}", "A picture, and the texts nearest to it; its own are marked.", tuple(rows)
    )


def _item_to_item(data: Dataset, tables: Tables, later: LaterPairs) -> SheetSection:
    places = drawn(np.arange(len(later.anchors), dtype=np.int32), ROWS_PER_SECTION)
    anchors = later.anchors[places]
    table = tables["fused"]
    found, _ = ExactIndex(table).search(np.asarray(table.vectors[anchors]), RESULTS + 1)
    rows = []
    for place, anchor, card, near in zip(places, anchors, _cards(data, anchors), found, strict=True):
        shown = np.array([row for row in near if row not in (anchor, NO_ROW)][:RESULTS], np.int32)
        partners = set(later.partners.between(int(place), int(place) + 1).items.tolist())
        rows.append(Row(card, tuple(_cards(data, shown, partners))))
    return SheetSection(
        "Item → item", "An item, and those nearest to it; what users engaged with after it is marked.", tuple(rows)
    )


def _texts_about(asked: Asked, item: int) -> list[str]:
    return [asked.texts[request] for request in asked.right.requests[asked.right.items == item]]


def _cards(data: Dataset, rows: RowArray, right: set[int] | None = None) -> list[Card]:
    listed = rows.tolist()
    items = data.items[listed]
    columns = (items[name].fill_null("") for name in (schemas.TITLE, schemas.TEXT, schemas.CATEGORY))
    return [
        Card(title or text[:CHARACTERS], category, cover, row in (right or ()))
        for row, title, text, category, cover in zip(listed, *columns, data.covers(listed), strict=True)
    ]
