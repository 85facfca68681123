"""Arrow schemas of the records that travel, and every column name, spelled once.

Timestamps are UTC milliseconds. Sets without timestamps give ``order`` instead: a number per user, oldest first.
"""

from __future__ import annotations

import pyarrow as pa

ITEM_ID = "item_id"
USER_ID = "user_id"
QUERY_ID = "query_id"
REQUEST_ID = "request_id"

TITLE = "title"
TEXT = "text"
IMAGES = "images"
IMAGE_FEATURES = "image_features"
AUTHOR_ID = "author_id"
TAGS = "tags"
CATEGORY = "category"
LANGUAGE = "language"
CREATED_AT = "created_at"
ATTRIBUTES = "attributes"

SCENE = "scene"
QUERY = "query"
POSITION = "position"
EVENT_TYPE = "event_type"
VALUE = "value"
TIMESTAMP = "timestamp"
ORDER = "order"
PROPENSITY = "propensity"
TOWER = "tower"
INDEX_GENERATION = "index_generation"
RANKER = "ranker"
VARIANT = "variant"

GRADE = "grade"
SOURCES = "sources"
SCORES = "scores"
FEATURES = "features"

FILE = "file"
ROW = "row"
REASON = "reason"
RECORD = "record"

SCENES = ("feed", "search", "related")
IMPRESSION = "impression"
CLICK = "click"
ACTION_WEIGHTS = {CLICK: 1.0, "like": 2.0, "collect": 3.0, "comment": 3.0, "share": 4.0, "follow": 4.0}
"""Positive actions and how strongly each speaks for the item; also the graded labels of ranking (capped at 4)."""
EVENT_TYPES = (IMPRESSION, *ACTION_WEIGHTS, "hide", "dwell")

_timestamp = pa.timestamp("ms", tz="UTC")
_attributes = pa.map_(pa.string(), pa.string())

ITEMS = pa.schema(
    [
        pa.field(ITEM_ID, pa.string(), nullable=False),
        pa.field(TITLE, pa.string()),
        pa.field(TEXT, pa.string()),
        pa.field(IMAGES, pa.list_(pa.binary())),  # encoded pictures, the first is the cover
        pa.field(IMAGE_FEATURES, pa.list_(pa.float16())),  # vector of the cover, made elsewhere; one width per data set
        pa.field(AUTHOR_ID, pa.string()),
        pa.field(TAGS, pa.list_(pa.string())),
        pa.field(CATEGORY, pa.string()),
        pa.field(LANGUAGE, pa.string()),
        pa.field(CREATED_AT, _timestamp),
        pa.field(ATTRIBUTES, _attributes),
    ]
)

USERS = pa.schema(
    [
        pa.field(USER_ID, pa.string(), nullable=False),
        pa.field(CREATED_AT, _timestamp),
        pa.field(ATTRIBUTES, _attributes),
    ]
)

EVENTS = pa.schema(
    [
        pa.field(REQUEST_ID, pa.string()),
        pa.field(USER_ID, pa.string(), nullable=False),
        pa.field(ITEM_ID, pa.string(), nullable=False),
        pa.field(SCENE, pa.string()),
        pa.field(QUERY, pa.string()),
        pa.field(POSITION, pa.int32()),  # 0 = top of the slate
        pa.field(EVENT_TYPE, pa.string(), nullable=False),
        pa.field(VALUE, pa.float32()),  # dwell seconds, rating
        pa.field(TIMESTAMP, _timestamp),
        pa.field(ORDER, pa.int64()),
        pa.field(PROPENSITY, pa.float32()),
        pa.field(TOWER, pa.string()),
        pa.field(INDEX_GENERATION, pa.string()),
        pa.field(RANKER, pa.string()),
        pa.field(VARIANT, pa.string()),
    ]
)

QUERIES = pa.schema(  # one row per judged (query, item)
    [
        pa.field(QUERY_ID, pa.string(), nullable=False),
        pa.field(QUERY, pa.string(), nullable=False),
        pa.field(LANGUAGE, pa.string()),
        pa.field(ITEM_ID, pa.string(), nullable=False),
        pa.field(GRADE, pa.int8(), nullable=False),  # 0 irrelevant .. 3 perfect
    ]
)

EXPOSURES = pa.schema(
    [
        pa.field(REQUEST_ID, pa.string(), nullable=False),
        pa.field(USER_ID, pa.string(), nullable=False),
        pa.field(ITEM_ID, pa.string(), nullable=False),
        pa.field(SCENE, pa.string()),
        pa.field(QUERY, pa.string()),
        pa.field(POSITION, pa.int32(), nullable=False),
        pa.field(TIMESTAMP, _timestamp, nullable=False),
        pa.field(SOURCES, pa.list_(pa.string())),
        pa.field(SCORES, pa.map_(pa.string(), pa.float32())),
        pa.field(FEATURES, pa.map_(pa.string(), pa.float32())),  # as they were served
        pa.field(PROPENSITY, pa.float32()),
        pa.field(TOWER, pa.string()),
        pa.field(INDEX_GENERATION, pa.string()),
        pa.field(RANKER, pa.string()),
        pa.field(VARIANT, pa.string()),
    ]
)

REJECTED = pa.schema(
    [
        pa.field(FILE, pa.string(), nullable=False),
        pa.field(ROW, pa.int64(), nullable=False),  # 0-based row of the file
        pa.field(REASON, pa.string(), nullable=False),
        pa.field(RECORD, pa.string()),  # the row itself as JSON, pictures and vectors left out
    ]
)
