"""``orion plan``: its jobs are those of Snakemake's dry run, its text and JSON say the same."""

import contextlib
import io
import itertools
import json
import re

import pytest

from orion import tables
from orion.cli import plan
from orion.cli.main import main
from orion.completions.store import CompletionStore
from orion.config import load, validate
from orion.cost.amounts import UNKNOWN, Amount, exact
from orion.cost.estimate import COLUMNS, Prices, RuleCost
from orion.engines import Completion
from orion.spending.ceiling import Ceiling, Spent
from tests.helpers import fake_results
from tests.helpers.fake_pilot import FakePilot, problem_frame
from tests.helpers.snakemake import run_snakemake


def read_table(text):
    """The rows of the printed table: rule → its columns by their heads."""
    lines = text.splitlines()
    [start] = [i for i, line in enumerate(lines) if line.startswith("rule ")]
    heads = re.split(r" {2,}", lines[start])
    rows = {}
    for line in itertools.takewhile(bool, lines[start + 1 :]):
        rule, *values = line.split()
        rows[rule] = dict(zip(heads[1:], values, strict=True))
    return rows


def count_by_snakemake(folder, root, *files):
    """Rule → jobs, from the table of Snakemake's own dry run."""
    arguments = ["--configfile", *map(str, files)] if files else []
    status, text = run_snakemake(folder, root, "--dry-run", *arguments, "--quiet", "rules")
    assert status == 0, text
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", text, re.M)}


@pytest.mark.slow
def test_the_default_plans_the_jobs_of_the_dry_run(tmp_path, monkeypatch, capsys, root):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{root}:{root / 'kernels'}")
    main(["plan", str(root / "config/config.yaml"), "--json", "plan.json"])
    rows = read_table(capsys.readouterr().out)
    expected = count_by_snakemake(tmp_path, root)
    assert {rule: int(row["jobs"]) for rule, row in rows.items()} == expected
    settings = load(root / "config/config.yaml")
    runs = settings.runs
    evaluated = sum(
        settings.benchmarks[name].source.n * settings.evaluation(name).num_samples
        for name in runs.benchmarks
    )
    evaluated *= len(runs.models) * len(runs.arms) * len(runs.seeds)
    assert rows["evaluate_sample"]["completions"] == f"≤{evaluated:,}"
    assert rows["evaluate_sample"]["stored"] == "0"
    assert rows["reflect"]["completions"] == "unknown"
    written = json.loads((tmp_path / "plan.json").read_text())
    assert written["jobs"] == expected["total"]
    assert {row["rule"]: row["jobs"] for row in written["rules"]} | {
        "total": written["jobs"]
    } == expected
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_a_half_finished_run_plans_the_rest(tmp_path, monkeypatch, capsys, root):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{root}:{root / 'kernels'}")
    quick = root / "examples/quick.yaml"
    made = FakePilot(tmp_path, load(root / "config/config.yaml", quick))
    for rule, block, name, count in (
        ("benchmark", "benchmark", "quick-test", 17),
        ("dataset", "dataset", "quick", 33),
    ):
        made.add_table(rule, tables.PROBLEMS, problem_frame(count), **{block: name})
        folder = made.results / f"{block}s" / name
        tables.write(
            tables.empty(tables.REJECTED), folder / "rejected.parquet", tables.REJECTED, {}
        )
    main(["plan", str(quick)])
    rows = read_table(capsys.readouterr().out)
    assert {rule: int(row["jobs"]) for rule, row in rows.items()} == count_by_snakemake(
        tmp_path, root, quick
    )
    assert not {"benchmark", "dataset"} & set(rows) and "lint_dataset" in rows
    assert rows["sample"]["completions"] == f"{33 * 8}"
    assert rows["evaluate_sample"]["completions"] == f"{3 * 17 * 2}"


def refuse(*words):
    """The message with which the command ends."""
    told = io.StringIO()
    with contextlib.redirect_stderr(told), pytest.raises(SystemExit, match="2"):
        main(["plan", *words])
    return told.getvalue()


def test_bad_input_is_refused_before_the_dry_run(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    default = str(root / "config/config.yaml")
    bad = tmp_path / "bad.yaml"
    bad.write_text("sample: {num_sample: 3}\n")
    assert "sample.num_sample: unknown key" in refuse(str(bad))
    assert "nothing.yaml" in refuse("nothing.yaml")
    assert "give --from too" in refuse(default, "--price", "gpu-hour=1")
    assert "no such folder" in refuse(default, "--from", "nowhere")


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["gpu-hour"], "give KEY=AMOUNT"),
        (["gpu-hour=x"], "give KEY=AMOUNT"),
        (["gpu-hour=-1"], "give KEY=AMOUNT"),
        (["gpu-hour=inf"], "give KEY=AMOUNT"),
        (["minute=1"], "no such key"),
        (["hour=1", "cpu-hour=1"], "hour is for the time of any job"),
        (["gpu-hour:tiny=1"], "no such key"),
        (["prompt:huge=1"], "huge is not defined under models; one of tiny"),
        (["prompt=1", "prompt=2"], "given twice"),
    ],
)
def test_bad_prices_are_refused(pairs, message):
    with pytest.raises(plan.InputError, match=message):
        plan.read_prices(pairs, validate(fake_results.configuration(4)))


def test_prices_are_read():
    pairs = ["gpu-hour=2.5", "cpu-hour=0", "prompt=1", "prompt:tiny=3", "completion=4"]
    prices = plan.read_prices(pairs, validate(fake_results.configuration(4)))
    assert (prices.gpu_hour, prices.cpu_hour) == (2.5, 0)
    assert prices.prompt == {"*": 1, "tiny": 3} and prices.completion == {"*": 4}


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (exact(1234), "1,234"),
        (exact(0), "0"),
        (exact(12, at_most=True), "≤12"),
        (UNKNOWN, "unknown"),
        (exact(12) + UNKNOWN, "12+?"),
        (Amount(1.5, 1, 2, frozenset({"a"})), "~2"),
        (Amount(known=0), "-"),
    ],
)
def test_an_amount_says_what_it_is(amount, text):
    assert plan.format_amount(amount) == text


def test_hours_have_two_places():
    hours = [plan.format_amount(exact(x), True) for x in (0.001234, 1.234, 1234.5, 0)]
    assert hours == ["<0.01", "1.23", "1,234.50", "0.00"]


def test_hostile_text_in_a_note_is_inert():
    note = "\x1b[31m\0" + "x" * 100 + "\u202e"
    cost = RuleCost("sample", 1, dict.fromkeys(COLUMNS, exact(1)), {}, (note,))
    lines = list(plan.tell([cost], 1, ["c.yaml"], "pilot"))
    assert all(line.isprintable() for line in lines)


def test_totals_and_rates_say_what_they_rest_on():
    amounts = dict.fromkeys(COLUMNS, Amount(known=0))
    amounts["new_tokens"] = Amount(3000, 2000, 4000, frozenset("ab")) + UNKNOWN
    rates = {"seconds_per_new_token": Amount(0.02, 0.01, 0.03, frozenset("ab"))}
    cost = RuleCost("sample", 2, amounts, rates, ())
    text = "\n".join(plan.tell([cost], 1, ["c.yaml"], "pilot"))
    assert re.search(r"^sample +2 +~3,000\+\?$", text, re.M)
    spread = r"~3,000\+\? \(2,000 to 4,000; 2 jobs\); unknown for 1 of the jobs"
    assert re.search(rf"^  new tokens +{spread}$", text, re.M)
    assert "seconds per 1,000 new tokens 20.0 (10.0 to 30.0; 2 jobs)" in text
    assert "Rules, by the pilot pilot" in text and "Counts only" not in text
    without = "\n".join(plan.tell([cost], None, ["c.yaml"], None))
    assert "Counts only" in without and "cluster" not in without


def test_nothing_to_do_is_said():
    assert list(plan.tell([], 0, ["c.yaml"], None)) == ["Nothing to be done: all results exist"]


def test_a_spread_says_on_how_many_jobs_it_rests():
    one, two = frozenset("a"), frozenset("ab")
    assert plan.tell_spread(exact(3)) == ""
    assert plan.tell_spread(Amount(1, 1, 1, one, single=1)) == " (one job only)"
    assert plan.tell_spread(Amount(2, 1, 4, two)) == " (1 to 4; 2 jobs)"
    whole = Amount(2, 1, 4, two) + Amount(1, 1, 1, one, single=1)
    assert plan.tell_spread(whole) == " (2 to 5; 2 jobs, one per planned job for 1 of these)"
    # each planned job by a pilot job of its own
    apart = Amount(1, 1, 1, one, single=1) + Amount(3, 3, 3, frozenset("b"), single=1)
    assert plan.tell_spread(apart, True) == " (2 jobs, one per planned job, so no spread)"


def test_a_ceiling_below_what_is_spent_is_refused_before_the_dry_run(tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    store = CompletionStore(tmp_path / "results/completions", "ab" * 32)
    store.append(Completion(f"{i:064x}", "text", "stop", 10, 20) for i in range(4))
    low = tmp_path / "low.yaml"
    low.write_text("ceiling: {tokens: 100}\n")
    message = refuse(str(root / "config/config.yaml"), str(low))
    assert "ceiling.tokens = 100 is below what is spent: 120 tokens in results so far" in message
    low.write_text("ceiling: {money: 5}\n")
    assert "ceiling.money needs prices.hour" in refuse(str(root / "config/config.yaml"), str(low))


def test_the_plan_says_what_a_ceiling_leaves():
    amounts = dict.fromkeys(COLUMNS, Amount(known=0))
    amounts["completions"] = exact(300, at_most=True)
    amounts["prompt_tokens"] = Amount(1000, 900, 1100, frozenset("a"))
    amounts["new_tokens"] = Amount(2000, 1000, 3000, frozenset("a"))
    amounts["hours"] = UNKNOWN
    cost = RuleCost("sample", 2, amounts)
    limits = Ceiling(completions=500, tokens=3500, hours=1.5)
    spent = Spent(completions=200, tokens=700, hours=0.25)
    lines = [re.split(r" {2,}", line) for line in plan.tell_ceiling(limits, spent, [cost])]
    assert lines[1:] == [
        ["ceiling", "limit", "spent", "planned"],
        ["completions", "500", "200", "≤300"],
        ["tokens", "3,500", "700", "~3,000", "200 too much"],
        ["hours", "1.50", "0.25", "unknown"],
    ]


def test_the_prices_of_the_configuration_are_the_default():
    raw = fake_results.configuration(4) | {"prices": {"hour": 0.5, "prompt": {"tiny": 2}}}
    assert plan.list_prices(validate(raw)) == Prices(hour=0.5, prompt={"tiny": 2})
    raw["prices"] = {"completion": 3}
    assert plan.list_prices(validate(raw)) == Prices(completion={"*": 3})
    assert plan.list_prices(validate(fake_results.configuration(4))).is_empty
