import pytest
from pydantic import ValidationError

from recsys import schemas
from recsys.data.dataset import Dataset, DatasetWriter
from recsys.data.held_out import HeldOutConfig, held_out_rows
from recsys.exceptions import ConfigError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    attributes = [{"split": "train"}, {"split": "val", "year": "1"}, None, {"split": "train"}, {"split": "test"}, {}]
    attributes += [{"split": "val"}, *({"year": str(1900 + year)} for year in range(30))]
    with DatasetWriter(path) as writer:
        rows = [
            {schemas.ITEM_ID: f"i{row}", schemas.TITLE: "t", schemas.ATTRIBUTES: of_item}
            for row, of_item in enumerate(attributes)
        ]
        writer.write("items", rows)
    return Dataset(path)


def held_out(data, attribute, *values):
    return held_out_rows(data, HeldOutConfig(attribute=attribute, values=values))


def test_the_rows_of_one_value_or_of_several(data):
    assert held_out(data, "split", "val").tolist() == [1, 6]
    assert held_out(data, "split", "test", "val").tolist() == [1, 4, 6]
    assert held_out(data, "year", "1").tolist() == [1]


def test_a_value_that_no_item_has_names_those_that_occur(data):
    message = r"No item has split 'vall'; there are 'train' \(2\), 'val' \(2\), 'test' \(1\)\."
    with pytest.raises(ConfigError, match=message):
        held_out(data, "split", "vall")
    with pytest.raises(ConfigError, match=message):
        held_out(data, "split", "test", "vall")
    with pytest.raises(ConfigError, match=r"'1918' \(1\) and 11 others"):
        held_out(data, "year", "2024")


def test_an_attribute_that_no_item_has_names_those_that_occur(data):
    with pytest.raises(ConfigError, match=r"No item has an attribute 'spilt'; there are split, year\."):
        held_out(data, "spilt", "val")
    with pytest.raises(ValidationError, match="at least 1 item"):
        HeldOutConfig(attribute="split", values=())
