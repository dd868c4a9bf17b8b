"""Every file format, compression and encoding gives the same rows; what is bad is named."""

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import subprocess
import sys

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orion.data.files import expand
from orion.data.formats import BadRow
from orion.data.sources import read_source
from orion.errors import InputError

ROWS = [{"q": f"What is {i}?\nThink.", "a": str(i)} for i in range(5)]


def to_csv(delimiter):
    text = io.StringIO()
    writer = csv.DictWriter(text, ["q", "a"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def to_binary(method):
    raw = io.BytesIO()
    getattr(pl.DataFrame(ROWS), method)(raw)
    return raw.getvalue()


JSONL = "".join(json.dumps(row) + "\n" for row in ROWS)
CONTENT = {
    ".jsonl": JSONL.encode(),
    ".ndjson": JSONL.encode().replace(b"\n", b"\r\n"),
    ".json": json.dumps(ROWS, indent=1).encode(),
    ".csv": to_csv(","),
    ".tsv": to_csv("\t"),
    ".parquet": to_binary("write_parquet"),
    ".arrow": to_binary("write_ipc_stream"),
    ".feather": to_binary("write_ipc"),
}
PACKED = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda raw: pa.compress(raw, codec="zstd", asbytes=True),
}


def read(path, **more):
    return list(read_source({"kind": "file", "path": str(path), **more}))


@pytest.mark.parametrize("packing", PACKED)
@pytest.mark.parametrize("ending", CONTENT)
def test_every_format_and_compression_gives_the_same_rows(tmp_path, ending, packing):
    path = tmp_path / f"rows{ending}{packing}"
    path.write_bytes(PACKED[packing](CONTENT[ending]))
    assert read(path) == ROWS


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv"])
def test_byte_order_marks_and_wide_encodings_are_read(tmp_path, ending, encoding):
    path = tmp_path / f"rows{ending}"
    path.write_bytes(CONTENT[ending].decode().encode(encoding))
    assert read(path) == ROWS


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", JSONL),
        ("a.jsonl", json.dumps(ROWS)),
        ("a.jsonl", json.dumps(ROWS, indent=2)),
        ("a.json", json.dumps({"version": 1, "data": ROWS})),
    ],
)
def test_json_under_another_name_or_in_an_object_is_read(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read(tmp_path / name) == ROWS


def test_a_format_that_the_name_does_not_say_is_asked_for(tmp_path):
    (tmp_path / "rows.txt").write_text(JSONL)
    with pytest.raises(InputError, match=r"rows\.txt: its name does not say.*set source\.format"):
        read(tmp_path / "rows.txt")
    assert read(tmp_path / "rows.txt", format="jsonl") == ROWS


@pytest.mark.parametrize(
    ("line", "reason", "detail"),
    [
        (b'{"q": ', "not_json", r"bad.jsonl, line 2: not JSON"),
        (b"[1]", "not_json", "line 2: not a JSON object"),
        (b'{"q": "\xff"}', "not_utf8", "line 2: not UTF-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not_json", "line 2: not JSON"),
        (b"[" * 100_000, "not_json", "line 2: not JSON"),
    ],
)
def test_one_bad_line_is_one_bad_row(tmp_path, line, reason, detail):
    lines = [json.dumps(row).encode() for row in ROWS]
    (tmp_path / "bad.jsonl").write_bytes(b"\n".join([lines[0], line, lines[1]]))
    good, bad, last = read(tmp_path / "bad.jsonl")
    assert (good, last) == (ROWS[0], ROWS[1])
    assert isinstance(bad, BadRow) and bad.reason == reason and detail in bad.detail


def test_a_csv_row_of_too_many_values_is_one_bad_row(tmp_path):
    (tmp_path / "bad.csv").write_text("q,a\nx,1\ny,2,3\nz,\n")
    good, bad, last = read(tmp_path / "bad.csv")
    assert good == {"q": "x", "a": "1"} and last == {"q": "z", "a": None}
    assert isinstance(bad, BadRow) and "row 2: 3 values, 2 columns" in bad.detail


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz", ".zst"])
def test_a_cut_off_compressed_file_is_named(tmp_path, ending):
    raw = PACKED[ending](JSONL.encode() * 500)
    (tmp_path / f"r.jsonl{ending}").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(InputError, match=rf"r\.jsonl\{ending}: damaged {ending[1:]} file"):
        read(tmp_path / f"r.jsonl{ending}")


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("a.parquet", b"PAR1xx", "a.parquet: not a parquet file"),
        ("a.arrow", b"ARROW1xx", "a.arrow: not an Arrow file"),
        ("a.json", b'[{"q": 1}, {"q', "a.json, item 1: not JSON"),
        ("a.json", b'[{"q": 1}', "a.json, item 1: not JSON"),
        ("a.json", b'"text"', "holds neither an array"),
        ("a.csv", b"q,q\n1,2\n", "two columns have one name"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_named(tmp_path, name, raw, message):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)


def test_a_json_array_is_read_item_by_item(tmp_path, monkeypatch):
    monkeypatch.setattr("orion.data.streams.CHUNK", 7)
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    assert read(tmp_path / "a.json") == ROWS
    broken = json.dumps(ROWS)[:-30]
    (tmp_path / "b.json").write_text(broken)
    rows = read_source({"kind": "file", "path": str(tmp_path / "b.json")})
    # the rows before the damage come first, so a limit need not reach it
    assert [next(rows) for _ in range(4)] == ROWS[:4]


def test_only_the_wanted_columns_of_a_parquet_file_are_read(tmp_path):
    path = tmp_path / "a.parquet"
    pl.DataFrame([{**row, "long": "x" * 1000} for row in ROWS]).write_parquet(path)
    source = {"kind": "file", "path": str(path)}
    assert list(read_source(source, frozenset({("q",)}))) == [{"q": row["q"]} for row in ROWS]
    # a missing column needs all names for its message
    assert set(next(read_source(source, frozenset({("q",), ("b",)})))) == {"q", "a", "long"}


def test_a_folder_a_glob_and_odd_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for n in range(3):
        pl.DataFrame([{"q": str(n)}]).write_parquet(f"part-{n:05}-of-00003.parquet")
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "README.md").write_text("text")
    wanted = [{"q": str(n)} for n in range(3)]
    assert read(".") == read("part-*.parquet") == wanted
    pl.DataFrame([{"q": "odd"}]).write_parquet("data[v2].parquet")
    assert read("data[v2].parquet") == [{"q": "odd"}]


def test_a_missing_shard_and_a_mixed_folder_are_named(tmp_path):
    for n in (0, 2):
        (tmp_path / f"train-{n:05}-of-00003.parquet").write_bytes(b"")
    with pytest.raises(InputError, match="shard 00001 of 3 of train is missing"):
        expand(str(tmp_path))
    (tmp_path / "x.csv").write_text("q\n")
    with pytest.raises(InputError, match=r"several formats \(csv, parquet\); name those .*glob"):
        expand(str(tmp_path))


def test_a_missing_file_an_empty_folder_and_a_glob_without_a_match_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("none.jsonl", "empty", "*.jsonl"):
        with pytest.raises(InputError, match="no such file"):
            read(tmp_path / name)


READ = """
import pathlib, sys
from orion.data import formats

def resident():
    text = pathlib.Path("/proc/self/status").read_text()
    return int(text.split("RssAnon:")[1].split()[0]) / 1024

before = most = 0
for number, _ in enumerate(formats.read_parquet(pathlib.Path(sys.argv[1]))):
    if number == 400:
        before = resident()
    if number % 100 == 0:
        most = max(most, resident())
print(most - before)
"""


def test_a_parquet_file_of_many_groups_is_not_held_in_memory(tmp_path):
    """96 MB, as they stand there, in 24 row groups of 4 MB."""
    path, draw = tmp_path / "rows.parquet", random.Random(0)
    rows = [{"text": draw.randbytes(5_000).hex()} for _ in range(400)]
    table = pa.Table.from_pylist(rows)
    with pq.ParquetWriter(path, table.schema, compression="none", use_dictionary=False) as writer:
        for _ in range(24):
            writer.write_table(table)
    assert path.stat().st_size > 90e6
    done = subprocess.run(
        [sys.executable, "-c", READ, str(path)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 40
