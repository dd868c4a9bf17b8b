"""The report on an invented grid: its numbers, its refusals, its page."""

import copy
import json
import re

import pytest

from orion import tables
from orion.config import params, validate
from orion.errors import InputError
from orion.report import arms, examples, lineage, summary
from tests.helpers import recompute_report, report_page

SECTIONS = (
    "summary",
    "accuracy",
    "comparisons",
    "student",
    "reflections",
    "steps",
    "sampling",
    "failures",
    "levels",
    "flips",
    "coherence",
    "stability",
    "lengths",
    "filters",
    "training",
    "examples",
)


def test_every_number_follows_from_the_tables(finished):
    assert recompute_report.find_faults(finished.results) == []


def test_everything_shown_is_what_report_json_says(finished):
    assert report_page.find_faults(finished.results) == []


def test_the_recomputation_notices_a_changed_table(copy):
    path = copy.results / "datasets/chains/tiny/orion/seed-1/chains-test/verdicts.parquet"
    frame, record = tables.read(path, tables.VERDICTS), tables.read_provenance(path)
    flipped = frame.with_columns(verdict=frame["verdict"].replace({"correct": "incorrect"}))
    tables.write(flipped, path, tables.VERDICTS, record)
    found = recompute_report.find_faults(copy.results)
    assert any("table orion chains-test accuracy" in line for line in found)
    assert any(
        "comparisons ('orion', 'sft_own', 'chains-test') difference" in line for line in found
    )


def test_the_recomputation_notices_changed_steps(copy):
    path = copy.results / "datasets/chains/tiny/orion/seed-1/chains-test/steps.parquet"
    frame, record = tables.read(path, tables.STEPS), tables.read_provenance(path)
    changed = frame.with_columns(false=1 - frame["false"].clip(0, 1))
    tables.write(changed, path, tables.STEPS, record)
    found = recompute_report.find_faults(copy.results)
    for scope in ("all", "correct"):
        place = f"false steps orion chains-test {scope} with_false_step"
        assert any(place in line for line in found)


def test_a_correct_answer_may_be_reached_over_a_false_step_and_the_filter_sees_it(finished):
    item = finished.doc["results"][0]
    rows = {(r["arm"], r["benchmark"], r["scope"]): r for r in item["false_steps"]}
    assert len(rows) == len(finished.raw["runs"]["arms"]) * 2 * 2
    for row in item["false_steps"]:
        assert row["low"] <= row["share"] <= row["high"] if row["texts"] else row["share"] is None
    # two seeds of 30 problems, with four samples each and on the hard ones with five
    texts = {"chains-test": 240, "chains-hard": 300}
    for benchmark in finished.raw["runs"]["benchmarks"]:
        every, correct = (rows["orion", benchmark, scope] for scope in ("all", "correct"))
        assert 0 < correct["with_false_step"] < every["with_false_step"]
        assert (
            correct["share"] < every["share"]
            and correct["texts"] < every["texts"] == texts[benchmark]
        )
    training = {row["arm"]: row for row in item["false_steps_training"]}
    assert "base" not in training
    for arm, row in training.items():
        assert row["rows"] == next(r["rows"] for r in item["selection"] if r["arm"] == arm)
    # the filter is on: no reflection or own sample with a false step is left
    assert all(training[a]["rows_false"] == 0 for a in ("orion", "sft_own", "sft_rewrite"))
    own = training["sft_own"]
    assert own["trained_on"] == "own_correct" and 0 < own["texts_false"] < own["texts"]
    solution = training["sft_answer"]
    assert solution["rows_checked"] == 0 and solution["share_rows"] is solution["texts"] is None
    assert training["sft_teacher"]["rows_checked"] == training["sft_teacher"]["rows"] > 0


def test_an_artifact_without_its_steps_is_refused(copy):
    path = copy.results / "datasets/chains/tiny/orion/seed-1/chains-test/steps.parquet"
    frame, record = tables.read(path, tables.STEPS), tables.read_provenance(path)
    tables.write(frame[1:], path, tables.STEPS, record)
    with pytest.raises(InputError, match=r"chains-test/steps\.parquet: 119 steps for 120 texts"):
        copy.report()


@pytest.mark.parametrize(
    ("file", "old", "new", "fault"),
    [
        ("table.csv", r"(chains,tiny,orion,.*?,0\.)\d", r"\g<1>9", "table.csv"),
        (
            "index.html",
            r'(data-key="results/0/table/7/accuracy" data-format="percent">)',
            r"\g<1>9",
            "accuracy",
        ),
        ("index.html", r"(<td>)(<span)", r"\g<1>12 \g<2>", "without a place"),
        (
            "index.html",
            r"(Supported for this student:|Not decided for this student:)",
            r"\g<1> 77.7",
            "stands in no table",
        ),
        (
            "index.html",
            r"</style>",
            "</style><link href='https://example.org/a.css'>",
            "from outside",
        ),
    ],
)
def test_the_check_of_what_is_shown_notices_a_change(copy, file, old, new, fault):
    path = copy.results / "report" / file
    text, changes = re.subn(old, new, path.read_text(encoding="utf-8"), count=1)
    assert changes == 1
    path.write_text(text, encoding="utf-8")
    assert any(fault in line for line in report_page.find_faults(copy.results))


def test_the_report_is_the_same_twice_byte_for_byte(copy):
    before = {p.name: p.read_bytes() for p in (copy.results / "report").rglob("*.*") if p.is_file()}
    after = {p.name: p.read_bytes() for p in copy.report().rglob("*.*") if p.is_file()}
    assert len(before) == 33 and before == after


def test_the_page_has_every_section_and_figure_once_and_no_duplicate_ids(finished):
    page = finished.page
    for name in SECTIONS:
        assert page.count(f'id="s0-{name}"') == 1
    # the others are lanes of tables
    assert len(re.findall(r'<svg (?!class=")', page)) == 2
    ids = re.findall(r'\bid="([^"]+)"', page)
    figure_ids = [i for i in ids if re.match(r"f0-[\w-]+-(p|m|image)[0-9a-f]{8}", i)]
    assert figure_ids and len(figure_ids) == len(set(figure_ids))
    for target in re.findall(r"url\(#([^)]+)\)", page) + re.findall(r'xlink:href="#([^"]+)"', page):
        assert target in ids


def test_model_output_is_escaped(finished):
    assert "&lt;script&gt;alert(" in finished.page
    assert "<script>alert(" not in finished.page
    assert finished.page.count("<script>") == 1


def test_model_output_is_capped():
    assert examples.truncate("x" * 5000) == "x" * 4000 + " … [1,000 more characters]"
    assert examples.truncate(None) is None
    assert examples.truncate("short") == "short"


def test_a_null_in_the_configuration_stays_null():
    raw = {"decontaminate_ngram": None}
    config = validate(_configuration(raw))
    assert config.datasets["d"].decontaminate_ngram is None
    restored = lineage.restore_config(json.loads(params(config, "report")))
    assert restored == config


def _configuration(dataset: dict) -> dict:
    demo = {"source": {"kind": "demo", "level": "train", "n": 2, "seed": 1}}
    block = {"num_samples": 1, "temperature": 0.0, "max_tokens": 8}
    return {
        "runs": {
            "datasets": ["d"],
            "models": ["m"],
            "arms": ["base"],
            "seeds": [1],
            "benchmarks": ["b"],
        },
        "comparisons": [],
        "datasets": {"d": {**demo, **dataset}},
        "benchmarks": {"b": demo},
        "models": {"m": {"source": {"kind": "demo"}}},
        "arms": {"base": {"trained_on": "nothing"}},
        **dict.fromkeys(("sample", "reflect", "evaluate"), block),
        "select": {"filters": []},
        "pack": {"max_length": 8},
        "train": {"learning_rate": 1.0, "batch_sequences": 1},
    }


def test_a_missing_artifact_names_the_file_and_the_cure(copy):
    (copy.results / "datasets/chains/tiny/orion/filters.json").unlink()
    with pytest.raises(
        InputError, match=r"orion/filters\.json: no such file; run the workflow again"
    ):
        copy.report()


def test_another_configuration_is_refused(copy):
    copy.raw["evaluate"]["temperature"] = 0.5
    with pytest.raises(
        InputError,
        match=r"samples\.parquet: made with another configuration \(generation\.temperature\)",
    ):
        copy.report()


def test_an_artifact_of_other_inputs_is_refused(copy):
    path = copy.results / "datasets/chains/tiny/verdicts.parquet"
    frame, record = tables.read(path, tables.VERDICTS), tables.read_provenance(path)
    tables.write(frame.with_columns(rule=frame["rule"] + "x"), path, tables.VERDICTS, record)
    with pytest.raises(
        InputError,
        match=r"sft_rewrite/errors\.parquet: made from another verdicts than "
        r".*tiny/verdicts\.parquet",
    ):
        copy.report()


def test_another_version_of_the_code_is_refused(copy):
    path = copy.results / "datasets/chains/tiny/samples.parquet"
    frame, record = tables.read(path, tables.SAMPLES), tables.read_provenance(path)
    tables.write(frame, path, tables.SAMPLES, {**record, "code": "0" * 64})
    with pytest.raises(
        InputError, match=r"tiny/samples\.parquet: made by another version of orion\.stages\.sample"
    ):
        copy.report()


def test_scores_that_do_not_follow_from_the_verdicts_are_refused(copy):
    path = copy.results / "datasets/chains/tiny/orion/seed-2/chains-hard/scores.json"
    document = tables.read_json(path)
    document["rows"][0]["value"] += 0.01
    tables.write_json(
        {k: v for k, v in document.items() if k != "provenance"}, path, document["provenance"]
    )
    with pytest.raises(InputError, match=r"chains-hard/scores\.json: accuracy"):
        copy.report()


def test_different_package_versions_are_a_visible_warning(copy):
    path = copy.results / "datasets/chains/tiny/orion/seed-2/chains-hard/scores.json"
    document = tables.read_json(path)
    record = document.pop("provenance")
    tables.write_json(
        document, path, {**record, "packages": {**record["packages"], "torch": "0.0.1"}}
    )
    copy.report()
    assert any(
        "different versions of torch" in text and "0.0.1 (1 artifacts)" in text
        for text in copy.doc["warnings"]
    )
    assert "different versions of torch" in copy.page


def test_rows_that_were_not_packed_are_counted_and_named(finished):
    table = finished.doc["results"][0]["table"]
    rows = {row["arm"]: (row["dropped_too_long"], row["rejected"]) for row in table}
    assert rows["sft_own"] == (0, 1) and rows["sft_teacher"] == (0, 0)
    assert rows["base"] == (None, None)
    named = [text for text in finished.doc["warnings"] if "training rows" in text]
    assert named == [
        "tiny on chains, sft_own: 1 training rows were rejected, because the chat template cannot "
        "carry them; packed/stats.json has the reasons."
    ]


def test_one_seed_and_an_arm_outside_the_grid(small):
    def change(raw):
        raw["runs"] |= {"seeds": [1], "arms": ["base", "orion"]}
        raw["select"]["min_rows"] = 1
        raw["comparisons"] = [{"arm": "orion", "against": "base"}]

    def change_before(raw):
        change(raw)
        raw["runs"] |= {"seeds": [1, 2], "arms": ["base", "sft_own", "orion"]}
        raw["comparisons"].append({"arm": "orion", "against": "sft_own"})

    run = small(change_before)
    change(run.raw)
    run.register()
    run.report()
    readings = {(row["against"], row["reading"]) for row in run.doc["results"][0]["comparisons"]}
    # registered, and dropped with its arm
    assert readings == {("base", "unclear"), ("sft_own", "not run")}
    assert run.doc["results"][0]["plan"]["reasons"] == [
        "After 12 evaluations existed, the seeds changed from 1, 2 to 1."
    ]
    assert any("One seed only" in text for text in run.doc["warnings"])
    text = " ".join(block["text"] for block in run.doc["results"][0]["headline"])
    assert "For these very models only:" in text and "for this student:" not in text
    assert "about these very models" in text and "nothing is said about the method" in text
    tested = [row for row in run.doc["results"][0]["comparisons"] if row["against"] == "base"]
    assert all(row["p"] is row["p_holm"] is row["detectable"] is None for row in tested)
    assert len(tested) == 2 and all(row["p_problems"] < 1 for row in tested)
    changed = [line for b in run.doc["results"][0]["headline"] for line in b["items"]]
    assert (
        "orion against sft_own on chains-test: removed after 12 evaluations existed; not run"
        in (changed)
    )
    assert [*recompute_report.find_faults(run.results), *report_page.find_faults(run.results)] == []


def test_problems_from_a_file_that_record_no_steps_and_a_second_student(small, tmp_path):
    rows = [
        {"id": f"r{i}", "problem": f"what is {i} and {i} ?", "answer": str(2 * i)}
        for i in range(12)
    ]
    lines = [json.dumps({**row, "trace": f"it is \\boxed{{ {row['answer']} }}"}) for row in rows]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8")

    def change(raw):
        source = {
            "source": {"kind": "jsonl", "path": "mine.jsonl"},
            "fields": {"teacher_trace": "trace"},
        }
        raw["datasets"] = {"mine": source}
        raw["models"]["other"] = raw["models"]["tiny"]
        raw["runs"] |= {
            "arms": ["base", "orion"],
            "models": ["tiny", "other"],
            "benchmarks": ["chains-test"],
        }
        raw["runs"]["datasets"] = ["mine"]
        raw["comparisons"] = []

    run = small(change)
    run.report()
    assert [item["model"] for item in run.doc["results"]] == ["tiny", "other"]
    assert "other on mine" in run.page and run.page.count("cannot be measured on this dataset") == 4
    assert [*recompute_report.find_faults(run.results), *report_page.find_faults(run.results)] == []


def test_the_headline_claims_nothing_that_the_reading_does_not(finished):
    item = finished.doc["results"][0]
    blocks = {block["text"]: block["items"] for block in item["headline"]}
    supported = blocks.get("Supported for this student:", [])
    rows = [row for row in item["comparisons"] if row["reading"] in ("above", "below")]
    assert len(supported) == len(rows) > 0
    for row, line in zip(rows, supported, strict=True):
        assert line.startswith(
            f"{row['arm']} is {row['reading']} {row['against']} on {row['benchmark']}:"
        )
        # whatever holds for these very models
        assert row["p_holm"] <= 0.05 and (row["low_runs"] > 0 or row["high_runs"] < 0)
    assert any("no claim about the method on other students" in text for text in blocks)
    assert any("Two seeds only" in text for text in finished.doc["warnings"])
    unclear = [row for row in item["comparisons"] if row["reading"] == "unclear"]
    assert len(blocks["Not decided for this student:"]) == len(unclear) > 0


def test_every_known_arm_has_its_line_and_a_new_one_is_described_by_its_configuration():
    raw = _configuration({})
    raw["arms"]["mine"] = {
        "trained_on": "reflection",
        "error_source": "other_problem",
        "prompt_includes": ["teacher", "errors"],
    }
    raw["runs"]["arms"] = ["base", "mine"]
    lines = {row["arm"]: row["text"] for row in arms.describe_arms(validate(raw))}
    assert lines["base"] == arms.ARMS["base"]
    assert (
        lines["mine"]
        == "Trained on the student's reflections; its prompts include teacher and errors; "
        "errors: other problem."
    )


def test_reflections_that_do_not_follow_the_format_are_counted_and_warned_of(small, tmp_path):
    # nobody writes this marker
    (tmp_path / "mine.jinja").write_text(
        '{% extends "demo" %}{% block marker %}Better:{% endblock %}', encoding="utf-8"
    )

    def change(raw):
        raw["prompts"] = "mine.jinja"
        raw["runs"] |= {"arms": ["base", "orion"], "seeds": [1], "benchmarks": ["chains-test"]}
        raw["comparisons"] = []
        raw["select"]["min_rows"] = 1

    run = small(change)
    run.report()
    [row] = run.doc["results"][0]["reflections"]
    assert row["reflections"] > 0 == row["with_refined_part"] == row["share_refined"]
    assert any(
        f"orion: only 0 of {row['reflections']} reflections (0.0\u00a0%) follow the format" in text
        for text in run.doc["warnings"]
    )


@pytest.mark.parametrize(("accuracy", "warned"), [(0.19, True), (0.2, False), (0.71, True)])
def test_a_student_that_is_mostly_right_or_wrong_leaves_little_to_work_on(
    finished, accuracy, warned
):
    doc = copy.deepcopy(finished.doc)
    # few problems with both kinds of samples are no reason: a wrong sample is enough
    doc["results"][0]["base"] |= {"accuracy": accuracy, "both": 0.1}
    assert any("little to work on" in line for line in summary.write_warnings(doc)) == warned
