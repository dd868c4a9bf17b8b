"""The page: its bounds, its figures, hostile text, and what it says of its limits."""

import copy
import json
import re

import polars as pl
import pytest

from orion.answers.steps import check_steps
from orion.report import contrasts, examples, figures, lanes, limits, page
from tests.helpers import browser, report_page, wide_report

HOSTILE = (
    "</pre></details><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
    "{{ 7919 * 104729 }}{% raw %}<!-- ]]> "
    "\x00\x1b[31m\x07\x08\r\x7f\x9b2J\u202eevil\ud800 &amp; \"'"
)
# without half of a pair, which no table could hold
STORED = HOSTILE.replace("\ud800", "")
# what no text of the page may hold: controls but tab and newline, direction marks, half pairs
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
LONG = HOSTILE + "x" * 2_000_000


@pytest.fixture(scope="module")
def wide(finished) -> dict:
    return wide_report.widen(finished.doc)


def spoil(doc: dict) -> dict:
    """The document with hostile text in every place that data, models or the user can reach."""
    doc = copy.deepcopy(doc)
    doc["title"] = LONG
    doc["warnings"] = [LONG] * 3
    for key in ("limits", "pretraining"):
        doc[key] = [HOSTILE, *doc[key]]
    for row in doc["arms"]:
        row["text"] = HOSTILE
    for model in doc["models"]:
        model |= {"repo": HOSTILE, "revision": LONG}
    for row in doc["packages"]:
        row |= {"package": HOSTILE, "version": HOSTILE + "9" * 500}
    for row in doc["sources"]:
        row["name"] = HOSTILE + "y" * 200
    for item in doc["results"]:
        item["plan"] |= {"reasons": [HOSTILE], "elsewhere": [LONG]}
        item["headline"] = [{"text": HOSTILE, "items": [LONG]}]
        item["levels"] = [
            {"benchmark": name, "field": HOSTILE[:40], "arm": arm, "value": f"{i}" + "w" * 58}
            | {"problems": 4, "accuracy": 0.5, "low": 0.1, "high": 0.9}
            for name in doc["grid"]["benchmarks"]
            for arm in doc["grid"]["arms"]
            for i in range(9)
        ]
        for row in item["largest_flips"]:
            row["problem_id"] = HOSTILE[:20] + "z" * 60
        for row in item["first_false_steps"]:
            row["rule"] = HOSTILE
        for example in item["examples"]:
            for key in ("problem", "problem_id", "answer", "attempt", "attempt_extracted"):
                example[key] = LONG
            example |= {"teacher_trace": HOSTILE, "levels": [HOSTILE[:60], "level: 1"]}
            example["attempt_false_step"] = {"start": 1_000_000, "end": 1_000_010}
            for reflection in example["reflections"]:
                for key in ("diagnosis", "refined", "foreign_attempt", "why"):
                    reflection[key] = LONG
                reflection |= {"verdict": HOSTILE, "finish_reason": HOSTILE}
                reflection["false_step"] = {"start": 3, "end": 2_000_000}
    return doc


def render(doc: dict) -> str:
    return page.fit_page(copy.deepcopy(doc), {})


def test_a_grid_of_24_arms_5_benchmarks_and_6_students_is_shown_whole(wide):
    doc = copy.deepcopy(wide)
    html = page.fit_page(doc, {})
    assert len(html.encode()) <= page.MAX_BYTES
    assert doc["bounds"]["students"] >= 6 and doc["bounds"]["overview_arms"] >= 24
    shown = set(re.findall(r'data-key="results/(\d)/table/(\d+)/accuracy"', html))
    assert len(shown) == 6 * 24 * 5
    assert len(doc["results"][0]["comparisons"]) >= 46
    for row in range(46):
        assert f'data-key="results/5/comparisons/{row}/difference"' in html


@pytest.mark.parametrize("grid", [{"arms": 200, "datasets": 1, "students": 1}, {"students": 9}])
def test_a_large_grid_fits_and_says_what_it_leaves_out(finished, grid):
    doc = wide_report.widen(finished.doc, **grid)
    html = page.fit_page(doc, {})
    assert len(html.encode()) <= page.MAX_BYTES
    shown = {int(s) for s in re.findall(r'id="s(\d+)-accuracy"', html)}
    assert len(shown) == min(len(doc["results"]), doc["bounds"]["students"])
    if len(shown) < len(doc["results"]):
        assert f'data-key="bounds/students" data-format="integer">{len(shown)}<' in html
    if doc["bounds"]["overview_arms"] < len(doc["grid"]["arms"]):
        assert 'data-key="bounds/overview_arms"' in html
    assert 'data-key="arms_shown"' in html


def test_hostile_text_is_inert_and_bounded_wherever_it_reaches_the_page(finished):
    doc = spoil(finished.doc)
    html = render(doc)
    assert len(html.encode()) <= page.MAX_BYTES
    assert html.count("<script>") == 1 and html.count("<script") == 1
    assert not re.search(r"<[^<>]*\bonerror\b[^<>]*>", html) and "<img" not in html
    assert "829348951" not in html and "{{ 7919 * 104729 }}" in html
    assert not RAW.search(html)
    # the pictures of the controls are there instead
    assert "\u2400\u241b[31m" in html
    known = {"html", "head", "meta", "title", "style", "body", "header", "main", "nav", "script"}
    known |= {"h1", "h2", "h3", "h4", "h5", "p", "ul", "li", "dl", "dt", "dd", "a", "b", "i", "br"}
    known |= {"table", "caption", "thead", "tbody", "tr", "th", "td", "div", "span", "section"}
    known |= {"figure", "figcaption", "details", "summary", "pre", "mark", "code", "small", "wbr"}
    known |= {"label", "select", "option", "button", "svg", "defs", "path", "use", "line", "rect"}
    known |= {"circle", "text"}
    parsed = report_page.Page()
    parsed.feed(html)
    assert parsed.tags <= known


def test_hostile_problems_and_titles_come_through_the_stages_inert(small, tmp_path):
    rows = [
        {"id": f"p{i}", "problem": f"{STORED} what is {i} and {i} ?", "answer": str(2 * i)}
        | {"trace": f"{STORED} it is \\boxed{{ {2 * i} }}"}
        for i in range(12)
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")

    def change(raw):
        raw["datasets"]["chains"] = {
            "source": {"kind": "jsonl", "path": "own.jsonl"},
            "fields": {"problem_id": "id", "teacher_trace": "trace"},
            "decontaminate_ngram": None,
        }
        raw["runs"] |= {"arms": ["base", "orion"], "benchmarks": ["chains-test"], "seeds": [1]}
        raw["comparisons"] = [{"arm": "orion", "against": "base"}]
        raw["select"]["min_rows"] = 1
        raw["report"]["title"] = STORED

    run = small(change)
    run.report()
    shown = run.doc["results"][0]["examples"]
    assert shown and all(STORED[:80] in example["problem"] for example in shown)
    assert "window.hacked = 1&lt;/script&gt;" in run.page
    assert run.page.count("<script") == 1 and not RAW.search(run.page)
    assert report_page.find_faults(run.results) == []


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_scrolls_sideways_and_no_hostile_script_runs(finished, wide, tmp_path, width):
    if browser.find() is None:
        pytest.skip("no Chromium on this machine (chromium, google-chrome): nothing is laid out")
    for name, doc in (("hostile", spoil(finished.doc)), ("wide", wide)):
        found = browser.measure(render(doc), width, tmp_path / name)
        assert found["width"] == width and found["hacked"] is False
        # the page's own script runs under its policy
        assert found["scripted"] == len(doc["results"])
        assert found["beyond"] == [], name
        # tables scroll within themselves on a phone, and not at all on a screen
        if width == 1280:
            assert found["scrolling"] == [], name


def test_the_page_prints(finished, tmp_path):
    if browser.find() is None:
        pytest.skip("no Chromium on this machine (chromium, google-chrome): nothing is printed")
    text = browser.print_page(render(finished.doc), tmp_path)
    assert text.startswith(b"%PDF") and text.count(b"/Type /Page\n") > 5


def test_the_layout_keeps_its_rules(finished):
    html, style = finished.page, finished.page.partition("<style>")[2].partition("</style>")[0]
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    for rule in ("@media screen and (prefers-color-scheme: dark)", "@media print", "@page"):
        assert rule in style
    # a wide table scrolls within its box; the figure's rows are folded on a narrow screen
    before = re.findall(r'(<div class="box">|<figure>)?\s*<table', html)
    assert before and all(before)
    # nothing but what lies in a box asks for more width than a phone has
    fixed = re.findall(r"([^{}]+)\{[^{}]*min-width: (\d+)px", style)
    assert all(int(width) <= 220 for _, width in fixed)
    assert style.count("{") == style.count("}")


def contrast(first: str, second: str) -> float:
    """The ratio of WCAG 2 of two colours such as #22262b."""

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((light(first), light(second)))
    return (high + 0.05) / (low + 0.05)


def test_colours_can_be_told_from_the_paper_in_both_modes(finished):
    style = finished.page.partition("<style>")[2].partition("</style>")[0]
    papers = re.findall(r"--paper: (#\w+)", style)
    papers = [f"#{p[1] * 2}{p[2] * 2}{p[3] * 2}" if len(p) == 4 else p for p in papers]
    assert len(papers) == 2
    for colour in (*figures.COLOURS.values(), *figures.OTHER_COLOURS):
        assert min(contrast(colour, paper) for paper in papers) >= 3, colour
    for name, least in (("ink", 7), ("soft", 4.5), ("link", 4.5), ("grey", 3)):
        for found, paper in zip(re.findall(rf"--{name}: (#\w+)", style), papers, strict=True):
            assert contrast(found, paper) >= least, name


def test_the_figure_of_comparisons_has_every_row_once_with_its_interval_and_margin(wide):
    found = contrasts.make_figure(wide, 10_000)
    rows = [(block["place"], row["number"]) for block in found["blocks"] for row in block["rows"]]
    assert len(rows) == len(set(rows)) == sum(len(i["comparisons"]) for i in wide["results"])
    for block in found["blocks"]:
        added = {row["status"] == "added" for row in block["rows"]}
        assert added == {"exploratory" in block["title"]}
        for row in block["rows"]:
            lane = contrasts.draw_row(found["axis"], row, [])
            assert ('class="band"' in lane) == (row["margin"] is not None)
            assert ("color:" in lane) == (row["reading"] not in contrasts.GREY)
    some = contrasts.make_figure(wide, 20)
    assert sum(len(block["rows"]) for block in some["blocks"]) == 20 and some["left_out"]


def test_a_lane_places_values_in_proportion_and_cuts_what_is_far_away():
    axis = lanes.make_axis([-0.1, 0.3], [-5.0, 0.35])
    # 1.6 times the largest of the near values
    assert axis.low < -0.48 and axis.low > -0.55 and axis.high > 0.35
    middle = (axis.low + axis.high) / 2
    assert axis.place(middle) == 50.0 and axis.place(-5.0) == 0.0 and axis.place(9.0) == 100.0
    assert 0.0 in axis.marks and len(axis.marks) >= 4
    lane = lanes.draw_lane(axis, 0.3, thick=(0.1, 0.5), thin=(-5.0, 0.35), band=(-0.03, 0.0))
    assert 'href="#arrow-left"' in lane and f'cx="{axis.place(0.3)}%"' in lane
    assert f'class="thick" x1="{axis.place(0.1)}%" x2="{axis.place(0.5)}%"' in lane
    assert lanes.make_axis([]).marks and lanes.make_axis([0.5, 0.5]).low < 0.5


def test_the_marked_step_is_the_first_false_one_of_the_text(finished):
    marked = 0
    for example in finished.doc["results"][0]["examples"]:
        texts = [(example["attempt"], example["attempt_false_step"])]
        texts += [(r["refined"], r["false_step"]) for r in example["reflections"]]
        for text, step in texts:
            false = [c for c in check_steps(text or "", timeout_s=5) if c.truth == "false"]
            first = min(((c.start, c.end) for c in false), default=None)
            assert first == (step and (step["start"], step["end"]))
            if step:
                marked += 1
                assert f"<mark>{page.mark_step(text[slice(*first)], most=4000)}</mark>" in (
                    finished.page
                )
    assert marked > 3


def test_the_levels_of_an_example_are_those_of_its_problem():
    problems = pl.DataFrame(
        {
            "problem_id": ["b", "a", "c", "d"],
            "meta": [
                {"level": n, "tags": t} for n, t in ((1, ["x"]), (2, ["x", "y"]), (1, []), (2, []))
            ],
        },
        schema={
            "problem_id": pl.String,
            "meta": pl.Struct({"level": pl.Int64, "tags": pl.List(pl.String)}),
        },
    )
    found = examples._list_levels(problems, {"a", "b"})
    assert found == {"a": ["level: 2", "tags: x", "tags: y"], "b": ["level: 1", "tags: x"]}


def test_a_step_beyond_the_part_shown_is_named_and_not_marked():
    text = page.mark_step("a" * 50 + "1 + 1 = 3", {"start": 50, "end": 59}, most=20)
    assert "<mark>" not in text and "behind this part" in text
    assert page.mark_step("<b> 2", {"start": 4, "end": 5}, most=9) == "&lt;b&gt; <mark>2</mark>"


def say(doc: dict) -> str:
    return "\n".join(limits._limit_claims(doc))


def test_a_claim_is_a_limit_until_a_confirmatory_test_supports_it(finished):
    doc = copy.deepcopy(finished.doc)
    item = doc["results"][0]
    rows = [row for row in item["comparisons"] if row["against"] == "sft_own"]
    for row in rows:
        row["reading"] = "above"
    claim = "better than training on the student's own correct samples"
    assert claim not in say(doc)
    rows[0]["reading"] = "unclear"
    assert f"In general that the method is {claim}: orion is confirmed to be above" in say(doc)
    rows[0]["reading"], rows[1]["status"] = "above", "added"
    assert claim in say(doc)
    rows[1]["status"], item["plan"]["reasons"] = "registered", ["plan.json was edited."]
    assert claim in say(doc) and "no registered test confirms orion above sft_own" in say(doc)
    item["comparisons"] = [row for row in item["comparisons"] if row["against"] != "sft_own"]
    assert f"{claim}: no test of this run compares orion with sft_own." in say(doc)


def test_what_was_pre_trained_is_said_of_every_student(finished):
    doc = finished.doc
    assert len(doc["pretraining"]) == 1 and doc["pretraining"][0].startswith("tiny: made for")
    assert "learned to refine before any arm" in doc["pretraining"][0]
    text = limits._describe_recipe(
        {"reflections": 0, "starved": "borrow", "columns": 8000, "foreign_attempts": 0.1}
    )
    assert "refined chain" not in text and "a subtraction with a borrow" in text
    assert "8,000 examples" in text and "10.0" in text
    for line in (*doc["pretraining"], *doc["limits"]):
        assert page.escape(line) in finished.page


def test_a_text_that_is_cut_again_counts_all_that_was_left_out():
    text = "x" * 9_000
    once = examples.truncate(text, 4_000)
    assert once.endswith(" … [5,000 more characters]")
    # the same cut again leaves it as it is, a shorter one counts from the whole text
    assert examples.truncate(once, 4_000) == once
    assert examples.truncate(once, 500) == examples.truncate(text, 500)
    assert page.mark_step(once, most=500).endswith("[8,500 more characters]")
