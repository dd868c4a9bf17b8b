"""``orion power``: its pilot, its table, its errors, and the figures that the documents quote."""

import contextlib
import io
import math
import re
import shlex
import shutil
import textwrap
from pathlib import Path

import numpy as np
import pytest

from orion import config, paths, tables
from orion.cli.main import main
from orion.experiment import power
from orion.stages.plan import add_version, write_history
from tests.helpers.plans import write_plan

ROOT = Path(__file__).parents[3]
STATED = "--accuracy 50 --sd-problem 30 --sd-difference 15 --sd-run 1"
GRID = "--problems 100 400 --samples 1 8 --runs 3 6"
PROBLEMS, SAMPLES = 60, 4


def run(capsys, text: str) -> str:
    main(["power", *shlex.split(text)])
    return capsys.readouterr().out


def refuse(text: str) -> str:
    """The message with which the command ends."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), pytest.raises(SystemExit, match="2"):
        main(["power", *shlex.split(text)])
    return told.getvalue()


def read_rows(text: str) -> list[list[float]]:
    """The numbers of the table's rows."""
    lines = re.findall(r"^ +\d+ +\d+ +\d+ +\d+ +[\d,]+ .*$", text, re.M)
    return [[float(cell.replace(",", "")) for cell in line.split()] for line in lines]


def write_evaluation(root, values, *, samples=SAMPLES, **wildcards):
    """Verdicts of one run from its accuracies ``(problems,)``."""
    rows = [
        {
            "problem_id": f"p{p:03d}",
            "sample_id": s,
            "verdict": "correct" if s < round(value * samples) else "incorrect",
            "extracted": None,
            "reason": "",
            "rule": "",
        }
        for p, value in enumerate(values)
        for s in range(samples)
    ]
    path = paths.artifact(root, paths.EVALUATION_VERDICTS, dataset="d", **wildcards)
    path.parent.mkdir(parents=True, exist_ok=True)
    tables.write(tables.from_rows(rows, tables.VERDICTS), path, tables.VERDICTS, {})


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two students, three arms of 2 runs on the benchmark easy and 1 on hard; the accuracies."""
    root, rng = tmp_path_factory.mktemp("run") / "results", np.random.default_rng(1)
    level, found = rng.beta(1, 1, PROBLEMS), {}
    for model in ("m1", "m2"):
        for arm in ("base", "own", "orion"):
            at_problem = rng.normal(0, 0.1, PROBLEMS)
            for seed, benchmark in ((1, "easy"), (2, "easy"), (1, "hard")):
                chances = np.clip(level + at_problem + rng.normal(0, 0.03), 0, 1)
                values = rng.binomial(SAMPLES, chances) / SAMPLES
                found.setdefault((model, arm, benchmark), []).append(values)
                keys = {"model": model, "arm": arm, "seed": seed, "benchmark": benchmark}
                write_evaluation(root, values, **keys)
    return root, {key: np.stack(runs) for key, runs in found.items()}


def test_the_table_has_every_design_and_the_cheapest_that_reaches_it(capsys):
    text = run(capsys, f"{STATED} {GRID} --effect 6")
    rows = read_rows(text)
    assert len(rows) == 8 and all(len(row) == 7 for row in rows)
    assert "  of one sample                                      40.0" in text
    assert "one student, one draw of its samples and reflections, one training seed" in text
    for problems, students, samples, runs, completions, found, detectable in rows:
        assert completions == 2 * problems * students * samples * runs
        assert (found >= 80) == (detectable <= 6)
    reaching = [row for row in rows if row[5] >= 80]
    cheapest, fewest = min(reaching, key=lambda r: r[4]), min(reaching, key=lambda r: (r[3], r[4]))
    for title, row in (("Cheapest", cheapest), ("Fewest runs", fewest)):
        named = f"{title} for 6 points: k {row[2]:.0f}, {row[0]:.0f} problems, {row[3]:.0f} runs, "
        assert named in text
    # where a run costs more than its completions, fewer runs are cheaper
    text = run(capsys, f"{STATED} {GRID} --effect 6 --run-cost 1000000")
    assert "Fewest" not in text and f"{fewest[3]:.0f} runs, " in text.split("Cheapest")[1]
    # without a difference, what each design could find
    assert [row[-1] for row in read_rows(run(capsys, f"{STATED} {GRID}"))] == [r[-1] for r in rows]


def test_where_nothing_reaches_it_the_limit_of_the_problems_is_named(capsys):
    text = run(capsys, f"{STATED} --problems 30 --samples 64 --runs 3 10 --effect 5")
    best = max(row[5] for row in read_rows(text))
    limit = (1.959964 + 0.841621) * 15 / math.sqrt(30)
    assert f"the best has {best:.0f} %" in text and f"below {limit:.1f} points" in text


def test_a_finished_run_gives_its_components(results, capsys):
    root, accuracies = results
    chosen = f"--results {root} --arm orion --against own --benchmark easy"
    for option, models in (("--model m1", ["m1"]), ("", ["m1", "m2"])):
        pairs = [(accuracies[m, "orion", "easy"], accuracies[m, "own", "easy"]) for m in models]
        pilot = power.estimate_components(pairs, SAMPLES)
        text = run(capsys, f"{chosen} {option} --students {len(models)}")
        told = [float(v) for v in re.findall(r"^  [^\d(]+?  +(\d+\.\d)", text, re.M)]
        known = [v for v in vars(pilot.components).values() if v is not None]
        assert told == pytest.approx([100 * v for v in known], abs=0.051)
        assert len(known) == 3 + len(models)
        assert f"{2 * len(models)} degrees of freedom)" in text
        # the benchmark's own problems, for the usual numbers of samples and runs
        assert {row[0] for row in read_rows(text)} == {PROBLEMS} and len(read_rows(text)) == 16
    # what is stated replaces what was found
    text = run(capsys, f"{chosen} --model m1 --sd-run 7.5")
    assert "of an arm's accuracy                  7.5\n" in text and "degrees" not in text


def test_one_run_shows_no_spread_of_runs_until_it_is_stated(results, capsys):
    chosen = f"--results {results[0]} --arm orion --against base --benchmark hard --model m1"
    message = "--sd-run and --sd-run-problem: one run of each arm does not show them; state them"
    assert message in refuse(chosen)
    assert read_rows(run(capsys, f"{chosen} --sd-run 2 --sd-run-problem 5"))
    assert "--sd-student: one student does not show it; state it" in refuse(
        f"{chosen} --sd-run 2 --sd-run-problem 5 --students 3"
    )


def test_the_draws_of_a_student_are_its_runs(results, tmp_path, capsys):
    root = tmp_path / "results"
    shutil.copytree(results[0], root)
    plan = write_plan(models=["m1", "m2", "m3"], students={"trio": [["m1", "m2"], "m3"]})
    write_history(add_version([], plan, {}, {}, date="2026-11-30"), root / "plan.json")
    for arm in ("orion", "own"):
        for number, values in enumerate(results[1]["m1", arm, "easy"]):
            keys = {"model": "m3", "arm": arm, "seed": number + 1, "benchmark": "easy"}
            write_evaluation(root, values[::-1], **keys)
    chosen = f"--results {root} --arm orion --against own --benchmark easy"
    two = [
        np.concatenate([results[1][m, a, "easy"] for m in ("m1", "m2")]) for a in ("orion", "own")
    ]
    three = [results[1]["m1", a, "easy"][:, ::-1] for a in ("orion", "own")]
    pilot = power.estimate_components([tuple(two), tuple(three)], SAMPLES)
    told = run(capsys, f"{chosen} --group trio --students 2")
    values = [float(v) for v in re.findall(r"^  [^\d(]+?  +(\d+\.\d)", told, re.M)]
    known = [100 * v for v in vars(pilot.components).values() if v is not None]
    # four runs of each arm of one student, two of the other
    assert values == pytest.approx(known, abs=0.051) and "8 degrees of freedom)" in told
    assert "m1, m2: draws of one student, by the plan; give --group trio" in refuse(chosen)
    assert read_rows(run(capsys, f"{chosen} --model m1 m3"))
    message = f"--group quartet: not in {root}/plan.json; there are trio"
    assert message in refuse(f"{chosen} --group quartet")
    assert "plan.json; it has no groups" in refuse(
        f"--results {results[0]} --arm orion --against own --benchmark easy --group trio"
    )


def test_evaluations_that_do_not_fit_are_refused(results, tmp_path):
    chosen = f"--results {tmp_path} --arm a --against b"
    assert "no evaluation is there" in refuse(chosen)
    values = np.array([0.0, 0.5, 1.0])
    for arm, samples in (("a", 4), ("b", 2)):
        keys = {"model": "m", "arm": arm, "seed": 1, "benchmark": "x"}
        write_evaluation(tmp_path, values, samples=samples, **keys)
    assert "not the same problems and samples" in refuse(chosen)
    assert "--against: name one; there are a, b" in refuse(f"--results {tmp_path} --arm a")
    assert "--arm c: not in the results; there are a, b" in refuse(
        f"--results {tmp_path} --arm c --against b"
    )
    assert "name two arms" in refuse(f"--results {tmp_path} --arm a --against a")
    root = results[0]
    assert "--benchmark: name one; there are easy, hard" in refuse(
        f"--results {root} --arm own --against base"
    )
    assert "no evaluation on easy of m3/own, m3/base" in refuse(
        f"--results {root} --arm own --against base --benchmark easy --model m3"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--problems 100", "--sd-difference, --sd-run, --accuracy, --sd-problem: missing"),
        (STATED, "--problems: say how many"),
        (f"{STATED} --problems 1", "--problems: at least 2, not 1"),
        (f"{STATED} --problems 100 --runs 1", "--runs: at least 2, not 1"),
        (f"{STATED} --problems 100 --samples 0", "--samples: at least 1, not 0"),
        (f"{STATED} --problems 100 --students 2", "--sd-student: one student does not show it"),
        (f"{STATED} --problems 100 --sd-run -1", "--sd-run -1: points, between 0 and 100"),
        (f"{STATED} --problems 100 --sd-run nan", "--sd-run nan: points, between 0 and 100"),
        (f"{STATED} --problems 100 --accuracy 0", "--accuracy 0: between 0 and 100"),
        (f"{STATED} --problems 100 --accuracy 5", "--sd-problem: chances with a mean of 5 %"),
        (f"{STATED} --problems 100 --effect -3", "--effect -3: between 0 and 100"),
        (f"{STATED} --problems 100 --alpha 0.9", "both lie between 0 and 1, the power above"),
        (f"{STATED} --problems 100 --run-cost -1", "--run-cost -1: at least 0"),
        (f"{STATED} --problems {' 9' * 32}", "512 designs are too many"),
        (f"{STATED} --problems 100 --arm x", "--arm: says what to read of a finished run"),
        (f"{STATED} --results x", "--accuracy: the run of --results shows it"),
    ],
)
def test_bad_options_are_refused_with_their_name(options, message):
    assert message in refuse(options)


def read_page() -> str:
    return (ROOT / "docs/own-model-and-data.md").read_text(encoding="utf-8")


def test_the_documented_command_prints_what_the_page_shows(capsys):
    [block] = re.findall(
        r"\n( {4}\$ orion power (?:.*\\\n)*.*\n(?: {4}.*\n|\n(?= {4}))+)", read_page()
    )
    command, output = re.split(r"(?<!\\)\n", textwrap.dedent(block).strip("\n"), maxsplit=1)
    command = command.replace("\\\n", " ")
    assert run(capsys, command.removeprefix("$ orion power ")).strip("\n") == output


def test_the_figures_on_sample_sizes_are_the_commands(capsys):
    page, paper = read_page(), (ROOT / "config/paper.yaml").read_text(encoding="utf-8")
    loaded = config.load(*(str(ROOT / "config" / name) for name in ("config.yaml", "paper.yaml")))
    runs, seeds = (2, 3, 5, 10), len(loaded.runs.seeds)
    common = re.search(r"`orion power (--sd-difference [^`]*)`", page)[1]
    rows = re.findall(r"^\| ([a-z0-9-]+) \|" + r" ([\d.]+) \|" * 8 + "$", page, re.M)
    assert [row[0] for row in rows] == loaded.runs.benchmarks
    completions = others = 0
    for name, accuracy, problem, problems, samples, *shown in rows:
        text = run(
            capsys,
            f"{common} --accuracy {accuracy} --sd-problem {problem} --problems {problems} "
            f"--samples {samples} --runs {' '.join(map(str, runs))}",
        )
        assert [row[-1] for row in read_rows(text)] == [float(value) for value in shown]
        # the sentence of paper.yaml, for its own numbers of samples and seeds
        assert int(samples) == loaded.evaluation(name).num_samples
        assert re.search(
            rf"\b{shown[runs.index(seeds)]} on[\s#]+{name}\b", paper.replace("points ", "")
        )
        completions += int(problems) * int(samples)
        others += int(problems) * loaded.evaluate.num_samples
    trainings = len(loaded.runs.arms) * seeds
    assert f"{completions * trainings:,} completions" in paper
    assert f"16 everywhere were {others * trainings:,}." in paper
    # Holm's first level, rounded
    tests = len(loaded.comparisons) * len(loaded.runs.benchmarks)
    assert f"`--alpha {0.05 / tests:.3f}` for the {tests} of" in page
