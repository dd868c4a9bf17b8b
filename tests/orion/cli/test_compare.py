"""``orion compare``: its numbers against an independent computation, and what it says of damage."""

import json
import math
import random
import re
import shlex
import shutil
import textwrap
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orion import paths
from orion.cli.main import main
from orion.experiment.student_t import two_sided_quantile
from tests.helpers import fake_results

ARMS = ("base", "sft_own", "orion")
BENCHMARKS = ("chains-hard", "chains-test")
PROBLEMS, SAMPLES = 12, 4
PLACE = "datasets/chains/tiny"


def configure(**train):
    raw = fake_results.configuration(problems=PROBLEMS)
    raw["runs"]["arms"] = list(ARMS)
    raw["comparisons"] = [{"arm": "orion", "against": "sft_own"}]
    raw["train"] |= train
    return raw


def make(folder, raw):
    folder.mkdir()
    return fake_results.make(folder, raw)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Results by name: ``a``; ``key``: another learning rate, weights and answers of orion;
    ``data``: another seed of one benchmark.
    """
    root, patch = tmp_path_factory.mktemp("runs"), pytest.MonkeyPatch()
    write = fake_results.Maker.write_model

    def write_model(maker, path, record, name, weights=None):
        write(maker, path, record, name, f"{weights or path}{record['config']}")

    with patch.context() as changed:
        changed.setattr(fake_results.Maker, "write_model", write_model)
        found = {"a": make(root / "a", configure())}
        raw = configure()
        raw["benchmarks"]["chains-hard"]["source"]["seed"] = 99
        found["data"] = make(root / "data", raw)
        changed.setitem(fake_results.SKILL, "orion", 0.95)
        found["key"] = make(root / "key", configure(learning_rate=1e-3))
    return found


@pytest.fixture
def copy(folders, tmp_path):
    """A second folder that is the same as ``a``, to be changed."""
    return Path(shutil.copytree(folders["a"], tmp_path / "b"))


@pytest.fixture
def compare(folders, tmp_path, capsys, monkeypatch):
    """The printed text with single spaces, the document, and the exit status."""
    monkeypatch.setenv("COLUMNS", "100")

    def ask(b, *options, a=None, status=0):
        output = tmp_path / "comparison.json"
        arguments = ["compare", str(a or folders["a"]), str(b), "--json", str(output), *options]
        if status:
            with pytest.raises(SystemExit) as ended:
                main(arguments)
            assert ended.value.code == status
        else:
            main(arguments)
        text = capsys.readouterr().out
        assert all(c.isprintable() or c == "\n" for c in text)
        return " ".join(text.split()), json.loads(output.read_text(encoding="utf-8"))

    return ask


def read_table(path):
    """The table with the metadata of its file, which polars writes past the schema."""
    metadata = {k: v for k, v in pq.read_metadata(path).metadata.items() if k != b"ARROW:schema"}
    return pq.read_table(path).replace_schema_metadata(metadata)


def change_rows(path, change):
    """Write the table anew with other rows, its metadata as they were."""
    table = read_table(path)
    rows = pa.Table.from_pylist(change(table.to_pylist()), table.schema)
    pq.write_table(rows, path, compression="zstd")


def change_record(path, change, rows_per_group=3):
    """Write an artifact anew with another provenance, a table in other row groups."""
    if path.suffix == ".json":
        document = json.loads(path.read_text(encoding="utf-8"))
        change(document["provenance"])
        path.write_text(json.dumps(document), encoding="utf-8")
        return
    table = read_table(path)
    metadata = dict(table.schema.metadata)
    record = json.loads(metadata[b"orion"])
    change(record)
    metadata[b"orion"] = json.dumps(record).encode()
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=rows_per_group)


def read_rows(results, template, **wildcards):
    path = paths.artifact(results, template, dataset="chains", model="tiny", **wildcards)
    return pq.read_table(path).to_pylist()


def compute(results, arm, benchmark, seeds=(1, 2)):
    """{seed: {problem: [right or wrong]}} and {(seed, problem, sample): response}, by hand."""
    shares, texts = {}, {}
    for seed in seeds:
        where = {"arm": arm, "seed": seed, "benchmark": benchmark}
        right = defaultdict(list)
        for row in read_rows(results, paths.EVALUATION_VERDICTS, **where):
            right[row["problem_id"]].append(row["verdict"] == "correct")
        shares[seed] = {problem: sum(v) / len(v) for problem, v in right.items()}
        for row in read_rows(results, paths.EVALUATION_SAMPLES, **where):
            texts[seed, row["problem_id"], row["sample_id"]] = row["response"]
    return shares, texts


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def variance(values):
    middle = mean(values)
    return sum((value - middle) ** 2 for value in values) / (len(values) - 1)


def estimate(old, new):
    """The t interval of docs/statistics.md, from {run: {problem: accuracy}} of both."""
    problems = sorted(next(iter(old.values())))
    n, runs = len(problems), len(old)
    level = [{p: mean(run[p] for run in side.values()) for p in problems} for side in (old, new)]
    differences = [level[1][p] - level[0][p] for p in problems]
    known, of_runs = variance(differences) / n, []
    for side, at in zip((old, new), level, strict=True):
        of_run = {r: mean(run.values()) for r, run in side.items()}
        grand = mean(of_run.values())
        of_runs.append(variance(list(of_run.values())) / runs)
        residuals = [run[p] - of_run[r] - at[p] + grand for r, run in side.items() for p in run]
        known -= sum(value**2 for value in residuals) / ((runs - 1) * (n - 1)) / (n * runs)
    known, whole = max(0.0, known), sum(of_runs)
    few = (runs + 1) * whole**2 / sum(part**2 for part in of_runs) - 2
    few = min(max(few, runs - 1), 2 * runs - 1)
    bounds = [two_sided_quantile(0.05, degrees) for degrees in (n - 1, few)]
    half = math.sqrt(known * bounds[0] ** 2 + whole * bounds[1] ** 2)
    return mean(differences) - half, mean(differences) + half


def resample(differences, times=20_000):
    """The percentile interval of the mean over problems."""
    rng = random.Random(1)
    means = sorted(mean(rng.choices(differences, k=len(differences))) for _ in range(times))
    return means[int(0.025 * times)], means[int(0.975 * times)]


def find_row(document, arm, benchmark):
    [row] = [
        row for row in document["evaluations"] if (row["arm"], row["benchmark"]) == (arm, benchmark)
    ]
    return row


def test_the_same_bytes_agree(compare, copy):
    text, document = compare(copy, "--expect-equal")
    files = document["a"]["files"]
    assert files == sum(len(list(copy.rglob(f"*.{kind}"))) for kind in ("parquet", "json"))
    assert f"They agree: all {files} files are the same bytes." in text
    assert document["agreement"]["level"] == "identical bytes"
    assert document["starts"] == document["changes"] == document["skipped"] == []
    for row in document["evaluations"]:
        assert row["equal_answers"] == row["compared"] and row["difference"] == 0
        # equal answers are one set of runs, seen twice
        assert row["low_runs"] is None and row["beyond"] is False
    assert len(document["evaluations"]) == len(ARMS) * len(BENCHMARKS)


def test_equal_content_of_other_packages_agrees(compare, copy):
    for path in [*copy.rglob("*.parquet"), *copy.rglob("model.json")]:
        change_record(path, lambda record: record["packages"].update(torch="9.9"))
    plan = copy / paths.PLAN
    plan.write_text(plan.read_text().replace('"date": "20', '"date": "19'))
    document_of = copy / "models/tiny/model.json"
    model = json.loads(document_of.read_text()) | {"path": "/elsewhere/model"}
    document_of.write_text(json.dumps(model))
    text, document = compare(copy, "--expect-equal")
    assert document["agreement"]["level"] == "equal content"
    assert document["starts"] == []
    [change] = document["changes"]
    assert (change["kind"], change["key"], change["b"]) == ("package", "torch", '"9.9"')
    number = len([*copy.rglob("*.parquet"), *copy.rglob("model.json")])
    assert change["files"] == number and "They agree" in text
    # one value of one row more, and the content is not equal
    steps = copy / PLACE / "steps.parquet"
    change_rows(steps, lambda rows: [{**rows[0], "true": 99}, *rows[1:]])
    text, document = compare(copy, "--expect-equal", status=1)
    [start] = document["starts"]
    assert (start["stage"], start["columns"], start["changes"]) == ("check", ["true"], [])
    assert "nothing recorded differs but package versions (torch)" in text
    assert document["agreement"]["level"] == "same verdicts"
    assert "1 file with other content" in text


def test_one_key_changed_begins_in_its_stage(compare, folders):
    text, document = compare(folders["key"], "--expect-equal", status=1)
    [change] = document["changes"]
    assert (change["stage"], change["kind"], change["key"]) == ("train", "config", "learning_rate")
    assert (change["a"], change["b"]) == ("0.0005", "0.001")
    assert change["places"] == [
        f"chains/tiny/{arm}/{seed}" for arm in ("orion", "sft_own") for seed in (1, 2)
    ]
    assert {start["stage"] for start in document["starts"]} == {"train"}
    assert all(start["columns"] == ["digest"] for start in document["starts"])
    assert "first, train differs in digest, 4 of 4 files" in text
    contents = {row["stage"]: row for row in document["contents"]}
    assert contents["dataset"]["equal"] == contents["dataset"]["both"]
    assert contents["train"]["equal"] == 0
    # the answers of orion, their verdicts, steps and scores follow
    later = [contents[s] for s in ("evaluate_sample", "evaluate_check", "evaluate")]
    assert document["following"] == sum(row["both"] - row["equal"] for row in later) > 0
    [model] = document["models"]
    assert model["equal"] is True and (model["trained"], model["trained_equal"]) == (4, 0)


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_the_numbers_are_those_of_the_tables(compare, folders, benchmark):
    _, document = compare(folders["key"])
    old, old_texts = compute(folders["a"], "orion", benchmark)
    new, new_texts = compute(folders["key"], "orion", benchmark)
    row = find_row(document, "orion", benchmark)
    at = [{p: mean(run[p] for run in side.values()) for p in side[1]} for side in (old, new)]
    assert row["accuracy_a"] == pytest.approx(mean(at[0].values()))
    assert row["accuracy_b"] == pytest.approx(mean(at[1].values()))
    differences = [at[1][p] - at[0][p] for p in at[0]]
    assert row["difference"] == pytest.approx(mean(differences)) and row["difference"] > 0.1
    assert row["lost"] == sum(at[0][p] > 0.5 > at[1][p] for p in at[0])
    assert row["won"] == sum(at[0][p] < 0.5 < at[1][p] for p in at[0]) > 0
    assert (row["low_runs"], row["high_runs"]) == pytest.approx(estimate(old, new))
    assert (row["low"], row["high"]) == pytest.approx(resample(differences), abs=0.03)
    assert row["compared"] == len(old_texts) == len(new_texts)
    assert row["equal_answers"] == sum(new_texts[key] == old_texts[key] for key in old_texts)
    assert 0 <= row["equal_answers"] < row["compared"]
    assert row["beyond"] == (row["low_runs"] > 0 or row["high_runs"] < 0)
    assert (row["seeds_a"], row["problems"], row["other_gold"]) == (["1", "2"], PROBLEMS, 0)


def test_the_sentence_names_the_arms_beyond_their_interval(compare, folders):
    _, document = compare(folders["key"])
    sentence, rows = document["agreement"]["sentence"], document["evaluations"]
    beyond = [row for row in rows if row["beyond"]]
    these = [r for r in rows if not r["beyond"] and (r["low"] > 0 or r["high"] < 0)]
    assert {row["arm"] for row in (*beyond, *these)} == {"orion"}
    for row in (*beyond, *these):
        assert f"chains/tiny/orion on {row['benchmark']}" in sentence
    head, _, tail = sentence.partition("For these very models alone")
    assert all(row["benchmark"] in tail for row in these)
    assert all(row["benchmark"] in head for row in beyond)


def test_the_page_shows_what_the_command_prints(folders, tmp_path, monkeypatch, capsys):
    page = Path(__file__).parents[3] / "docs/own-model-and-data.md"
    [block] = re.findall(
        r"\n( {4}\$ orion compare .*\n(?: {4}.*\n|\n(?= {4}))+)", page.read_text(encoding="utf-8")
    )
    command, output = textwrap.dedent(block).strip("\n").split("\n", 1)
    (tmp_path / "before").symlink_to(folders["a"].parent)
    (tmp_path / "after").symlink_to(folders["key"].parent)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    main(shlex.split(command)[2:])
    printed = capsys.readouterr().out.strip("\n")
    assert printed == output.strip("\n")


def test_one_seed_says_nothing_of_new_runs(compare, folders, copy, tmp_path):
    b = Path(shutil.copytree(folders["key"], tmp_path / "key"))
    for folder in (copy, b):
        shutil.rmtree(folder / PLACE / "orion/seed-2")
    _, document = compare(b, a=copy)
    row = find_row(document, "orion", "chains-test")
    assert row["low_runs"] is None is row["p"] and row["low"] is not None
    old, new = (compute(f, "orion", "chains-test", [1])[0][1] for f in (copy, b))
    differences = [new[p] - old[p] for p in old]
    assert row["difference"] == pytest.approx(mean(differences))
    assert row["beyond"] == (row["low"] > 0 or row["high"] < 0)
    sentence = document["agreement"]["sentence"]
    assert ("orion on chains-test" in sentence) == row["beyond"]


def test_a_missing_seed_is_no_difference_of_the_others(compare, copy):
    shutil.rmtree(copy / PLACE / "orion/seed-2")
    _, document = compare(copy)
    row = find_row(document, "orion", "chains-test")
    assert row["seeds_a"] == row["seeds_b"] == ["1"] and row["difference"] == 0
    accuracy = mean(compute(copy, "orion", "chains-test", [1])[0][1].values())
    assert row["accuracy_a"] == pytest.approx(accuracy)


def test_other_problems_under_the_same_ids_are_not_compared(compare, folders):
    text, document = compare(folders["data"])
    counts = {row["name"]: row for row in document["problems"]}
    hard = counts["chains-hard"]
    assert (hard["both"], hard["only_a"], hard["only_b"], hard["other_text"]) == (
        0,
        *[PROBLEMS] * 3,
    )
    assert counts["chains-test"]["both"] == counts["chains-test"]["equal_answers"] == PROBLEMS
    assert document["skipped"] == [{"what": "chains-hard: no problem in common", "evaluations": 3}]
    assert {row["benchmark"] for row in document["evaluations"]} == {"chains-test"}
    assert "first, benchmark differs in problem, answer, meta, 2 of 4 files: chains-hard" in text
    assert "because of source.seed: 13 → 99" in text
    assert "Left out: 3 pairs of evaluations." in text


def test_the_common_problems_are_compared_alone(compare, folders, copy):
    def drop(rows):
        # one problem less, another question, another reference answer
        return [
            {**rows[1], "problem": "What else ?"},
            {**rows[2], "answer": "-1"},
            *rows[3:],
        ]

    path = copy / "benchmarks/chains-test/problems.parquet"
    ids = [row["problem_id"] for row in pq.read_table(path).to_pylist()]
    change_rows(path, drop)
    text, document = compare(copy)
    [counts] = [row for row in document["problems"] if row["name"] == "chains-test"]
    assert (counts["both"], counts["only_a"], counts["only_b"]) == (PROBLEMS - 2, 2, 1)
    assert (counts["other_text"], counts["equal_answers"]) == (1, PROBLEMS - 3)
    row = find_row(document, "orion", "chains-test")
    assert (row["problems"], row["other_gold"]) == (PROBLEMS - 2, 1)
    runs = compute(folders["a"], "orion", "chains-test")[0].values()
    assert row["accuracy_a"] == pytest.approx(mean(run[p] for run in runs for p in ids[2:]))
    assert "chains-test: 1 of the common problems have another reference answer" in text


def test_variants_of_a_problem_are_one_unit(compare, folders, tmp_path):
    sides = []
    for name in ("a", "key"):
        side = Path(shutil.copytree(folders[name], tmp_path / f"clustered {name}"))
        path = side / "benchmarks/chains-test/problems.parquet"
        table = read_table(path)
        number = table.schema.get_field_index("meta")
        clusters = pa.StructArray.from_arrays(
            [pa.array([f"c{row // 6}" for row in range(table.num_rows)])], ["cluster"]
        )
        pq.write_table(table.set_column(number, "meta", clusters), path)
        sides.append(side)
    _, document = compare(sides[1], a=sides[0])
    assert find_row(document, "orion", "chains-test")["clusters"] == 2
    assert find_row(document, "orion", "chains-hard")["clusters"] is None


def test_an_arm_missing_is_said_and_the_rest_agrees(compare, copy):
    shutil.rmtree(copy / PLACE / "sft_own")
    text, document = compare(copy, "--expect-equal", status=1)
    [(name, number)] = document["a"]["only"].items()
    assert name == f"{PLACE}/sft_own/" and document["b"]["only"] == {}
    assert f"A: {PLACE}/sft_own/ ({number} files)" in text
    assert document["agreement"]["level"] == "same verdicts"
    assert f"the content is equal. Left out: {number} files only in A." in text
    assert {row["arm"] for row in document["evaluations"]} == {"base", "orion"}


EVALUATION = f"{PLACE}/orion/seed-1/chains-test"


@pytest.mark.parametrize(
    ("name", "compared", "seeds"),
    [
        (f"{EVALUATION}/verdicts.parquet", 6, ["2"]),
        (f"{EVALUATION}/samples.parquet", 6, ["1", "2"]),
        (f"{EVALUATION}/scores.json", 6, ["1", "2"]),
        ("benchmarks/chains-test/problems.parquet", 3, None),
        ("models/tiny/model.json", 6, ["1", "2"]),
        ("plan.json", 6, ["1", "2"]),
    ],
)
@pytest.mark.parametrize("damage", ["cut", "garbled"])
def test_a_damaged_file_is_named_and_the_rest_is_compared(
    compare, copy, name, compared, seeds, damage
):
    path = copy / name
    data = path.read_bytes()
    # a header that can be read, and pages that cannot
    garbled = data[:4] + b"\xff" * 60 + data[64:]
    path.write_bytes(data[: len(data) // 2] if damage == "cut" else garbled)
    text, document = compare(copy, "--expect-equal", status=1)
    assert [(row["folder"], row["file"]) for row in document["faults"]] == [("B", name)]
    assert f"B: {name}: " in text and "1 file that cannot be read" in text
    assert len(document["evaluations"]) == compared
    assert document["agreement"]["level"] == "same verdicts"
    assert not document["starts"], "damage is no difference"
    if seeds is not None:
        row = find_row(document, "orion", "chains-test")
        assert row["seeds_a"] == row["seeds_b"] == seeds
        assert (
            row["equal_answers"]
            == row["compared_answers"]
            == PROBLEMS * SAMPLES * (1 if "samples" in name or "verdicts" in name else 2)
        )
        assert row["same_student"] is (None if "model" in name else True)


def test_a_table_without_provenance_and_duplicate_rows_are_damage(compare, copy):
    bare = copy / PLACE / "steps.parquet"
    pq.write_table(read_table(bare).replace_schema_metadata({}), bare)
    twice = copy / EVALUATION / "verdicts.parquet"
    change_rows(twice, lambda rows: [rows[0], *rows])
    _, document = compare(copy)
    assert {row["file"]: row["what"] for row in document["faults"]} == {
        f"{PLACE}/steps.parquet": "holds no provenance",
        f"{EVALUATION}/verdicts.parquet": "two rows have the same problem and sample",
    }


def test_other_code_and_inputs_are_said(compare, copy):
    path = copy / "benchmarks/chains-hard/problems.parquet"

    def change(record):
        record["code"] = "0" * 64
        record["inputs"]["data/mine.jsonl"] = "1" * 64

    change_record(path, change)
    text, document = compare(copy, "--expect-equal")
    assert {(row["kind"], row["key"]) for row in document["changes"]} == {
        ("code", "orion.stages.dataset"),
        ("input", "data/mine.jsonl"),
    }
    assert "benchmark has equal content all the same" in text
    assert "a new input data/mine.jsonl" in text


def test_plans_are_compared_without_their_dates(compare, copy):
    path = copy / paths.PLAN
    history = json.loads(path.read_text())
    history["versions"][0]["plan"]["alpha"] = 0.01
    path.write_text(json.dumps(history))
    text, document = compare(copy)
    assert document["plans"]["changes"] == [{"key": "alpha", "a": "0.05", "b": "0.01"}]
    assert document["plans"]["edited"] == {"a": [], "b": [1]}
    assert "plan: alpha: 0.05 → 0.01" in text
    assert "plan of B: edited after it was registered, version 1" in text


def test_hostile_text_is_inert(compare, copy):
    def change(record):
        record["config"]["\x1b[2J\x00key"] = "\x1b[31m" + "x" * 2_000_000
        record["config"]["lines"] = "one\ntwo\rthree"

    shutil.copytree(copy / PLACE / "orion", copy / PLACE / "or\x1b[31m\nion")
    change_record(copy / EVALUATION / "samples.parquet", change)
    text, document = compare(copy)
    assert "or\\x1b[31m" in text and "\\x1b[2J\\x00key" in text
    assert len(text) < 20_000
    assert f"{PLACE}/or\x1b[31m\nion/" in document["b"]["only"]


def test_bad_input_is_refused(folders, tmp_path, capsys):
    a = str(folders["a"])
    for arguments, message in (
        ([a, str(tmp_path / "none")], "none: no such folder"),
        ([a, str(tmp_path)], "has no table of a run; name the folder that holds datasets/"),
        ([a, f"{a}/../results"], "is the same folder as"),
        ([a, a, "--json", str(tmp_path / "no/x.json")], "name a file in a folder that exists"),
        ([a, a, "--json", str(tmp_path)], "name a file in a folder that exists"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["compare", *arguments])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err


def test_a_run_without_evaluations_cannot_be_compared(compare, copy):
    for folder in copy.glob(f"{PLACE}/*/seed-*/chains-*"):
        shutil.rmtree(folder)
    _, document = compare(copy, "--expect-equal", status=1)
    assert document["agreement"]["level"] == "not comparable"
    assert document["agreement"]["sentence"].startswith("They have no evaluation in common")
