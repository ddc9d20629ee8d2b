"""Files and results of embedding as tables, for transfer between machines."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from retrieval.indexing.embed import Embedded, Result
from retrieval.indexing.intake import Recognised
from retrieval.indexing.walk import Candidate, Skipped
from retrieval.store.schema import Item

_CANDIDATES = pa.schema(
    [
        ("number", pa.int64()),
        ("path", pa.string()),
        ("file", pa.string()),
        ("size_bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("ctime_ns", pa.int64()),
        ("caption_file", pa.string()),
        ("caption_mtime_ns", pa.int64()),
    ]
)
_RESULTS = pa.schema(
    [
        ("number", pa.int64()),
        ("payload", pa.string()),
        ("feature", pa.binary()),
        ("codes", pa.binary()),
    ]
)


def rows_of_candidates(candidates: Sequence[Candidate]) -> pa.Table:
    """Return files as rows, numbered from 0."""
    columns: dict[str, list[Any]] = {
        name: [getattr(candidate, name) for candidate in candidates]
        for name in ("path", "size_bytes", "mtime_ns", "ctime_ns", "caption_mtime_ns")
    }
    columns["number"] = list(range(len(candidates)))
    columns["file"] = [str(candidate.file) for candidate in candidates]
    columns["caption_file"] = [
        candidate.caption_file and str(candidate.caption_file) for candidate in candidates
    ]
    return pa.table(columns, schema=_CANDIDATES)


def candidates_of(rows: pa.Table) -> list[Candidate]:
    """Return files from rows."""
    return [
        Candidate(
            path=row["path"],
            file=Path(row["file"]),
            size_bytes=row["size_bytes"],
            mtime_ns=row["mtime_ns"],
            ctime_ns=row["ctime_ns"],
            caption_file=Path(row["caption_file"]) if row["caption_file"] else None,
            caption_mtime_ns=row["caption_mtime_ns"],
        )
        for row in rows.to_pylist()
    ]


def rows_of_results(results: Iterable[Result], files: pa.Table) -> pa.Table:
    """Return results as rows, with the numbers of their files."""
    rows = [
        {"number": number, **_row(result)}
        for number, result in zip(files.column("number").to_pylist(), results, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=_RESULTS)


def results_of(rows: pa.Table, candidates: Sequence[Candidate]) -> Iterator[Result]:
    """Yield the results in rows; their numbers refer to `candidates`."""
    for row in rows.to_pylist():
        payload = json.loads(row["payload"])
        if "item" in payload:
            for name in ("tags", "copies"):
                payload["item"][name] = tuple(payload["item"][name])
            yield Embedded(
                item=Item(**payload["item"]),
                feature=np.frombuffer(row["feature"], np.float32),
                codes=np.frombuffer(row["codes"], np.int8),
                problem=payload["problem"] and Skipped(**payload["problem"]),
            )
        elif "id" in payload:
            yield Recognised(id=payload["id"], candidate=candidates[row["number"]])
        else:
            yield Skipped(**payload)


def _row(result: Result) -> dict[str, Any]:
    match result:
        case Embedded():
            problem = None if result.problem is None else asdict(result.problem)
            return {
                "payload": json.dumps({"item": asdict(result.item), "problem": problem}),
                "feature": result.feature.astype(np.float32).tobytes(),
                "codes": result.codes.tobytes(),
            }
        case Recognised():
            return {"payload": json.dumps({"id": result.id})}
        case Skipped():
            return {"payload": json.dumps(asdict(result))}
