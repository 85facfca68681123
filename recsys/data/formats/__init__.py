"""Public data sets that need no mapping: one reader per published layout, behind one registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from recsys.data.formats.amazon import META, amazon_2023
from recsys.data.formats.kuaisar import ITEMS, RECOMMENDED, kuaisar
from recsys.data.formats.microlens import PAIRS, TITLES, microlens
from recsys.data.formats.mind import BEHAVIOURS, NEWS, MindReader
from recsys.data.formats.movielens import ml_1m, ml_100k, ml_csv
from recsys.data.formats.qilin import qilin
from recsys.data.reader import Reader
from recsys.exceptions import DataError


@dataclass(frozen=True)
class Format:
    """A published layout: the files that tell it from the others, and its reader."""

    files: tuple[str, ...]
    read: Callable[[Path], Reader]

    def fits(self, folder: Path) -> bool:
        return all(any(folder.glob(name)) or any(folder.glob(f"{name}.gz")) for name in self.files)


FORMATS: Mapping[str, Format] = {
    "amazon-2023": Format((META,), amazon_2023),
    "kuaisar": Format((RECOMMENDED, ITEMS), kuaisar),
    "microlens": Format((TITLES, PAIRS), microlens),
    "mind": Format((NEWS, BEHAVIOURS), MindReader),
    "ml-100k": Format(("u.data", "u.item", "u.user"), ml_100k),
    "ml-1m": Format(("movies.dat", "users.dat", "ratings.dat"), ml_1m),
    "ml-csv": Format(("movies.csv", "ratings.csv"), ml_csv),
    "qilin": Format(("notes/*.parquet", "user_feat/*.parquet"), qilin),
}


def detect(folder: Path) -> str:
    """Name of the layout of the files in ``folder``.

    Raises:
        DataError: none of :data:`FORMATS` fits.
    """
    for name, layout in FORMATS.items():
        if layout.fits(folder):
            return name
    known = "; ".join(f"{name}: {', '.join(layout.files)}" for name, layout in FORMATS.items())
    raise DataError(f"{folder} has no layout that is known ({known}).", "Describe its files in a mapping.")
