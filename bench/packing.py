"""Peak memory and speed of packing, and of reading packed rows in shuffled order, by size.

Inputs: the numbers of tokens; a folder with SmolLM2's tokenizer (49,152 entries) and real traces,
from which DISTINCT documents of lognormal lengths are cut; the folder of an unpacked TRL 1.16 wheel
(``--trl``), the peer. Outputs: a table on standard output; exit status 1 where memory grows by more
than MAX_GROWTH_MB from the smallest size to the largest, or a token's processor time by more than
the factor MAX_SLOWDOWN. Each part is a process of its own. The tokenizer reads each document once,
and its time is a line apart: it is not in that of the stage `pack`, nor is what the stage does
once, such as loading the tokenizer. Processor time is that of all threads; the peak counts the
pages of mapped files.
Run in the top folder of the checkout: ``python -m bench.packing [--tokens 1e6 1e7 1e8]
[--data DIR] [--trl DIR] [--peer-up-to 1e8] [--folder DIR]``.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench.answers import resident
from orion import tables
from orion.models.document import ModelDocument

MAX_LENGTH = 4096
MAX_GROWTH_MB = 100
MAX_SLOWDOWN = 1.5
# tokens of a document: the median, and the spread of the logarithm; about 480 on average
MEDIAN, SPREAD = 320, 0.9
# of these texts, by this tokenizer
LETTERS_PER_TOKEN = 3.1
# documents that the tokenizer sees; the rows are many times the same ones
DISTINCT = 2_000
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CHILD = "from bench import packing; import sys; packing.run_part(*sys.argv[1:])"


@contextmanager
def measure(name: str, found: dict[str, Any]) -> Iterator[None]:
    """Add the seconds and the processor seconds of the block to what was found."""
    start, cpu = time.perf_counter(), time.process_time()
    yield
    found[name] = [time.perf_counter() - start, time.process_time() - cpu]


def time_calls(owner: Any, name: str) -> np.ndarray:
    """Let a function add up its seconds and processor seconds in the array that is returned."""
    function, spent = getattr(owner, name), np.zeros(2)

    def call(*args: Any, **keys: Any) -> Any:
        start = np.array([time.perf_counter(), time.process_time()])
        result = function(*args, **keys)
        spent[:] += np.array([time.perf_counter(), time.process_time()]) - start
        return result

    setattr(owner, name, call)
    return spent


def remember_calls(owner: Any, name: str) -> dict[Any, Any]:
    """Let a method give the same result for the same arguments, which are in what is returned."""
    method, known = getattr(owner, name), {}

    def call(self: Any, *args: Any, **keys: Any) -> Any:
        if args not in known:
            known[args] = method(self, *args, **keys)
        return known[args]

    setattr(owner, name, call)
    return known


def write_inputs(folder: Path, tokens: int, data: Path) -> None:
    """model.json with the tokenizer, and train.parquet with texts of so many tokens, about."""
    from transformers import PreTrainedTokenizerFast

    words = PreTrainedTokenizerFast(
        tokenizer_file=str(data / "smollm2-tokenizer/tokenizer.json"),
        eos_token="<|im_end|>",
        chat_template=TEMPLATE,
    )
    words.save_pretrained(folder / "model")
    document = ModelDocument(
        name="bench",
        digest="0" * 64,
        path=str(folder / "model"),
        chat_template=TEMPLATE,
        context_length=MAX_LENGTH,
    )
    tables.write_json(document.as_json(), folder / "model.json", {})
    random = np.random.default_rng(0)
    documents = draw_documents(data, random)
    left, number = tokens, 0
    with tables.Writer(folder / "train.parquet", tables.TRAIN, {}) as writer:
        while left > 0:
            rows = []
            for index in random.integers(0, DISTINCT, 2_048).tolist():
                prompt, completion, length = documents[index]
                row = {"problem_id": f"p{number:09}", "row": 0, "target_kind": "solution"}
                row |= {"prompt": prompt, "completion": completion, "sample_id": None}
                rows.append(row | {"error_sample_ids": [], "filters_passed": []})
                left, number = left - length, number + 1
                if left <= 0:
                    break
            writer.write(tables.from_rows(rows, tables.TRAIN))


def draw_documents(data: Path, random: np.random.Generator) -> list[tuple[str, str, int]]:
    """Prompt, completion, and tokens, about, of DISTINCT documents."""
    text = read_texts(data / "teacher_traces.jsonl.zst")
    lengths = np.exp(np.log(MEDIAN) + SPREAD * random.standard_normal(DISTINCT))
    lengths = np.clip(lengths, 64, 0.9 * MAX_LENGTH).astype(int)
    starts = random.integers(0, len(text) // 2, (2, DISTINCT))
    letters = (lengths * LETTERS_PER_TOKEN).astype(int) - 100
    return [
        (text[asked : asked + 60], text[told : told + size], int(length))
        for asked, told, size, length in zip(*starts, letters, lengths, strict=True)
    ]


def read_texts(path: Path) -> str:
    """The real traces end to end, without marks of thinking and control tokens."""
    import pyarrow as pa

    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        rows = io.TextIOWrapper(stream, encoding="utf-8")
        traces = [json.loads(row)["response"] for row in rows]
    return " ".join(traces).replace("<", " ").replace(">", " ").replace("\n\n", "\n")


def run_pack(folder: Path, _trl: str) -> dict[str, Any]:
    """The stage, without the time of the encoder, and that time."""
    from orion.models.training_documents import DocumentEncoder
    from orion.stages import pack

    found: dict[str, Any] = {"before": resident()}
    encoding = time_calls(DocumentEncoder, "encode")
    documents = remember_calls(DocumentEncoder, "encode")
    # the tokenizer is loaded and all sources are read once, whatever the size
    start = time_calls(pack, "make_encoder"), time_calls(pack.provenance, "record")
    words = ["--config", json.dumps({"max_length": MAX_LENGTH, "min_rows": 1})]
    names = {"train": "train.parquet", "model": "model.json", "output": "packed.parquet"}
    names |= {"stats": "stats.json"}
    words += [word for name, file in names.items() for word in (f"--{name}", str(folder / file))]
    with measure("all", found):
        pack.main(words)
    stats = tables.read_json(folder / "stats.json")
    whole = np.array(found.pop("all"))
    share = sum(len(ids) for ids, _ in documents.values()) / stats["tokens"]
    found["tokenizer, template"] = (encoding / share).tolist()
    found["pack"] = (whole - encoding - sum(start)).tolist()
    return found | {key: stats[key] for key in ("tokens", "documents", "rows", "fill")}


def run_read(folder: Path, _trl: str) -> dict[str, Any]:
    """What the stage `train` does with the packed table: one copy, and a pass with collation."""
    from orion.training.packed_rows import collate_packed, store_rows

    found: dict[str, Any] = {"before": resident()}
    with measure("copy for training", found):
        rows, _ = store_rows(folder / "packed.parquet", folder / "work")
    tokens = 0
    with measure("shuffled pass, collated", found):
        for index in np.random.default_rng(1).permutation(len(rows)).tolist():
            tokens += collate_packed([rows[index]])["input_ids"].shape[1]
    return found | {"tokens": tokens, "rows": len(rows)}


def write_documents(folder: Path) -> None:
    """The packed documents one by one, as a file for the library datasets, in another order."""
    import pyarrow as pa

    from orion.training.table_slices import read_slices

    random = np.random.default_rng(2)
    columns = ["input_ids", "labels", "seq_lengths"]
    kind = pa.schema({"input_ids": pa.list_(pa.int32()), "completion_mask": pa.list_(pa.int32())})
    with pa.ipc.new_stream(str(folder / "documents.arrow"), kind) as writer:
        slices = read_slices(folder / "packed.parquet", tables.PACKED, columns, rows=256)
        for frame in slices:
            ids, labels, lengths = (frame[c].explode().to_numpy() for c in columns)
            ends = np.cumsum(lengths)
            order = random.permutation(len(ends))
            spans = [slice(ends[i] - lengths[i], ends[i]) for i in order]
            arrays = [[v[s] for s in spans] for v in (ids, (labels != -100).astype(np.int32))]
            batch = [pa.array(a, t) for a, t in zip(arrays, kind.types, strict=True)]
            writer.write_batch(pa.record_batch(batch, schema=kind))


def run_trl(folder: Path, trl: str) -> dict[str, Any]:
    """TRL's packing of the same documents, and a pass with its collator."""
    sys.path.insert(0, trl)
    import datasets
    from trl.data_utils import pack_dataset
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    datasets.disable_progress_bars()
    found: dict[str, Any] = {"before": resident()}
    documents = datasets.Dataset.from_file(str(folder / "documents.arrow"))
    with measure("pack", found):
        packed = pack_dataset(
            documents,
            MAX_LENGTH,
            "bfd",
            {"cache_file_name": str(folder / "trl.arrow")},
        )
    collate = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    tokens = 0
    with measure("shuffled pass, collated", found):
        for index in np.random.default_rng(1).permutation(len(packed)).tolist():
            tokens += collate([packed[index]])["input_ids"].shape[1]
    fill = tokens / (len(packed) * MAX_LENGTH)
    return found | {"tokens": tokens, "rows": len(packed), "fill": fill}


PARTS = {"ORION pack": run_pack, "ORION train": run_read, "TRL": run_trl}


def run_part(name: str, folder: str, tokens: str, data: str, trl: str) -> None:
    """One part in this process; its figures are the last line on standard output."""
    if name == "inputs":
        write_inputs(Path(folder), int(tokens), Path(data))
    elif name == "documents":
        write_documents(Path(folder))
    else:
        found = PARTS[name](Path(folder), trl)
        print(json.dumps(found | {"peak": resident()}))


def start_part(name: str, folder: Path, tokens: int, args: argparse.Namespace) -> dict[str, Any]:
    words = [sys.executable, "-c", CHILD, name, str(folder), str(tokens), args.data, args.trl or ""]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1])) if name in PARTS else {}


def run_size(tokens: int, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The lines of one size."""
    start_part("inputs", folder, tokens, args)
    names = ["ORION pack", "ORION train"]
    if args.trl and tokens <= args.peer_up_to:
        names.append("TRL")
    lines = []
    for name in names:
        if name == "TRL":
            start_part("documents", folder, tokens, args)
        found = start_part(name, folder, tokens, args)
        size = found["tokens"] / 1e6
        for part, (seconds, cpu) in ((k, v) for k, v in found.items() if isinstance(v, list)):
            line = {"M tokens": round(size, 2), "what": name, "part": part}
            line |= {"s per M": seconds / size, "CPU s per M": cpu / size}
            line |= {"peak MB": found["peak"], "imports MB": found["before"]}
            lines.append(line | {"rows": found["rows"], "fill": found.get("fill")})
        print(f"{name}, {tokens:,} tokens: {found}", file=sys.stderr, flush=True)
    return lines


def find_faults(lines: list[dict[str, Any]]) -> list[str]:
    """Where our memory or the time of a token grows from the smallest size to the largest."""
    faults = []
    for name in dict.fromkeys((line["what"], line["part"]) for line in lines):
        chosen = [line for line in lines if (line["what"], line["part"]) == name]
        first, last = chosen[0], chosen[-1]
        grown = last["peak MB"] - first["peak MB"]
        slower = last["CPU s per M"] / max(first["CPU s per M"], 1e-9)
        if name[0].startswith("ORION") and (grown > MAX_GROWTH_MB or slower > MAX_SLOWDOWN):
            faults.append(f"{', '.join(name)}: {grown:+.0f} MB, {slower:.2f} times the time")
    return faults


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=float, nargs="+", default=[1e6, 1e7, 1e8])
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--trl", help="folder of an unpacked wheel of TRL")
    parser.add_argument("--peer-up-to", type=float, default=1e8, metavar="TOKENS")
    parser.add_argument("--folder", help="where to write instead of a temporary folder")
    args = parser.parse_args()
    lines = []
    for tokens in sorted(map(int, args.tokens)):
        folder = Path(tempfile.mkdtemp(dir=args.folder))
        try:
            lines += run_size(tokens, folder, args)
        finally:
            shutil.rmtree(folder)
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=140, float_precision=3):
        print(pl.DataFrame(lines, infer_schema_length=None))
    faults = find_faults(lines)
    if faults:
        sys.exit("error: not flat or not linear: " + "; ".join(faults))


if __name__ == "__main__":
    main()
