import pyarrow as pa
import pytest

from recsys import schemas

TABLES = {
    "ITEMS": {"item_id"},
    "USERS": {"user_id"},
    "EVENTS": {"user_id", "item_id", "event_type"},
    "QUERIES": {"query_id", "query", "item_id", "grade"},
    "EXPOSURES": {"request_id", "user_id", "item_id", "position", "timestamp"},
    "REJECTED": {"file", "row", "reason"},
}


@pytest.mark.parametrize("table", TABLES)
def test_what_must_be_present_is_what_a_row_means_nothing_without(table):
    assert {field.name for field in getattr(schemas, table) if not field.nullable} == TABLES[table]


@pytest.mark.parametrize("table", TABLES)
def test_every_column_has_its_name_spelled_as_a_constant(table):
    constants = {value for name, value in vars(schemas).items() if name.isupper() and isinstance(value, str)}
    assert set(getattr(schemas, table).names) <= constants


def test_a_column_has_the_same_type_wherever_it_occurs():
    types = {}
    for table in TABLES:
        for field in getattr(schemas, table):
            types.setdefault(field.name, set()).add(field.type)
    assert {name: found for name, found in types.items() if len(found) > 1} == {}


def test_moments_are_utc_milliseconds():
    moments = [field.type for table in TABLES for field in getattr(schemas, table) if pa.types.is_timestamp(field.type)]
    assert set(moments) == {pa.timestamp("ms", tz="UTC")}
    assert len(moments) == 4


def test_stronger_actions_weigh_more_and_all_are_event_types():
    weights = schemas.ACTION_WEIGHTS
    assert weights["click"] < weights["like"] < weights["collect"] < weights["share"] == max(weights.values())
    assert set(schemas.EVENT_TYPES) == {*weights, "impression", "hide", "dwell"}
