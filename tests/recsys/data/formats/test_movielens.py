import gzip
from datetime import UTC, datetime

import pytest

from recsys import schemas
from recsys.data.dataset import Dataset
from recsys.data.formats import FORMATS, detect
from recsys.data.ingest import IngestConfig, ingest
from recsys.exceptions import DataError

FLAGS_OF_TOY_STORY = "0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0"
FOLDERS = {
    "ml-100k": {
        "u.item": f"1|Toy Story (1995)|01-Jan-1995||http://x|{FLAGS_OF_TOY_STORY}\n"
        "2|Misérables, Les (1995)|||http://y|0|0|0|0|0|0|0|0|1|0|0|0|1|0|0|0|0|0|0\n"
        "267|unknown||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n",
        "u.user": "1|24|M|technician|85711\n",
        "u.data": "1\t2\t3\t881250949\n1\t1\t5\t881250950\n",
    },
    "ml-1m": {
        "movies.dat": "1::Toy Story (1995)::Animation|Children's|Comedy\n"
        "2::Misérables, Les (1995)::Drama|Musical\n267::unknown::\n",
        "users.dat": "1::M::24::technician::85711\n",
        "ratings.dat": "1::2::3::881250949\n1::1::5::881250950\n",
    },
    "ml-csv": {
        "movies.csv": "movieId,title,genres\n1,Toy Story (1995),Animation|Children's|Comedy\n"
        '2,"Misérables, Les (1995)",Drama|Musical\n267,unknown,(no genres listed)\n',
        "ratings.csv": "userId,movieId,rating,timestamp\n1,2,3.0,881250949\n1,1,5.0,881250950\n",
    },
}


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", FOLDERS)
def test_the_same_films_and_ratings_in_every_layout(tmp_path, name, compressed):
    for file, text in FOLDERS[name].items():
        content = text.encode("utf-8" if name == "ml-csv" else "latin-1")
        if compressed:
            (tmp_path / f"{file}.gz").write_bytes(gzip.compress(content))
        else:
            (tmp_path / file).write_bytes(content)
    assert detect(tmp_path) == name
    summary = ingest(FORMATS[name].read(tmp_path), tmp_path / "data", IngestConfig())
    assert summary.rejected == {}
    data = Dataset(tmp_path / "data")
    assert data.items.select(schemas.ITEM_ID, schemas.TITLE, schemas.TAGS, schemas.CATEGORY).rows() == [
        ("1", "Toy Story (1995)", ["Animation", "Children's", "Comedy"], "Animation"),
        ("2", "Misérables, Les (1995)", ["Drama", "Musical"], "Drama"),
        ("267", "unknown", [], None),
    ]
    assert [row.get("year") for row in data.items[schemas.ATTRIBUTES]] == ["1995", "1995", None]
    assert data.events.select(
        schemas.USER_ID, schemas.ITEM_ID, schemas.EVENT_TYPE, schemas.VALUE, schemas.TIMESTAMP
    ).rows() == [
        ("1", "2", "click", 3.0, datetime(1997, 12, 4, 15, 55, 49, tzinfo=UTC)),
        ("1", "1", "click", 5.0, datetime(1997, 12, 4, 15, 55, 50, tzinfo=UTC)),
    ]
    if name != "ml-csv":
        assert data.users.row(0, named=True)[schemas.ATTRIBUTES] == {
            "gender": "M",
            "age": "24",
            "occupation": "technician",
        }


def test_a_layout_nobody_knows(tmp_path):
    (tmp_path / "u.data").write_text("")
    with pytest.raises(DataError, match=r"ml-100k: u\.data, u\.item, u\.user"):
        detect(tmp_path)


def test_the_real_ml_100k(shared_data, tmp_path):
    folder = shared_data / "ml-100k"
    assert detect(folder) == "ml-100k"
    summary = ingest(FORMATS["ml-100k"].read(folder), tmp_path, IngestConfig())
    assert summary.kept == {"items": 1682, "users": 943, "events": 100_000}
    assert summary.rejected == {}
    data = Dataset(tmp_path)
    ratings = data.events[schemas.VALUE].value_counts(sort=True).rows()
    assert ratings == [(4.0, 34_174), (3.0, 27_145), (5.0, 21_201), (2.0, 11_370), (1.0, 6_110)]
    assert data.events[schemas.TIMESTAMP].min() == datetime(1997, 9, 20, 3, 5, 10, tzinfo=UTC)
    genres = data.items[schemas.TAGS].explode().value_counts(sort=True)
    assert genres.row(0) == ("Drama", 725)
