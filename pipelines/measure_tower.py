"""Measurements of a tower's vectors: text and picture finding each other, items their partners, labels, geometry."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pipelines.tower_evidence import NO_LANGUAGE, SEED, Asked, Evaluated, LaterPairs, Sizes, drawn, judged
from recsys import schemas
from recsys.data.dataset import Dataset
from recsys.embeddings.table import EmbeddingTable
from recsys.evaluation.cross_modal import CUT_OFFS, CrossModal, image_to_text, text_to_image
from recsys.evaluation.geometry import alignment, potentials
from recsys.evaluation.intervals import Estimate, mean_interval, mean_intervals, paired_difference
from recsys.evaluation.judgements import Judgements
from recsys.evaluation.metrics import Values
from recsys.evaluation.ranks import BestRanks, PairRanks, best_ranks, pair_ranks
from recsys.evaluation.report import metric_label
from recsys.evaluation.slices import EVERYTHING, text_characters
from recsys.evaluation.tower_report import Difference, FigureRow, FigureTable
from recsys.towers.base import item_texts
from recsys.towers.tower import Tower
from recsys.towers.zero_shot import TEMPLATES_EN, TEMPLATES_ZH, ZeroShotClassifier
from recsys.types import FloatArray, RowArray

Tables = Mapping[str, EmbeddingTable]

READ_OUT_NAMES = {"text": "text-only", "image": "image-only", "fused": "both"}
OWN_TEXT, OWN_SHORT_TEXT = "own text", "own short text"
NEW_PAIRS = "new pairs"
PARTNER_CUT_OFFS = (10, 50)
LABEL_CUT_OFFS = (1, 5)
ZH = "zh"


def read_outs(tables: Tables) -> dict[str, str]:
    """Names of the read-outs that hold anything: a tower of words alone has no picture vectors."""
    return {read_out: name for read_out, name in READ_OUT_NAMES.items() if tables[read_out].vectors.any()}


def with_picture(tables: Tables, rows: RowArray) -> RowArray:
    """Those of the rows that have a picture vector."""
    return rows[np.asarray(tables["image"].vectors[rows]).any(axis=1)]


def cross_modal_tables(data: Dataset, tables: Tables, evaluated: Evaluated, asked: list[Asked]) -> list[FigureTable]:
    """Text -> picture and picture -> text, by the judged queries of each language and by the items' own texts."""
    gallery = with_picture(tables, evaluated.rows)
    if not len(gallery):
        return []
    images = np.asarray(tables["image"].vectors[gallery])
    texts = [about for language in asked if len((about := language.among(gallery)).texts)]
    leading = tuple(about.language for about in texts) or (OWN_TEXT,)
    texts += [own for own in _own_texts(data, tables, gallery) if len(own.vectors)]
    pictures = f"{len(gallery):,} pictures of evaluated items"
    directions = (
        ("Text → picture", text_to_image, f"Every text is a query, right are the pictures it is about. {pictures}."),
        (
            "Picture → text",
            image_to_text,
            f"Every picture is a query, right is any of its texts; all texts of the part compete. {pictures}.",
        ),
    )
    return [
        FigureTable(
            title=title,
            caption=caption,
            main="recall@10",
            rows=tuple(
                _cross_modal_row(title.lower(), about.language, direction(about.vectors, images, about.right))
                for about in texts
            ),
            parts={
                OWN_TEXT: "title, tags and body of the item",
                OWN_SHORT_TEXT: "of the quarter of items with the fewest characters",
            },
            leading=leading,
        )
        for title, direction, caption in directions
    ]


def text_to_item_table(data: Dataset, tables: Tables, evaluated: Evaluated, asked: list[Asked]) -> FigureTable | None:
    """Text -> item by each read-out; ``None`` where nothing was asked. A query that is a line of the item's own text
    finds that line and says nothing of the tower: such queries are left out.
    """
    gallery = evaluated.rows
    lines = [set((text or "").split("\n")) for text in item_texts(data.items[gallery.tolist()])]
    rows = []
    for language in asked:
        about = language.among(gallery)
        answers = zip(about.right.requests, about.right.items, strict=True)
        copied = [request for request, item in answers if about.texts[request] in lines[item]]
        about = about.take(np.setdiff1d(np.arange(len(about.texts)), copied).astype(np.int32))
        if not about.texts:
            continue
        for read_out, name in read_outs(tables).items():
            vectors = np.asarray(tables[read_out].vectors[gallery])
            rows.append(_cross_modal_row(name, about.language, text_to_image(about.vectors, vectors, about.right)))
    if not rows:
        return None
    return FigureTable(
        title="Text → item",
        caption=f"Every text is a query against each read-out of the {len(gallery):,} evaluated items, right are the "
        "items it is about. Texts that stand word for word as a line of the item's own text are left out.",
        main="recall@10",
        rows=tuple(rows),
        leading=(),
    )


def partner_table(tables: Tables, later: LaterPairs) -> FigureTable:
    """Item -> item: does an item find what is engaged with after it? By each read-out, among the whole catalogue."""
    n_items = len(tables["fused"].ids)
    anchors, partners = later.anchors, later.partners
    itself = judged(np.arange(len(anchors)), anchors, len(anchors))
    seen = _union(itself, later.known)
    new = _without(partners, later.known)
    found: dict[tuple[str, str], dict[str, Values]] = {}
    chance: dict[str, dict[str, float]] = {}
    names = read_outs(tables)
    for read_out, name in names.items():
        vectors = tables[read_out].vectors
        queries = np.asarray(vectors[anchors])
        ranks = pair_ranks(queries, vectors, partners, itself)
        among_new = pair_ranks(queries, vectors, new, seen)
        parts = {
            EVERYTHING: (ranks, None),
            **{part.name: (ranks, part.items[partners.items]) for part in later.parts},
            NEW_PAIRS: (among_new, None),
        }
        for part, (of_part, among) in parts.items():
            found[part, name] = {f"recall@{k}": of_part.recall(k, among) for k in PARTNER_CUT_OFFS}
            hidden = np.diff((seen if part == NEW_PAIRS else itself).offsets)
            chance[part] = _partners_by_chance(of_part, n_items - hidden, among)
    rows, differences = [], []
    for part in chance:
        values = {name: found[part, name] for name in names.values()}
        estimates = mean_intervals({(name, key): v for name, of in values.items() for key, v in of.items()}, SEED)
        if not estimates:
            continue
        for name, of_name in values.items():
            figures = {key: estimates[name, key] for key in of_name}
            n = next(iter(figures.values())).n
            rows.append(FigureRow(name=name, part=part, n=n, figures=figures, chance=chance[part]))
        differences.append(_over_the_better_single(values, part))
    return FigureTable(
        title="Item → item",
        caption=f"{len(anchors):,} items, each asked for its partners: what users engaged with soon after it, later "
        "than the tower's training window. The whole catalogue competes; an item without the modality finds by chance.",
        main="recall@10",
        rows=tuple(rows),
        differences=tuple(difference for difference in differences if difference is not None),
        parts={
            **{part.name: part.description for part in later.parts},
            NEW_PAIRS: "pairs the tower could not learn; those it could do not compete",
        },
        leading=(EVERYTHING, "cold"),
    )


def label_table(data: Dataset, tower: Tower, tables: Tables, evaluated: Evaluated) -> FigureTable | None:
    """Categories told from their names alone; ``None`` where the data set has fewer than two."""
    categories = data.items[schemas.CATEGORY]
    classes = sorted(categories.drop_nulls().unique().to_list())
    labelled = evaluated.rows[categories.is_not_null().to_numpy()[evaluated.rows]]
    if len(classes) < 2 or not len(labelled) or "zero_shot" not in tower.capabilities:
        return None
    place = {name: number for number, name in enumerate(classes)}
    label = np.array([place[name] for name in categories[labelled.tolist()]])
    languages = data.items[schemas.LANGUAGE].fill_null(NO_LANGUAGE).to_numpy()[labelled]
    rows = []
    for language in np.unique(languages):
        of_language = languages == language
        items, right = labelled[of_language], label[of_language]
        templates = TEMPLATES_ZH if language == ZH else TEMPLATES_EN
        prompts = ZeroShotClassifier(tower, classes, templates).vectors
        answers = judged(np.arange(len(items)), right, len(items))
        chance = BestRanks.by_chance(answers, len(classes))
        for read_out, name in read_outs(tables).items():
            ranks = best_ranks(np.asarray(tables[read_out].vectors[items]), prompts, answers)
            rows.append(
                FigureRow(
                    name=name,
                    part=str(language),
                    n=len(items),
                    figures=mean_intervals({f"top-{k}": ranks.hits(k) for k in LABEL_CUT_OFFS}, SEED),
                    chance={f"top-{k}": float(chance.hits(k).mean()) for k in LABEL_CUT_OFFS},
                )
            )
    most = float(np.bincount(label).max() / len(label))
    return FigureTable(
        title="Labels without training",
        caption=f"The category of each item among {len(classes)}, by their names in sentences of the item's language. "
        f"The most frequent one makes {most:.1%} of the items; an item's own text may name its category.",
        main="top-1",
        rows=tuple(rows),
        leading=tuple(dict.fromkeys(row.part for row in rows)),
    )


def geometry_table(tables: Tables, evaluated: Evaluated, later: LaterPairs | None, sizes: Sizes) -> FigureTable | None:
    """Alignment and uniformity of text with picture, and of partners; ``None`` where there is nothing to compare."""
    rows = []
    both = [row for row in with_picture(tables, evaluated.rows) if np.asarray(tables["text"].vectors[row]).any()]
    sample = drawn(np.asarray(both, np.int32), sizes.spread)
    if len(sample) > 1:
        text, image = (np.asarray(tables[name].vectors[sample]) for name in ("text", "image"))
        spread = np.concatenate([text, image])
        rows.append(_geometry_row("text and picture of an item", alignment(text, image), spread, np.tile(sample, 2)))
    if later is not None:
        requests = later.partners.requests
        for read_out, name in read_outs(tables).items():
            vectors = tables[read_out].vectors
            a, b = np.asarray(vectors[later.anchors[requests]]), np.asarray(vectors[later.partners.items])
            given = a.any(axis=1) & b.any(axis=1)
            some = drawn(later.anchors, sizes.spread)
            spread = np.asarray(vectors[some])
            filled = spread.any(axis=1)
            if given.sum() > 1 and filled.sum() > 1:
                distance = alignment(a[given], b[given])
                rows.append(_geometry_row(f"partners, {name}", distance, spread[filled], some[filled], requests[given]))
    if not rows:
        return None
    return FigureTable(
        title="Alignment and uniformity",
        caption="Alignment: mean squared distance of what belongs together, 0 to 4. Uniformity: log of the mean of "
        "exp(-2 d²) over pairs of vectors, 0 where all are equal. Lower is better for both, and each is easy alone.",
        main="alignment",
        rows=tuple(rows),
        leading=(),
        higher_is_better=False,
    )


def _own_texts(data: Dataset, tables: Tables, gallery: RowArray) -> list[Asked]:
    """The whole text of each item of the gallery as a query for it, and the same for the items that say least."""
    vectors = np.asarray(tables["text"].vectors[gallery])
    places = np.flatnonzero(vectors.any(axis=1)).astype(np.int32)
    characters = text_characters(data.items)[gallery[places]]
    short = places[characters <= np.quantile(characters, 0.25)] if len(places) else places
    return [
        Asked(name, [""] * len(some), vectors[some], judged(np.arange(len(some)), some, len(some)))
        for name, some in ((OWN_TEXT, places), (OWN_SHORT_TEXT, short))
    ]


def _cross_modal_row(name: str, part: str, found: CrossModal) -> FigureRow:
    figures = mean_intervals(found.recalls(), SEED, found.clusters)
    return FigureRow(
        name=name,
        part=part,
        n=figures[f"recall@{CUT_OFFS[0]}"].n,
        figures=figures,
        chance=found.expected_by_chance(),
    )


def _partners_by_chance(
    ranks: PairRanks, competing: npt.NDArray[np.int64], among: npt.NDArray[np.bool_] | None
) -> dict[str, float]:
    blind = PairRanks(ranks.requests, np.zeros_like(ranks.better), competing[ranks.requests], ranks.n)
    recalls = {f"recall@{k}": blind.recall(k, among) for k in PARTNER_CUT_OFFS}
    return {name: float(np.nanmean(values)) for name, values in recalls.items() if not np.isnan(values).all()}


def _over_the_better_single(values: Mapping[str, Mapping[str, Values]], part: str) -> Difference | None:
    key = f"recall@{PARTNER_CUT_OFFS[0]}"
    singles = {name: float(np.nanmean(of[key])) for name, of in values.items() if name != READ_OUT_NAMES["fused"]}
    better = max(singles, key=lambda name: singles[name])
    both = READ_OUT_NAMES["fused"]
    estimate = paired_difference(values[both][key], values[better][key], SEED)
    if estimate is None:
        return None
    label = f"{both} − {better}, {metric_label(key)}, {part}"
    return Difference(label=label, estimate=estimate, leading=part == EVERYTHING)


def _geometry_row(
    name: str, distances: Values, spread: FloatArray, items: RowArray, clusters: npt.NDArray[np.int64] | None = None
) -> FigureRow:
    closeness = mean_interval(distances, SEED, clusters)
    crowding = mean_interval(potentials(spread), SEED, items)
    assert closeness is not None
    assert crowding is not None
    logs = {bound: float(np.log(getattr(crowding, bound))) for bound in ("value", "low", "high")}
    return FigureRow(
        name=name,
        n=closeness.n,
        figures={"alignment": closeness, "uniformity": Estimate(n=crowding.n, **logs)},
    )


def _union(a: Judgements, b: Judgements) -> Judgements:
    """Answers that are in one or the other."""
    pairs = np.unique(np.concatenate([_keys(a), _keys(b)]))
    return judged(pairs >> 32, pairs & 0xFFFFFFFF, len(a))


def _without(a: Judgements, b: Judgements) -> Judgements:
    """Answers of ``a`` that are not in ``b``."""
    keep = ~np.isin(_keys(a), _keys(b))
    return judged(a.requests[keep], a.items[keep], len(a))


def _keys(judgements: Judgements) -> npt.NDArray[np.int64]:
    return (judgements.requests << 32) | judgements.items
