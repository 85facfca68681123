from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.captions import Captions
from recsys.data.dataset import Dataset, DatasetWriter
from recsys.data.synthetic_captions import with_synthetic


def test_kept_captions_of_learned_items_are_added_behind(tmp_path: Path) -> None:
    with DatasetWriter(tmp_path) as writer:
        writer.write("items", [{"item_id": name} for name in "abcd"])
        writer.write("queries", [{"query_id": "q", "query": "a dog", "item_id": "b", "grade": 3}])
    data = Dataset(tmp_path)
    rows = np.array([0, 1, 2], np.int32)
    written = pl.DataFrame(
        {
            "item_id": ["a", "b", "c", "d"],
            "caption": ["a cat", "the dog runs", "no idea", "held out"],
            "kept": [True, True, False, True],
        }
    )
    captions = with_synthetic(Captions.of(data, rows), data, written, rows)
    mine = [[captions.texts[number] for number in captions.captions_of(row)] for row in range(4)]
    assert mine == [["a cat"], ["a dog", "the dog runs"], [], []]
    assert captions.texts[0] == "a dog"
    assert captions.languages == [None, None, None]
    nothing = with_synthetic(Captions.of(data, rows), data, written.clear(), rows)
    assert nothing.texts == ["a dog"]
