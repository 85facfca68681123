import polars as pl

from recsys.data.formats.shared import first_of, milliseconds, number, one_event_a_row


def test_moments_of_either_unit_and_none():
    moments = pl.DataFrame(
        {"t": ["1732665600", "1732665600000", "1732665600.25", "nan", "None", None, "soon", "1.73e12"]}
    )
    assert moments.select(milliseconds(pl.col("t")))["t"].to_list() == [
        1732665600000.0,
        1732665600000.0,
        1732665600250.0,
        None,
        None,
        None,
        None,
        1730000000000.0,
    ]


def test_numbers_and_none():
    values = pl.DataFrame({"n": ["1", "nan", "None", None]})
    assert values.select(number("n"))["n"].to_list() == [1.0, None, None, None]


def test_events_in_the_order_given_and_null_is_no():
    exposures = pl.DataFrame({"item": ["a", "b", "c"], "click": [1, 0, None], "like": [1, None, 0]})
    happened = {"impression": pl.col("item") != "c", "click": pl.col("click") > 0, "like": pl.col("like") > 0}
    assert one_event_a_row(exposures, happened).select("item", "event_type").rows() == [
        ("a", "impression"),
        ("a", "click"),
        ("a", "like"),
        ("b", "impression"),
    ]


def test_the_first_name_that_has_a_value():
    rows = pl.DataFrame({"b": [None, 2], "c": [3, 4]})
    assert rows.select(v=first_of(rows, ("a", "b", "c")))["v"].to_list() == [3, 2]
    assert rows.select(v=first_of(rows, ("x", "y")))["v"].to_list() == [None]
