"""The data stages on real files: decontamination, check, expose, select, pack."""

import io
import json

import polars as pl
import pyarrow
import pytest
import yaml

from orion import tables
from orion.models import checkpoints
from orion.models.document import ModelDocument
from orion.stages import check, expose, pack, select
from tests.helpers.snakemake import run_snakemake

pytestmark = pytest.mark.data

CHATML = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture(scope="module")
def results(root, data, tmp_path_factory):
    """`snakemake data` on the real files, as a user would run it: two datasets, four benchmarks."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "config").symlink_to(root / "config")
    (folder / "data").symlink_to(data)
    gold = {"problem_id": "id", "problem": "problem", "answer": "answer"}
    traced = {
        "problem_id": "id",
        "problem": "problem",
        "answer": "answer",
        "teacher_trace": "response",
    }

    def traces(model, **more):
        source = {"kind": "jsonl", "path": "data/teacher_traces.jsonl.zst"}
        return {
            "source": source,
            "fields": traced,
            "where": {"model": model},
            "max_rejected_fraction": 1.0,
            **more,
        }

    config = {
        "prompts": "chat",
        "models": {"tiny": {"source": {"kind": "demo"}}},
        "comparisons": [],
        "runs": {
            "datasets": ["traces", "leaky", "joined"],
            "benchmarks": ["gsm8k", "gsm-hard", "math500", "aime24", "amc23"],
            "models": ["tiny"],
            "arms": ["base", "sft_teacher"],
            "students": None,
        },
        "datasets": {
            # problems of the training side of MATH
            "traces": traces("Qwen3-4B-Thinking-2507"),
            # problems of MATH-500 itself: all must be found out
            "leaky": traces("s1.1-32B"),
            "joined": {
                "source": {"kind": "jsonl", "path": "data/math_train.jsonl.zst"},
                "fields": {"problem_id": "id", "problem": "problem", "answer": "answer"},
                "traces": {
                    "source": {"kind": "jsonl", "path": "data/teacher_traces.jsonl.zst"},
                    "where": {"model": "Qwen3-4B-Thinking-2507"},
                },
            },
        },
        "benchmarks": {
            name: {
                "source": {"kind": "jsonl", "path": f"data/{file}.jsonl"},
                "fields": gold,
                "policy": policy,
            }
            for name, file, policy in (
                ("gsm8k", "gsm8k_test", "gsm8k"),
                ("gsm-hard", "gsm_hard", "gsm8k"),
                ("math500", "math500", "math"),
                ("aime24", "aime2024", "aime"),
                ("amc23", "amc2023", "math"),
            )
        },
    }
    (folder / "real.yaml").write_text(yaml.safe_dump(config))
    code, out = run_snakemake(folder, root, "--configfile", "real.yaml", "--keep-going", "data")
    return folder, code, out


def problems(results, name):
    return tables.read(results[0] / "results/datasets" / name / "problems.parquet", tables.PROBLEMS)


def rejected(results, name):
    return tables.read(results[0] / "results/datasets" / name / "rejected.parquet", tables.REJECTED)


def test_problems_that_stand_in_a_benchmark_stop_the_run(results):
    folder, code, _out = results
    log = (folder / "logs/datasets/leaky/problems.log").read_text()
    assert code != 0 and "contaminated" in log
    assert "39 rows, 0 usable" in log, log
    assert not (folder / "results/datasets/leaky/problems.parquet").exists()


def test_training_problems_pass(results):
    found = problems(results, "traces")
    reasons = rejected(results, "traces")["reason"].value_counts()
    assert found.height + rejected(results, "traces").height == 72
    assert found.height >= 65, reasons
    assert found["teacher_trace"].null_count() == 0


def test_what_math_train_shares_with_the_tests_is_found(results):
    found = problems(results, "joined")
    dropped = rejected(results, "joined")
    counts = dict(dropped["reason"].value_counts().iter_rows())
    # two null and two empty answers; repeated texts; 13 words in a row shared with a benchmark
    assert counts == {"missing_answer": 4, "duplicate_problem": 1, "contaminated": 180}
    assert found.height + dropped.height == 7474
    assert found["teacher_trace"].drop_nulls().len() >= 60


@pytest.mark.parametrize(
    ("name", "rows"),
    [("gsm8k", 1319), ("math500", 500), ("aime24", 30), ("amc23", 40), ("gsm-hard", 1319)],
)
def test_every_gold_of_the_benchmarks_is_readable(results, name, rows):
    folder = results[0] / "results/benchmarks" / name
    lint = tables.read_json(folder / "lint.json")
    assert lint["unparseable"] == []
    assert lint["rows"] + tables.read(folder / "rejected.parquet", tables.REJECTED).height == rows


@pytest.fixture(scope="module")
def rollouts(data, tmp_path_factory):
    """Eight real samples of one model per problem, 72 problems, through check and expose."""
    folder = tmp_path_factory.mktemp("rollouts")
    with pyarrow.input_stream(str(data / "student_rollouts.jsonl.zst"), compression="zstd") as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8").read()
    rows = [
        row for line in text.splitlines() if (row := json.loads(line))["id"].startswith("qwenmath-")
    ]
    first = {row["group"]: row for row in rows}
    frame = pl.DataFrame(
        [
            {
                "problem_id": g,
                "problem": r["problem"],
                "answer": r["answer"],
                "solution": r["solution"],
                "teacher_trace": r["solution"],
                "meta": {"source_row": n},
            }
            for n, (g, r) in enumerate(first.items())
        ]
    )
    tables.write(frame, folder / "problems", tables.PROBLEMS, {})
    samples = tables.from_rows(
        (
            {
                "problem_id": row["group"],
                "sample_id": int(row["id"].rsplit("-", 1)[1]),
                "template": "solve",
                "response": row["response"],
                "finish_reason": "stop",
                "prompt_tokens": 1,
                "completion_tokens": 1,
                "completion": row["id"],
            }
            for row in rows
        ),
        tables.SAMPLES,
    )
    tables.write(samples, folder / "samples", tables.SAMPLES, {})
    settings = {"policy": "math", "timeout_s": 120.0}
    given = ["--problems", str(folder / "problems")]
    check.main(
        [
            "--config",
            json.dumps(settings),
            *given,
            "--samples",
            str(folder / "samples"),
            "--output",
            str(folder / "verdicts"),
            "--output-steps",
            str(folder / "steps"),
        ]
    )
    check.main(
        [
            "--config",
            json.dumps({**settings, "part": "teacher_trace"}),
            *given,
            "--samples",
            str(folder / "problems"),
            "--output",
            str(folder / "trace_verdicts"),
            "--output-steps",
            str(folder / "trace_steps"),
        ]
    )
    for origin in ("own", "other_problem"):
        expose.main(
            [
                "--config",
                json.dumps({"error_source": origin, "max_errors": 3, "selection": "distinct"}),
                "--samples",
                str(folder / "samples"),
                "--verdicts",
                str(folder / "verdicts"),
                "--output",
                str(folder / origin),
            ]
        )
    return folder, {row["id"]: row["correct"] for row in rows}


def test_verdicts_agree_with_the_labels(rollouts):
    folder, labels = rollouts
    found = tables.read(folder / "verdicts", tables.VERDICTS)
    assert found.height == len(labels) == 576
    ours = {
        f"{p}-{s}": v for p, s, v in found.select("problem_id", "sample_id", "verdict").iter_rows()
    }
    differing = [name for name, label in labels.items() if (ours[name] == "correct") != label]
    # 10000 against 10{,}000, which the file's own label calls wrong
    assert differing == ["qwenmath-72-7"]


def test_exposed_errors_are_wrong_and_distinct(rollouts):
    folder, _ = rollouts
    own, foreign = (tables.read(folder / name, tables.ERRORS) for name in ("own", "other_problem"))
    assert own.height >= 20
    assert own.group_by("problem_id").len()["len"].max() <= 3
    wrong = tables.read(folder / "verdicts", tables.VERDICTS).filter(
        pl.col("verdict") == "incorrect"
    )
    assert own.join(wrong, on=["problem_id", "sample_id"], how="anti").is_empty()
    assert (foreign["problem_id"] != foreign["source_problem_id"]).all()


@pytest.mark.parametrize("trained_on", ["own_correct", "teacher_trace"])
def test_select_and_pack_with_a_real_tokenizer(rollouts, data, trained_on):
    folder, _ = rollouts
    config = {
        "prompts": "chat",
        "trained_on": trained_on,
        "filters": ["wrong_answer"],
        "max_per_problem": 2,
        "copy_ngram": 12,
        "copy_fraction": 0.5,
        "loop_ngram": 12,
        "loop_repeats": 4,
        "fallback_no_error": "own_correct",
        "fallback_all_filtered": "drop",
    }
    out = folder / trained_on
    out.mkdir()
    select.main(
        [
            "--config",
            json.dumps(config),
            "--arm",
            trained_on,
            "--problems",
            str(folder / "problems"),
            "--trace-verdicts",
            str(folder / "trace_verdicts"),
            "--trace-steps",
            str(folder / "trace_steps"),
            "--samples",
            str(folder / "samples"),
            "--verdicts",
            str(folder / "verdicts"),
            "--steps",
            str(folder / "steps"),
            "--output",
            str(out / "train"),
            "--filters",
            str(out / "filters.json"),
            "--preview",
            str(out / "preview.jsonl"),
        ]
    )
    document = ModelDocument(
        name="smollm2",
        digest="0" * 64,
        path=str(data / "smollm2-tokenizer"),
        chat_template=CHATML,
        context_length=8192,
    )
    tables.write_json(document.as_json(), out / "model.json", {})
    pack.main(
        [
            "--config",
            json.dumps({"max_length": 2048}),
            "--train",
            str(out / "train"),
            "--model",
            str(out / "model.json"),
            "--output",
            str(out / "packed"),
            "--stats",
            str(out / "stats.json"),
        ]
    )
    train, stats = tables.read(out / "train", tables.TRAIN), tables.read_json(out / "stats.json")
    packed = tables.read(out / "packed", tables.PACKED)
    left_out = stats["dropped_too_long"] + sum(stats["rejected"].values())
    assert stats["documents"] + left_out == train.height >= 60
    assert stats["fill"] > 0.8
    tokenizer = checkpoints.load_tokenizer(document)
    assert len(tokenizer) == 49152
    row = packed.row(0, named=True)
    start, completions = 0, set(train["completion"])
    for length in row["seq_lengths"]:
        labels = [label for label in row["labels"][start : start + length] if label != -100]
        text = tokenizer.decode(labels)
        assert text.endswith("<|im_end|>")
        assert text.removesuffix("<|im_end|>") in {c.strip() for c in completions}
        start += length
