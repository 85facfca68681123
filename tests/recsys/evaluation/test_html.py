from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from recsys.evaluation.html import render_html
from recsys.evaluation.report import EvaluationReport
from recsys.evaluation.sheet import Card, Row, SheetSection

VOID = {"meta", "img", "br", "link", "input"}


class Outline(HTMLParser):
    """Collects headings, pictures and captions, and checks that every element is closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.counts: dict[str, int] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def sheet(picture: bytes) -> tuple[SheetSection, ...]:
    cards = (Card("早餐 <brunch>", "cooking", picture, hit=True), Card("没有图", "text only"), Card("坏图", "", b"no"))
    rows = (Row("周末 & brunch", cards), Row(cards[0], cards[1:]), Row(cards, cards[:1], caption="user u7"))
    return (SheetSection("Search", "Words and pictures.", rows),)


@pytest.fixture(scope="module")
def page(report: EvaluationReport, sheet: tuple[SheetSection, ...]) -> str:
    return render_html(report, sheet)


def test_every_figure_of_the_tables_is_on_the_page(report: EvaluationReport, page: str) -> None:
    estimates = [
        estimate
        for table in (*report.retrieval, *report.ranking)
        for result in table.results
        for estimate in result.metrics.values()
    ]
    assert len(estimates) == 15
    for estimate in estimates:
        for figure in (estimate.value, estimate.low, estimate.high):
            assert f"{figure:.3f}" in page
    for text in ("+25.7%", "+20.1% to +31.0%", "1,234", "43.2%", "0.87", "n = 31", "0123456789abcdef", "61.2", "1,210"):
        assert text in page, text


def test_the_page_is_well_formed_and_has_an_outline(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.counts["h1"] == 1
    assert outline.counts["table"] == outline.counts["caption"] == 6
    assert outline.counts["svg"] == 4
    assert len(re.findall(r"<svg [^>]*aria-label=", page)) == 4


def test_pictures_decode_and_are_small(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert len(outline.images) == 4
    for image in outline.images:
        assert image["alt"] == "早餐 <brunch>"
        data = base64.b64decode(image["src"].removeprefix("data:image/jpeg;base64,"), validate=True)
        with Image.open(io.BytesIO(data)) as thumbnail:
            assert thumbnail.size == (320, 213)
            assert thumbnail.getpixel((160, 100)) == pytest.approx((200, 30, 40), abs=4)


def test_missing_and_broken_pictures_become_blank_tiles(page: str) -> None:
    assert page.count('aria-label="没有图, no picture"') == 3
    assert page.count('aria-label="坏图, no picture"') == 3


def test_nothing_is_fetched_from_elsewhere(page: str) -> None:
    assert re.findall(r"https?:", page) == []
    assert re.findall(r"""(?:src|href)=["'](?!data:image/jpeg;base64,|#)""", page) == []
    assert re.findall(r"url\((?!#)|@import|<script|<link", page) == []


def test_what_people_wrote_is_escaped(page: str) -> None:
    assert "周末 &amp; brunch" in page
    assert "<brunch>" not in page.replace('alt="早餐 <brunch>"', "")
    assert "&lt;after&gt; the split" in page


def test_plots_take_the_colours_of_the_page(page: str) -> None:
    assert "#01020" not in page
    assert page.count("var(--accent)") > 10


def test_same_report_same_page(report: EvaluationReport, sheet: tuple[SheetSection, ...], page: str) -> None:
    assert render_html(report, sheet) == page


def test_a_bare_report_is_a_page_too(report: EvaluationReport) -> None:
    bare = EvaluationReport(
        title="Nothing yet", created_at=report.created_at, dataset=report.dataset, protocol="No events."
    )
    page = render_html(bare)
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert "table" not in outline.counts
    assert "No events." in page
