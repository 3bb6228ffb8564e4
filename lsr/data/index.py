"""The index of one shard: where every member of every sample lies inside the tar.

Enough to read a sample with one ranged GET, without opening the tar.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lsr.core.errors import IntegrityError


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One sample. source: where it came from. split: `train` or `eval`. width, height: in pixels of the image it
    stands for. members: (offset, size) in bytes of each member's payload inside the tar, by extension."""

    key: str
    source: str
    split: str
    width: int
    height: int
    members: Mapping[str, tuple[int, int]]


def _schema() -> Any:
    import pyarrow as pa

    member = pa.struct([("ext", pa.string()), ("offset", pa.int64()), ("size", pa.int64())])
    texts = [(name, pa.string()) for name in ("key", "source", "split")]
    return pa.schema([*texts, ("width", pa.int32()), ("height", pa.int32()), ("members", pa.list_(member))])


def _plain(row: IndexRow) -> dict[str, Any]:
    members = [{"ext": e, "offset": o, "size": s} for e, (o, s) in sorted(row.members.items())]
    sizes = {"width": row.width, "height": row.height}
    return {"key": row.key, "source": row.source, "split": row.split, **sizes, "members": members}


def write_table(rows: list[dict[str, Any]], schema: Any) -> bytes:
    """Parquet bytes of plain rows; equal rows give equal bytes at equal pyarrow versions."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    table = pa.Table.from_pylist(rows, schema=schema)
    pq.write_table(table, sink, compression="zstd", write_statistics=False, store_schema=False)
    return sink.getvalue()


def write_index(rows: Iterable[IndexRow]) -> bytes:
    """Deterministic Parquet bytes of a shard's index, in the order of the samples in the tar."""
    return write_table([_plain(row) for row in rows], _schema())


def read_index(data: bytes, where: str = "this index") -> list[IndexRow]:
    """Read what `write_index` wrote. Raises IntegrityError, naming `where`, for anything else."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Not `read_table`, which imports pandas and Arrow's data sets: a quarter of a second before the first sample.
        plain = pq.ParquetFile(io.BytesIO(data)).read(use_threads=False).to_pylist()
        return [
            IndexRow(
                row["key"],
                row["source"],
                row["split"],
                row["width"],
                row["height"],
                {m["ext"]: (m["offset"], m["size"]) for m in row["members"]},
            )
            for row in plain
        ]
    except (pa.ArrowException, KeyError, TypeError, OSError) as error:
        raise IntegrityError(f"{where} is not a shard index: {error}.") from error
