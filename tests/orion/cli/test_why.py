"""``orion why``: every number it prints is that of the tables, and a wrong name is told."""

import re

import polars as pl
import pytest

from orion import paths, tables
from orion.cli.main import main
from orion.cli.why import show
from tests.helpers import fake_results

WIDE = 400
ARMS = ("sft_answer", "sft_teacher", "sft_own", "sft_rewrite", "orion_placebo", "orion")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("run")
    fake_results.make(made, fake_results.configuration(problems=12))
    return made


@pytest.fixture
def why(folder, monkeypatch, capsys):
    """The lines of a section by its title."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", str(WIDE))

    def ask(place: str, *options: str) -> dict[str, list[str]]:
        main(["why", place, *options])
        sections: dict[str, list[str]] = {}
        for line in capsys.readouterr().out.splitlines():
            if not line.startswith(" "):
                title = line[:12].strip()
                sections[title] = [line[12:]]
            else:
                sections[title].append(line)
        return sections

    return ask


def read(template, table, arm="orion"):
    path = paths.artifact("results", template, dataset="chains", model="tiny", arm=arm)
    return tables.read(path, table)


def list_rows(lines):
    """(row of the file, what follows) of each line that names a row."""
    found = [re.fullmatch(r"  row (\d+): (.*)", line) for line in lines]
    return [(int(match[1]), match[2]) for match in found if match]


@pytest.mark.parametrize("arm", ARMS)
def test_each_row_is_that_of_its_file(why, arm):
    train = read(paths.TRAIN, tables.TRAIN, arm)
    samples = read(paths.SAMPLES, tables.SAMPLES)
    verdicts = read(paths.VERDICTS, tables.VERDICTS)
    for problem_id in train["problem_id"].unique().sort().to_list()[:5]:
        told = why(f"chains/tiny/{arm}/{problem_id}")
        for row, text in list_rows(told["samples"]):
            found = samples.row(row, named=True)
            number, verdict = re.match(r"sample (\d+), (\w+),", text).groups()
            assert (found["problem_id"], found["sample_id"]) == (problem_id, int(number))
            assert verdicts.row(row, named=True)["verdict"] == verdict
        rows = list_rows(told["trained on"])
        mine = train.with_row_index("line").filter(pl.col("problem_id") == problem_id)
        assert [row for row, _ in rows] == mine["line"].to_list()
        for (_, text), row in zip(rows, mine.iter_rows(named=True), strict=True):
            assert text.startswith(f"training row {row['row']}, {row['target_kind']}")
        assert told["so"][0].startswith(f"{mine.height} training row")


def test_a_candidate_is_removed_or_passes_as_the_stage_decided(why):
    problems = read(paths.PROBLEMS, tables.PROBLEMS)["problem_id"].to_list()
    removed = passed = 0
    for problem_id in problems:
        train = read(paths.TRAIN, tables.TRAIN).filter(pl.col("problem_id") == problem_id)
        chosen = train.filter(pl.col("target_kind") == "reflection")["sample_id"].to_list()
        told = why(f"chains/tiny/orion/{problem_id}")
        found = dict.fromkeys(("passes", "removed"), ())
        for row, text in list_rows(told["candidates"]):
            number = int(re.match(r"reflection (\d+) ", text)[1])
            reflection = read(paths.REFLECTIONS, tables.REFLECTIONS).row(row, named=True)
            key = (reflection["problem_id"], reflection["sample_id"])
            assert key == (problem_id, number)
            outcome = re.search(r"; (passes|removed by [\w, ]+)$", text)[1]
            found[outcome.split()[0]] += (number,)
        assert {*chosen} <= {*found["passes"]} and not {*chosen} & {*found["removed"]}
        assert bool(found["passes"]) == bool(chosen)
        removed, passed = removed + len(found["removed"]), passed + len(found["passes"])
        if not train.height:
            assert "no training row: no candidate passes" in told["so"][0]
    filters = tables.read_json(
        paths.artifact("results", paths.FILTERS, dataset="chains", model="tiny", arm="orion")
    )
    assert removed == sum(step["removed"] for step in filters["waterfall"]) > 0
    assert removed + passed == filters["reflections"]


def test_a_text_that_passes_and_is_no_row_says_why(why):
    path = paths.artifact("results", paths.REFLECTIONS, dataset="chains", model="tiny", arm="orion")
    before = path.read_bytes()
    train = read(paths.TRAIN, tables.TRAIN).filter(target_kind="reflection")
    kept, problem_id = train.row(0, named=True), train["problem_id"][0]
    frame = read(paths.REFLECTIONS, tables.REFLECTIONS)
    again = frame.filter(problem_id=problem_id, sample_id=kept["sample_id"])
    number = frame.filter(problem_id=problem_id)["sample_id"].max() + 1
    other = again.with_columns(
        sample_id=pl.lit(number + 1, pl.Int64), response=pl.col("response") + " \n so it is done"
    )
    again = again.with_columns(sample_id=pl.lit(number, pl.Int64))
    checks = {}
    for template, table in (
        (paths.REFLECTIONS, tables.REFLECTIONS),
        (paths.REFLECTION_VERDICTS, tables.VERDICTS),
        (paths.REFLECTION_STEPS, tables.STEPS),
    ):
        place = paths.artifact("results", template, dataset="chains", model="tiny", arm="orion")
        checks[place] = place.read_bytes()
        known = tables.read(place, table)
        more = known.filter(problem_id=problem_id, sample_id=kept["sample_id"])
        copies = [more.with_columns(sample_id=pl.lit(n, pl.Int64)) for n in (number, number + 1)]
        rows = [again, other] if template == paths.REFLECTIONS else copies
        tables.write(
            pl.concat([known, *rows]).sort("problem_id", "sample_id"),
            place,
            table,
            tables.read_provenance(place),
        )
    told = [text for _, text in list_rows(why(f"chains/tiny/orion/{problem_id}")["candidates"])]
    mine = {int(re.match(r"reflection (\d+) ", text)[1]): text for text in told}
    assert mine[kept["sample_id"]].endswith("; passes")
    assert mine[number].endswith(f"passes, with the text of reflection {kept['sample_id']}")
    assert mine[number + 1].endswith("passes, and is not taken: the problem has other rows")
    for place, content in checks.items():
        place.write_bytes(content)
    assert path.read_bytes() == before


@pytest.mark.parametrize("arm", ["base", "orion"])
def test_a_problem_of_a_benchmark_is_told_seed_by_seed(why, arm):
    names = {"dataset": "chains", "model": "tiny", "arm": arm, "benchmark": "chains-test"}
    problems = tables.read(
        paths.artifact("results", paths.BENCHMARK_PROBLEMS, **names), tables.PROBLEMS
    )
    problem_id = problems["problem_id"][3]
    told = why(f"chains/tiny/{arm}/chains-test:{problem_id}")
    assert told["question"][0].endswith("benchmarks/chains-test/problems.parquet, row 3")
    assert problems["problem"][3] in told["prompt"][1]
    right = {}
    for seed in (1, 2):
        files = (paths.EVALUATION_SAMPLES, paths.EVALUATION_VERDICTS)
        samples, verdicts = (
            tables.read(paths.artifact("results", file, **names, seed=seed), table)
            for file, table in zip(files, (tables.SAMPLES, tables.VERDICTS), strict=True)
        )
        lines = told[f"seed {seed}"]
        assert lines[0] == str(paths.artifact("results", files[0], **names, seed=seed))
        found = list_rows(lines)
        assert len(found) == samples.filter(problem_id=problem_id).height
        for row, text in found:
            sample, verdict = samples.row(row, named=True), verdicts.row(row, named=True)
            assert sample["problem_id"] == verdict["problem_id"] == problem_id
            assert text.startswith(f"sample {sample['sample_id']}, {verdict['verdict']}, answer")
        count = verdicts.filter(problem_id=problem_id, verdict="correct").height
        right[seed] = f"{count} of {len(found)} with seed {seed}"
    said = told["so"][0]
    assert said.startswith(f"correct: {right[1]}, {right[2]}")
    assert said.endswith("of the untrained student") == (arm != "base")


def test_the_prompts_show_what_the_arm_shows(why):
    problem_id = read(paths.ERRORS, tables.ERRORS)["problem_id"][0]
    for arm, shown in (("orion", "1 attempt and the trace"), ("orion_no_teacher", "1 attempt")):
        told = why(f"chains/tiny/{arm}/{problem_id}", "--full")["prompts"]
        assert f"  reflect, error 0: shows {shown}" in told
        error = read(paths.ERRORS, tables.ERRORS, arm).filter(
            pl.col("problem_id") == problem_id, pl.col("rank") == 0
        )["response"][0]
        assert any(error in line for line in told)


def test_model_output_cannot_steer_the_terminal():
    hostile = "\x1b[31mred\x00\x07 \u202eback\ud800\n2"
    [line] = show(hostile, WIDE)
    assert line == r"    \x1b[31mred\x00\x07 \u202eback\ud800 2"
    assert [*show(hostile, None)] == [r"    \x1b[31mred\x00\x07 \u202eback\ud800", "    2"]
    [cut] = show("word " * 500_000, 60)
    assert len(cut) == 60 and cut.endswith("…")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("chains/tiny/orion", "name DATASET/MODEL/ARM/PROBLEM"),
        ("chains/tiny/orion/chains-test:p9", r"chains-test/problems.parquet: no problem p9; there"),
        ("chains/tiny/orion/chain:p9", r"datasets/chains/problems.parquet: no problem chain:p9"),
        (
            "chains/tiny/orio/chains-test:test-00001",
            r"seed-\*/chains-test/samples.parquet: not mad",
        ),
        ("chains/tiny/orion/train-00099", r"no problem train-00099; there are 12, such as train-0"),
        ("chains/tiny/orio/train-00001", r"no such arm has been made; there are base, orion,"),
        ("chain/tiny/orion/train-00001", r"problems.parquet: not made yet; run the pipeline"),
    ],
)
def test_a_wrong_name_is_told(why, capsys, place, message):
    with pytest.raises(SystemExit):
        why(place)
    assert re.search(message, capsys.readouterr().err)


def test_a_text_without_a_verdict_is_told_and_nothing_breaks(why):
    for template, title in ((paths.VERDICTS, "samples"), (paths.REFLECTION_STEPS, "candidates")):
        table = tables.VERDICTS if template == paths.VERDICTS else tables.STEPS
        path = paths.artifact("results", template, dataset="chains", model="tiny", arm="orion")
        before = path.read_bytes()
        problem_id = read(paths.REFLECTIONS, tables.REFLECTIONS)["problem_id"][0]
        kept = tables.read(path, table).filter(
            (pl.col("problem_id") != problem_id) | (pl.col("sample_id") > 0)
        )
        tables.write(kept, path, table, {})
        assert "never checked" in "".join(why(f"chains/tiny/orion/{problem_id}")[title])
        path.write_bytes(before)


def test_an_arm_that_is_not_trained_says_so(why):
    assert "the arm is not trained" in why("chains/tiny/base/train-00001")["so"][0]


def test_a_rejected_problem_says_why(why, folder, capsys):
    path = paths.artifact("results", paths.REJECTED, dataset="chains")
    before = path.read_bytes()
    row = {"row": 7, "problem_id": "odd", "reason": "no_answer", "detail": "the answer is empty"}
    tables.write(tables.from_rows([row], tables.REJECTED), path, tables.REJECTED, {})
    with pytest.raises(SystemExit):
        why("chains/tiny/orion/odd")
    assert "row 7 was rejected, no_answer: the answer is empty" in capsys.readouterr().err
    path.write_bytes(before)
