"""Problems from their source: generated, JSONL, JSONL.zst, Parquet or a hub dataset → problems and rejected rows.

Rows are renamed by the field mapping, checked one by one, and compared with the benchmarks; an unusable row is set aside
with its reason, and a source with too many of them, or without a mapped column, stops the run.
Run: ``python -m orion.dataset --config JSON --output O --rejected R [--benchmark B ...]``.
"""

import dataclasses
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import polars as pl

from orion import provenance, stage, tables
from orion.errors import InputError

# words: a benchmark problem shorter than the n-gram still counts where it is at least this long
SHORTEST_RUN = 8
OURS = ("problem_id", "problem", "answer", "solution", "teacher_trace")


def source_rows(source: dict) -> Iterator[dict]:
    """The rows of a source block as dictionaries; raises InputError where the source cannot be read."""
    readers = {
        "demo": _demo_rows,
        "jsonl": _jsonl_rows,
        "parquet": _parquet_rows,
        "huggingface": _hub_rows,
    }
    return readers[source["kind"]](source)


def _demo_rows(source: dict) -> Iterator[dict]:
    from orion.demo import problems

    for number, problem in enumerate(
        problems.generate(source["level"], source["n"], source["seed"])
    ):
        yield {"id": f"{source['level']}-{number:05}", **dataclasses.asdict(problem)}


def _jsonl_rows(source: dict) -> Iterator[dict]:
    path = _existing(source["path"])
    for number, line in enumerate(_readable(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: not JSON ({error}); mend or remove the line"
            ) from None
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: not a JSON object; every line holds one row")
        yield row


def _readable(path: Path) -> Iterator[str]:
    try:
        yield from _lines(path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error}); convert the file") from None
    except OSError as error:
        raise InputError(f"{path}: damaged zst file ({error}); fetch it again") from None


def _lines(path: Path) -> Iterator[str]:
    if path.suffix != ".zst":
        with open(path, encoding="utf-8") as handle:
            yield from handle
        return
    import pyarrow

    # unlike the zstandard package, pyarrow does not take a file that was cut off for a shorter one
    with pyarrow.input_stream(str(path), compression="zstd") as stream:
        yield from io.TextIOWrapper(stream, encoding="utf-8")


def _parquet_rows(source: dict) -> Iterator[dict]:
    path = _existing(source["path"])
    try:
        yield from pl.read_parquet(path).iter_rows(named=True)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: not a parquet file ({error})") from None


def _hub_rows(source: dict) -> Iterator[dict]:
    import datasets

    try:
        rows = datasets.load_dataset(
            source["repo"], source.get("name"), split=source["split"], revision=source["revision"]
        )
    except (
        Exception
    ) as error:  # the library raises many kinds; all of them mean the same to the user
        raise InputError(
            f"dataset {source['repo']} at {source['revision']}: {error}; check repo, name, split and revision, or fetch it "
            "beforehand where compute nodes are offline"
        ) from None
    yield from rows


def _existing(path: str) -> Path:
    if not Path(path).is_file():
        raise InputError(
            f"{path}: no such file (relative to {Path.cwd().name}/); correct `path` in the configuration"
        )
    return Path(path)


def mapped(rows: Iterable[dict], fields: dict, keep: dict, origin: str) -> list[dict]:
    """Rows renamed to our columns, with the source row's number and its other columns as ``meta``.

    Raises InputError if a mapped column is absent from every row.
    """
    names = {ours: fields[ours] for ours in OURS if fields.get(ours) is not None}
    seen: set[str] = set()
    result = []
    for number, row in enumerate(rows):
        seen.update(row)
        if any(row.get(column) != value for column, value in keep.items()):
            continue
        ours = {name: row.get(column) for name, column in names.items()}
        if "problem_id" not in names:
            ours["problem_id"] = f"row-{number}"
        result.append({**dict.fromkeys(OURS), **ours, "row": number, "source_row": row})
    for name, column in [*names.items(), *((f"keep.{c}", c) for c in keep)]:
        if column not in seen:
            have = ", ".join(sorted(seen)[:20]) or "no column at all"
            raise InputError(
                f"{origin}: no row has the column {column!r} that {name} maps to; the columns are: {have}"
            )
    return result


def with_traces(rows: list[dict], traces: dict) -> list[dict]:
    """Rows with ``teacher_trace`` filled from another source; the first trace of a key is taken."""
    found: dict[str, str] = {}
    for row in source_rows(traces["source"]):
        if all(row.get(column) == value for column, value in traces["keep"].items()):
            key, trace = row.get(traces["key"]), row.get(traces["teacher_trace"])
            if isinstance(key, str | int) and isinstance(trace, str):
                found.setdefault(str(key).strip(), trace)
    if not found:
        raise InputError(
            f"traces: no usable row in {traces['source']} (key {traces['key']!r}, trace {traces['teacher_trace']!r}, "
            f"keep {traces['keep']}); correct the mapping"
        )
    return [
        {**row, "teacher_trace": found.get(str(row[traces["join_on"]]).strip())} for row in rows
    ]


def same_text(text: str) -> str:
    """A text for the comparison of whole problems: case and white space do not count, every sign does."""
    return " ".join(text.casefold().split())


def normalised(text: str) -> str:
    """A text for runs of shared words: lower case, words only."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def ngrams(text: str, n: int) -> set[str]:
    """All runs of n words of a normalised text; none if it is shorter."""
    words = text.split()
    return {" ".join(words[i : i + n]) for i in range(len(words) - n + 1)}


class HeldOut:
    """The benchmark problems that a training problem must not repeat."""

    def __init__(self, problems: dict[str, str], ngram: int | None):
        """``problems`` maps a text to where it stands; ``ngram`` None compares whole texts only."""
        self.same = {same_text(text): where for text, where in problems.items()}
        self.grams: dict[str, str] = {}
        for text, where in problems.items():
            words = normalised(text)
            size = len(words.split())
            # a short problem counts as one run, if it is long enough to be no accident
            for gram in (
                ngrams(words, min(ngram, size))
                if ngram and size >= min(ngram, SHORTEST_RUN)
                else ()
            ):
                self.grams.setdefault(gram, where)
        self.sizes = sorted({gram.count(" ") + 1 for gram in self.grams})

    def hit(self, text: str) -> str | None:
        """How a problem repeats a benchmark, or None."""
        where = self.same.get(same_text(text))
        if where:
            return f"equal to {where}"
        words = normalised(text)
        for size in self.sizes:
            for gram in sorted(ngrams(words, size)):
                if gram in self.grams:
                    return f"shares {size} consecutive words with {self.grams[gram]}"
        return None


def judged(rows: list[dict], held_out: HeldOut) -> tuple[list[dict], list[dict]]:
    """Split rows into usable ones and rejected ones with a reason."""
    good, bad = [], []
    ids: dict[str, int] = {}
    texts: dict[str, int] = {}
    for row in rows:
        reason, detail = _fault(row, ids, texts, held_out)
        if reason:
            bad.append(
                {
                    "row": row["row"],
                    "problem_id": _text(row["problem_id"]),
                    "reason": reason,
                    "detail": detail,
                }
            )
        else:
            ids[str(row["problem_id"])] = row["row"]
            texts[same_text(str(row["problem"]))] = row["row"]
            good.append(row)
    return good, bad


def _fault(row: dict, ids: dict, texts: dict, held_out: HeldOut) -> tuple[str | None, str | None]:
    for name in ("problem_id", "problem", "answer"):
        if row[name] is None or not str(row[name]).strip():
            return f"missing_{name}", f"{name} is empty or absent"
    for name in OURS:
        if row[name] is not None and not _is_text(row[name]):
            return (
                "wrong_type",
                f"{name} is a {type(row[name]).__name__}, not a text: {str(row[name])[:60]!r}",
            )
    if str(row["problem_id"]) in ids:
        return "duplicate_problem_id", f"row {ids[str(row['problem_id'])]} has the same id"
    problem = str(row["problem"])
    if same_text(problem) in texts:
        return "duplicate_problem", f"row {texts[same_text(problem)]} has the same text"
    hit = held_out.hit(problem)
    return ("contaminated", hit) if hit else (None, None)


def _is_text(value) -> bool:
    """Whether a cell is a text or a plain number; lists, dictionaries, booleans and NaN are not."""
    if isinstance(value, float):
        return value == value
    return isinstance(value, str | int) and not isinstance(value, bool)


def _text(value) -> str | None:
    """A cell as text: integral floats as integers, everything else as Python prints it."""
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def frame(rows: list[dict], *, generated: bool = False) -> pl.DataFrame:
    """The problems table; ``meta`` keeps the source row's number and what a demo problem knows of itself."""
    records = []
    for row in rows:
        # only the generator's own meta is kept: a file's column of that name may hold anything
        own = row["source_row"]["meta"] if generated else {}
        meta = {"source_row": row["row"], **own}
        records.append({**{name: _text(row[name]) for name in OURS}, "meta": meta})
    return pl.DataFrame(
        records, schema_overrides=dict.fromkeys(OURS, pl.String), infer_schema_length=None
    )


def benchmark_texts(paths: list[str]) -> dict[str, str]:
    """Text of every benchmark problem → where it stands."""
    texts = {}
    for path in paths:
        for problem_id, problem in (
            tables.read(path, tables.PROBLEMS).select("problem_id", "problem").iter_rows()
        ):
            texts[problem] = f"{Path(path).parent.name}/{problem_id}"
    return texts


def main(argv: list[str] | None = None) -> None:
    parser = stage.parser(__doc__, "output", "rejected")
    parser.add_argument(
        "--benchmark",
        nargs="*",
        default=[],
        metavar="PATH",
        help="problems tables to keep apart from",
    )
    args = parser.parse_args(argv)
    config, source = args.config, args.config["source"]
    origin = source.get("path") or source.get("repo") or f"demo level {source.get('level')}"
    rows = mapped(source_rows(source), config["fields"], config["keep"], origin)[
        : config.get("limit")
    ]
    if config.get("traces"):
        rows = with_traces(rows, config["traces"])
    held_out = HeldOut(benchmark_texts(args.benchmark), config.get("decontaminate_ngram"))
    good, bad = judged(rows, held_out)
    counts = Counter(row["reason"] for row in bad)
    stage.log(
        f"{origin}: {len(rows)} rows, {len(good)} usable"
        + "".join(f", {n} {r}" for r, n in counts.most_common())
    )
    paths = {f"benchmark:{Path(p).parent.name}": p for p in args.benchmark}
    files = {
        s["path"]: s["path"]
        for s in (source, (config.get("traces") or {}).get("source", {}))
        if s.get("path")
    }
    record = provenance.record("orion.dataset", config, {**paths, **files})
    tables.write(tables.from_rows(bad, tables.REJECTED), args.rejected, tables.REJECTED, record)
    if not good or len(bad) > config["max_rejected"] * len(rows):
        first = "".join(
            f"\n  row {r['row']} ({r['problem_id']}): {r['reason']}: {r['detail']}" for r in bad[:5]
        )
        raise InputError(
            f"{origin}: {len(bad)} of {len(rows)} rows are unusable, more than max_rejected = {config['max_rejected']}; "
            f"the first ones:{first}\nmend them, or raise max_rejected if they may be left out"
        )
    tables.write(
        frame(good, generated=source["kind"] == "demo"),
        args.output,
        tables.PROBLEMS,
        record,
        rows=len(good),
    )


if __name__ == "__main__":
    stage.run(main)
