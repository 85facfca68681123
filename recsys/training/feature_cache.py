"""FeatureCache: what a frozen image encoder makes of a picture, computed once and kept as Arrow.

``<folder>/<encoder>/<n>.arrow`` holds states of pictures by the hash of their bytes, in the order they were first met.
The encoder's folder is named by a hash of its weights, its preprocessing and what is read of it, so another encoder
never meets these states. A file appears by rename when it is whole: a killed run computes only its last part again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from recsys.encoders.image import ImageEncoder
from recsys.towers.weights import unique_weights
from recsys.types import Image

HASH, STATES, SHAPE = "hash", "states", "shape"
PICTURES_AT_ONCE = 64
FILE_PICTURES = 4096


class FeatureCache:
    """States of pictures by content.

    Args:
        folder: of all caches.
        encoder: frozen.
        pooled: keep the pooled state ``[width]`` instead of all states ``[t, width]``.
    """

    def __init__(self, folder: Path, encoder: ImageEncoder, pooled: bool) -> None:
        self.encoder = encoder
        self.pooled = pooled
        self.folder = folder / _key(encoder, pooled)

    def states(self, pictures: Iterable[Image | None]) -> npt.NDArray[np.float16]:
        """States of pictures, computed where they are not there yet.

        Args:
            pictures: encoded; ``None`` where there is none. Iterated once and never held in memory together.

        Returns:
            float16 ``[n, t, width]`` or, pooled, ``[n, width]``, zeros where there is no picture.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        known: set[bytes] = set()
        for table in self._tables():
            known.update(table.column(HASH).to_pylist())
        names: list[bytes | None] = []
        unknown = self._unknown(pictures, known, names)
        while part := list(islice(unknown, FILE_PICTURES)):
            self._append(part)
        return self._collect(names)

    def _unknown(
        self, pictures: Iterable[Image | None], known: set[bytes], names: list[bytes | None]
    ) -> Iterator[tuple[bytes, npt.NDArray[np.float16]]]:
        """Notes every picture's name; yields name and states of those met for the first time."""
        waiting: dict[bytes, Image] = {}
        for picture in pictures:
            name = hashlib.sha256(picture).digest()[:16] if picture is not None else None
            names.append(name)
            if picture is None or name is None or name in known:
                continue
            known.add(name)
            waiting[name] = picture
            if len(waiting) == PICTURES_AT_ONCE:
                yield from zip(waiting, self._compute(list(waiting.values())), strict=True)
                waiting = {}
        if waiting:
            yield from zip(waiting, self._compute(list(waiting.values())), strict=True)

    @torch.inference_mode()
    def _compute(self, pictures: list[Image]) -> npt.NDArray[np.float16]:
        self.encoder.eval()
        pixels = torch.from_numpy(self.encoder.prepare(pictures)).to(self.encoder.mean.device)
        states = self.encoder(pixels) if self.pooled else self.encoder.states(pixels)
        return states.half().cpu().numpy()

    def _append(self, part: list[tuple[bytes, npt.NDArray[np.float16]]]) -> None:
        stacked = np.stack([states for _, states in part])
        flat = pa.FixedSizeListArray.from_arrays(pa.array(stacked.ravel()), int(np.prod(stacked.shape[1:])))
        schema = pa.schema(
            [(HASH, pa.binary(16)), (STATES, flat.type)], metadata={SHAPE: json.dumps(stacked.shape[1:])}
        )
        table = pa.Table.from_arrays([pa.array([name for name, _ in part], pa.binary(16)), flat], schema=schema)
        file = self.folder / f"{len(list(self.folder.glob('*.arrow')))}.arrow"
        partial = file.with_suffix(".partial")
        with pa.OSFile(str(partial), "wb") as stream, pa.ipc.new_file(stream, schema) as writer:
            writer.write_table(table)
        partial.replace(file)

    def _tables(self) -> Iterator[pa.Table]:
        for file in sorted(self.folder.glob("*.arrow")):
            yield pa.ipc.open_file(pa.memory_map(str(file))).read_all()

    def _collect(self, names: list[bytes | None]) -> npt.NDArray[np.float16]:
        rows: dict[bytes, list[int]] = {}
        for row, name in enumerate(names):
            if name is not None:
                rows.setdefault(name, []).append(row)
        out = np.zeros(
            (len(names), self.encoder.width) if self.pooled else (len(names), 1, self.encoder.width), np.float16
        )
        for number, table in enumerate(self._tables()):
            shape = tuple(json.loads(table.schema.metadata[SHAPE.encode()]))
            if number == 0:
                out = np.zeros((len(names), *shape), np.float16)
            values = table.column(STATES).combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, *shape)
            for place, name in enumerate(table.column(HASH).to_pylist()):
                out[rows.get(name, [])] = values[place]
        return out


def _key(encoder: ImageEncoder, pooled: bool) -> str:
    digest = hashlib.sha256(json.dumps([encoder.describe(), pooled], sort_keys=True).encode())
    for name, tensor in unique_weights(encoder).items():
        digest.update(name.encode())
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
