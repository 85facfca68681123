"""Reads a folder of Parquet, CSV and JSON-lines files as a :class:`recsys.data.mapping.Mapping` says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as MappingOf
from pathlib import Path

import polars as pl
import polars.selectors as cs

from recsys import schemas
from recsys.data.delimited import read_delimited
from recsys.data.joined import open_parquet
from recsys.data.json_lines import is_json_lines, read_json_lines
from recsys.data.mapping import ColumnPart, ItemSource, Mapping, QuerySource, Source
from recsys.data.pictures import PictureLookup, read_picture
from recsys.data.reader import (
    ITEMS_PER_BATCH,
    REJECTED,
    ROWS_PER_BATCH,
    Batch,
    check_columns,
    id_text,
    polars_schema,
    resolve,
    with_absent,
)
from recsys.data.vectors import VectorLookup
from recsys.exceptions import ConfigError, DataError
from recsys.types import Image

_JOINED = (schemas.TITLE, schemas.TEXT)  # several texts become one
_LISTS = (schemas.TAGS, schemas.IMAGES)  # several values become one list
_ATTRIBUTES = polars_schema(schemas.ITEMS)[schemas.ATTRIBUTES]
_NESTED_ROWS = 2**13  # of their rows at a time, each of which may become hundreds of ours

Reshape = Callable[[Path, pl.DataFrame], pl.DataFrame]
"""From a file and some of its rows to the rows that the mapping speaks of; :data:`schemas.ROW` is kept or repeated."""


class MappedReader:
    """A :class:`recsys.data.reader.Reader` of the files in ``folder``.

    Args:
        folder: where the files are; paths of pictures are relative to it.
        mapping: which of their columns become ours.
        reshape: per table, what is done with their rows before the mapping applies.
    """

    def __init__(self, folder: Path, mapping: Mapping, reshape: MappingOf[str, Reshape] | None = None) -> None:
        self.folder = folder
        self.mapping = mapping
        self._reshape = reshape or {}

    def files(self) -> list[Path]:
        patterns = [pattern for source in self.mapping.sources() for pattern in source.files]
        joined = [table for source in self.mapping.items for table in source.joined.values()]
        patterns += [pattern for table in joined for pattern in table.files]
        return [file for pattern in patterns for file in resolve(self.folder, pattern)]

    def batches(self) -> Iterator[Batch]:
        for source in self.mapping.sources():
            pictures, vectors = self._lookups(source)
            size = ITEMS_PER_BATCH if source.table == ItemSource.table else ROWS_PER_BATCH
            for file in [file for pattern in source.files for file in resolve(self.folder, pattern)]:
                for theirs, malformed in self._read(source, file, size):
                    if malformed is not None:
                        malformed = malformed.with_columns(pl.lit(self._name(file)).alias(schemas.FILE))
                        yield Batch(source.table, self._name(file), pl.DataFrame(), rejected=malformed)
                    for rows in theirs.iter_slices(size):
                        yield self._batch(source, file, rows, pictures, vectors)
            for lookup in (pictures, vectors):
                if lookup is not None:
                    yield Batch(source.table, "", pl.DataFrame(), rejected=lookup.leftovers())

    def _name(self, file: Path) -> str:
        return file.relative_to(self.folder).as_posix()

    def _lookups(self, source: Source) -> tuple[PictureLookup | None, VectorLookup | None]:
        if not isinstance(source, ItemSource):
            return None, None
        pictures, vectors = source.images, source.image_features
        return (
            None if pictures is None else PictureLookup(self.folder, pictures),
            None if vectors is None else VectorLookup(self.folder, vectors),
        )

    def _read(self, source: Source, file: Path, size: int) -> Iterator[tuple[pl.DataFrame, pl.DataFrame | None]]:
        """Their columns and :data:`schemas.ROW`, and the malformed lines."""
        if file.suffix != ".parquet":
            read = read_json_lines(file, size) if is_json_lines(file) else read_delimited(file, source.csv)
            for frame, malformed in read:
                yield (frame if frame.is_empty() else self._reshaped(source, file, frame)), malformed
            return
        parquet = open_parquet(file)
        names = parquet.schema_arrow.names
        if source.table not in self._reshape:
            names = _referenced(source)
            check_columns(file, names, parquet.schema_arrow.names)
        else:
            size = min(size, _NESTED_ROWS)
        start = 0
        for batch in parquet.iter_batches(size, columns=names):
            frame = pl.DataFrame(pl.from_arrow(batch))
            rows = pl.int_range(start, start + len(frame), eager=True).alias(schemas.ROW)
            yield self._reshaped(source, file, frame.with_columns(rows)), None
            start += len(frame)

    def _reshaped(self, source: Source, file: Path, theirs: pl.DataFrame) -> pl.DataFrame:
        if source.table in self._reshape:
            theirs = self._reshape[source.table](file, theirs)
        elif is_json_lines(file):  # an object may lack any key
            theirs = with_absent(theirs, _referenced(source))
        check_columns(file, _referenced(source), theirs.columns)
        return theirs

    def _batch(
        self,
        source: Source,
        file: Path,
        theirs: pl.DataFrame,
        pictures: PictureLookup | None,
        vectors: VectorLookup | None,
    ) -> Batch:
        try:
            ours = _ours(source, theirs.with_columns(cs.array().arr.to_list()))
        except pl.exceptions.PolarsError as error:
            fault = str(error).splitlines()[0]
            raise DataError(f"{file} does not fit its mapping: {fault}.", "Correct the mapping.") from error
        rejected = None
        if pictures is not None:
            images, rejected = pictures.of(id_text(ours[schemas.ITEM_ID]).to_list())
            ours = ours.with_columns(pl.Series(schemas.IMAGES, images, pl.List(pl.Binary)))
        elif schemas.IMAGES in ours.columns and ours.schema[schemas.IMAGES] == pl.List(pl.String):
            images, rejected = self._read_pictures(file, ours)
            ours = ours.with_columns(pl.Series(schemas.IMAGES, images, pl.List(pl.Binary)))
        if vectors is not None:
            ours = ours.with_columns(vectors.of(id_text(ours[schemas.ITEM_ID]).to_list()))
        return Batch(source.table, self._name(file), ours, source.time_format, rejected)

    def _read_pictures(self, file: Path, ours: pl.DataFrame) -> tuple[list[list[Image]], pl.DataFrame]:
        images: list[list[Image]] = []
        failed = []
        for item, row, paths in ours.select(schemas.ITEM_ID, schemas.ROW, schemas.IMAGES).iter_rows():
            images.append([])
            for path in [path for path in paths or () if path]:
                content = read_picture(self.folder, path)
                if isinstance(content, str):
                    record = json.dumps({schemas.ITEM_ID: str(item), "path": path}, ensure_ascii=False)
                    failed.append((self._name(file), row, content, record))
                else:
                    images[-1].append(content)
        return images, pl.DataFrame(failed, schema=REJECTED, orient="row")


def _referenced(source: Source) -> list[str]:
    """Their columns that the source uses, each once."""
    references = [
        ColumnPart.parse(reference).name for references in source.columns.values() for reference in references
    ]
    return list(dict.fromkeys([*references, *source.attributes]))


def _ours(source: Source, theirs: pl.DataFrame) -> pl.DataFrame:
    """Their rows under our names, and :data:`schemas.ROW`."""
    if source.missing:
        text = pl.col(pl.String)
        theirs = theirs.with_columns(pl.when(~text.is_in(source.missing)).then(text).name.keep())
    columns = {name: _column(source, name, theirs.schema) for name in source.columns}
    for name, values in source.values.items():
        columns[name] = columns[name].cast(pl.String).replace(values)
    columns |= {name: pl.lit(value) for name, value in source.constants.items()}
    if source.attributes:
        columns[schemas.ATTRIBUTES] = _attributes(source.attributes, theirs.schema)
    ours = theirs.select(pl.col(schemas.ROW), **columns)
    return _one_query_a_row(source, ours) if isinstance(source, QuerySource) else ours


def _column(source: Source, ours: str, schema: pl.Schema) -> pl.Expr:
    """The expression for one of our columns."""
    references = source.columns[ours]
    parts = [_part(source, reference, schema) for reference in references]
    if ours in _JOINED:
        texts = [part.cast(pl.List(pl.String)).list.join("\n") if is_list else part for part, is_list in parts]
        return pl.concat_str(texts, separator="\n", ignore_nulls=True)
    if ours in _LISTS:
        return pl.concat_list([part.fill_null([]) if is_list else _as_list(part) for part, is_list in parts])
    part, is_list = parts[0]
    if len(parts) > 1:
        raise ConfigError(f"{ours!r} takes one column, the mapping gives {', '.join(references)}.", "Choose one.")
    if is_list and ours not in (schemas.QUERY, schemas.IMAGE_FEATURES):
        raise ConfigError(
            f"{ours!r} takes one value, but {references[0]!r} is a list.", f"Choose an element: '{references[0]}[0]'."
        )
    return part


def _part(source: Source, reference: str, schema: pl.Schema) -> tuple[pl.Expr, bool]:
    """Their column or a part of it, and whether it is a list."""
    part = ColumnPart.parse(reference)
    column, is_list = pl.col(part.name), isinstance(schema[part.name], pl.List)
    if part.name in source.delimiters and not is_list:
        column, is_list = column.cast(pl.String).str.split(source.delimiters[part.name]), True
    if part.element is None and part.elements_from is None:
        return column, is_list
    if not is_list:
        raise ConfigError(
            f"{reference!r} asks for a part of {part.name!r}, which is not a list.",
            f"Drop the brackets, or name its delimiter: delimiters.{part.name} = '|'.",
        )
    if part.element is not None:
        return column.list.get(part.element, null_on_oob=True), False
    return column.list.slice(part.elements_from or 0), True


def _as_list(value: pl.Expr) -> pl.Expr:
    """A list of one value, empty where it is null."""
    return pl.concat_list(value).list.drop_nulls()


def _attributes(names: Sequence[str], schema: pl.Schema) -> pl.Expr:
    def text(name: str) -> pl.Expr:
        if isinstance(schema[name], pl.List):
            return pl.col(name).cast(pl.List(pl.String)).list.join(", ")
        return pl.col(name).cast(pl.String)

    pairs = pl.concat_list([pl.struct(key=pl.lit(name), value=text(name)) for name in names])
    return pairs.list.filter(pl.element().struct.field("value").is_not_null()).cast(_ATTRIBUTES)


def _one_query_a_row(source: QuerySource, ours: pl.DataFrame) -> pl.DataFrame:
    """Queries in lists become rows of their own; whoever has no ``query_id`` gets one."""
    if not isinstance(ours.schema[schemas.QUERY], pl.List):
        named = schemas.QUERY_ID in ours.columns
        return ours if named else ours.with_columns(pl.col(schemas.QUERY).alias(schemas.QUERY_ID))
    part = ColumnPart.parse(source.columns[schemas.QUERY][0])
    first, number = part.elements_from or 0, "number"
    count = pl.col(schemas.QUERY).list.len()
    ours = ours.filter(count > 0).with_columns(pl.int_ranges(first, first + count).alias(number))
    ours = ours.explode(schemas.QUERY, number)
    if schemas.QUERY_ID not in ours.columns:
        query_id = pl.format("{}#{}[{}]", pl.col(schemas.ITEM_ID), pl.lit(part.name), number)
        ours = ours.with_columns(query_id.alias(schemas.QUERY_ID))
    return ours.drop(number)
