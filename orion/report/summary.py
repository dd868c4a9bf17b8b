"""The report's sentences: the headline and the warnings.

Input: finished rows. Output: plain text. A sentence claims something of a comparison only where its
reading does, and calls it confirmatory only where it was registered before any result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orion.experiment.comparisons import excludes_zero
from orion.experiment.hypotheses import CONFIRMED, OPEN, REFUTED, UNCLEAR
from orion.report.comparisons import EXPLORATORY, NOT_RUN
from orion.report.registration import ADDED, REMOVED

# columns of the table: why training rows were left out of the packed sequences
UNPACKED = {
    "dropped_too_long": "were longer than pack.max_length and dropped",
    "rejected": "were rejected, because the chat template cannot carry them; packed/stats.json "
    "has the reasons",
}
# the simulation's figures are in docs/statistics.md
TWO_SEEDS = (
    "Two seeds only: two runs hardly show the spread between runs. Where it is large, a family of "
    "tests without any true difference names a side more often than its level says "
    "(docs/statistics.md), and only large differences can be found. Three seeds or more are better."
)
# what a reading says of the arm, before the other one's name
RELATIONS = {
    "above": "is above",
    "below": "is below",
    "not inferior": "is not inferior to",
    "inferior": "is inferior to",
    "equivalent": "is equivalent to",
    "different": "differs by more than the margin from",
}
METHOD, UNTOUCHED = "orion", "base"
# below this share of reflections with a refined part there is a warning
FEW_REFINED = 0.5


def format_points(value: float) -> str:
    """A difference of fractions in percentage points, with a true minus sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def format_percent(value: float | None) -> str:
    """A fraction in percent."""
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"


def _block(text: str, *items: str) -> dict:
    return {"text": text, "items": list(items)}


@dataclass(frozen=True)
class Words:
    """How sentences name whom the tests are about: ``whose`` results, the test, the scope."""

    whose: str
    test: str
    scope: str


STUDENT = Words("this student", "for new training runs", "for this student")


def write_headline(item: dict, confidence: float) -> list[dict]:
    """Blocks of text and list items: method and base, the comparisons, the student, reflections."""
    rows, plan, groups = item["comparisons"], item["plan"], item["groups"]
    if rows or not groups:
        comparisons = summarise_comparisons(rows, plan, confidence, STUDENT, _limit_claims)
    else:
        text = "Its comparisons are made over the group, and none for this student alone"
        comparisons = [_block(f"{text}: {', '.join(groups)}.")]
    return [
        *_compare_with_base(item),
        *comparisons,
        _summarise_student(item["base"]),
        *_summarise_reflections(item),
    ]


def _compare_with_base(item: dict) -> list[dict]:
    """The method against the untouched student, on every benchmark; nothing where one is absent."""
    accuracies = {(row["arm"], row["benchmark"]): row["accuracy"] for row in item["table"]}
    lines = []
    for benchmark in dict.fromkeys(benchmark for _, benchmark in accuracies):
        both = [accuracies.get((arm, benchmark)) for arm in (METHOD, UNTOUCHED)]
        if None not in both:
            row = find_base_test(item["comparisons"], benchmark)
            shown = f"{format_percent(both[0])} against {format_percent(both[1])}"
            said = describe_base_test(row, item["plan"])
            if row is None and [METHOD, UNTOUCHED, benchmark] in item["tested_in_groups"]:
                said = f"tested over the group {', '.join(item['groups'])}, not for it alone"
            lines.append(f"{benchmark}: {shown}; {said}")
    if not lines:
        return []
    return [
        _block(f"{METHOD} against the untouched student, correct answers of this student:", *lines)
    ]


def find_base_test(rows: Sequence[dict], benchmark: str) -> dict | None:
    """The test of the method against the untouched student, a registered one if there is one."""
    found = [
        row
        for row in rows
        if (row["arm"], row["against"], row["benchmark"]) == (METHOD, UNTOUCHED, benchmark)
        and row["reading"] != NOT_RUN
    ]
    return min(found, key=lambda row: row["status"] == ADDED, default=None)


def describe_base_test(row: dict | None, plan: dict) -> str:
    """What may be claimed of it, as the end of a sentence."""
    if row is None:
        return "the two are not among the comparisons, so nothing is claimed of the difference"
    points = f"{format_points(row['difference'])} points"
    if row["reading"] in RELATIONS:
        named = f"{METHOD} {RELATIONS[row['reading']]} it, {points}"
        return f"{named}, not confirmatory" if plan["reasons"] else named
    if row["reading"] == EXPLORATORY:
        return f"{points}, added after results, so exploratory"
    return f"{points}, not decided"


def summarise_comparisons(
    rows: list[dict],
    plan: dict,
    confidence: float,
    words: Words,
    limit_claims: Callable[[list[dict]], str],
) -> list[dict]:
    """Blocks on the tests: registered, decided, what they are about, each difference, outcomes."""
    if not rows:
        return [_block("The configuration listed no comparison, so none is made here.")]
    reasons = plan["reasons"]
    family = [row for row in rows if row["status"] != ADDED]
    tested = [row for row in family if row["reading"] != NOT_RUN]
    decided = [row for row in tested if row["reading"] in RELATIONS]
    unclear = [row for row in tested if row["reading"] == UNCLEAR]
    added = [row for row in rows if row["reading"] == EXPLORATORY]
    blocks = [_count_registered(family, plan["is_reliable"], words)]
    if reasons:
        blocks.append(_block("No comparison on this page is confirmatory:", *reasons))
    if tested:
        blocks.append(_count_decided(tested, confidence, words))
    if tested or added:
        blocks.append(_block(limit_claims([*tested, *added])))
    if decided:
        lines = (_describe_difference(row, RELATIONS[row["reading"]]) for row in decided)
        title = "Named by the tests, not confirmatory:" if reasons else f"Supported {words.scope}:"
        blocks.append(_block(title, *lines))
    if unclear:
        lines = (_describe_difference(row, "against") for row in unclear)
        several = all(row["seeds"] > 1 or row["low_runs"] is not None for row in unclear)
        title = f"Not decided {words.scope}:" if several else "For these very models only:"
        blocks.append(_block(title, *lines))
    return [*blocks, *_count_outcomes(rows), *_list_changed(family, added)]


def _count_registered(family: list[dict], is_reliable: bool, words: Words) -> dict:
    pairs = len({(row["arm"], row["against"], row["kind"]) for row in family})
    if not pairs:
        return _block(
            f"No comparison was registered before a result of {words.whose} on this training set "
            "existed, so none is confirmatory."
        )
    verb = "comparisons were" if pairs > 1 else "comparison was"
    text = f"{pairs} {verb} registered before any result of {words.whose} on this training set"
    text += f", {len(family)} test{'s' if len(family) > 1 else ''} in all"
    return _block(
        f"{text}." if is_reliable else f"plan.json, which cannot be relied on, says: {text}."
    )


def _count_decided(tested: list[dict], confidence: float, words: Words) -> dict:
    nonzero = sum(excludes_zero(row["low"], row["high"]) for row in tested)
    decided = sum(row["reading"] in RELATIONS for row in tested)
    sided = all(row["kind"] == "superiority" for row in tested)
    return _block(
        f"For these very models the {100 * confidence:g} % interval excludes zero in "
        f"{nonzero or 'none'} of these tests. The test {words.test}, corrected for the "
        f"number of tests, {'names a side' if sided else 'decides'} in {decided or 'none'}."
    )


def _count_outcomes(rows: list[dict]) -> list[dict]:
    """How much of the registered pattern came out as expected; nothing without expectations."""
    found = [row for row in rows if row["outcome"] is not None]
    if not found:
        return []
    counts = {name: sum(row["outcome"] == name for row in found) for name in (CONFIRMED, REFUTED)}
    lines = (
        f"{row['arm']} {row['expect']} {row['against']} on {row['benchmark']}: {row['outcome']}"
        for row in found
    )
    text = (
        f"Of {len(found)} registered expectations, {counts[CONFIRMED] or 'none'} "
        f"{'is' if counts[CONFIRMED] == 1 else 'are'} confirmed, {counts[REFUTED] or 'none'} "
        f"refuted and {len(found) - sum(counts.values()) or 'none'} {OPEN}:"
    )
    return [_block(text, *lines)]


def _list_changed(family: list[dict], added: list[dict]) -> list[dict]:
    """The tests that were removed or added after results."""
    blocks = []
    removed = [row for row in family if row["status"] == REMOVED]
    if removed:
        lines = (
            f"{_name_test(row)}: removed after {_count_evaluations(row)} existed; {row['reading']}"
            for row in removed
        )
        title = "Registered, and removed after results; still tested and counted where they can be:"
        blocks.append(_block(title, *lines))
    if added:
        lines = (
            f"{_describe_difference(row, 'against')}; added after {_count_evaluations(row)} existed"
            for row in added
        )
        blocks.append(_block("Added after results, so exploratory and without a verdict:", *lines))
    return blocks


def _name_test(row: dict) -> str:
    return f"{row['arm']} against {row['against']} on {row['benchmark']}"


def _count_evaluations(row: dict) -> str:
    number = row["evaluations"]
    return f"{number} evaluation{'' if number == 1 else 's'}"


def _limit_claims(tested: list[dict]) -> str:
    """What the comparisons are about, by the number of runs."""
    if any(row["seeds"] < 2 for row in tested):
        return (
            "With a single seed all of this is about these very models: one training run does not "
            "show the spread between runs. No difference is called supported, and nothing is said "
            "about the method."
        )
    return (
        "All of this is about this student and its one draw of samples and reflections: the runs "
        "differ by the training seed only. It is no claim about the method on other students."
    )


def _describe_difference(row: dict, relation: str) -> str:
    low, high = format_points(row["low"]), format_points(row["high"])
    interval = f"for these very models {low} to {high}"
    margin = "" if row["margin"] is None else f"margin {100 * row['margin']:.1f}; "
    if row["low_runs"] is not None:
        low, high = format_points(row["low_runs"]), format_points(row["high_runs"])
        interval = f"{low} to {high}; {interval}; detectable {100 * row['detectable']:.1f}"
    return (
        f"{row['arm']} {relation} {row['against']} on {row['benchmark']}{_name_scope(row)}: "
        f"{format_points(row['difference'])} points ({margin}{interval})"
    )


def _name_scope(row: dict) -> str:
    """Over how many students, or draws of one, where the test is over several."""
    if "students" not in row:
        return ""
    if row["students"] > 1:
        return f" over {row['students']} students"
    return f" over {row['draws']} draws of this student"


def _summarise_student(base: dict) -> dict:
    return _block(
        f"On the training problems {format_percent(base['accuracy'])} of the untrained student's "
        f"samples are correct; {format_percent(base['both'])} of the problems have both a correct "
        "and a wrong sample."
    )


def _summarise_reflections(item: dict) -> list[dict]:
    if not item["reflections"]:
        return []
    correct = (
        f"{row['arm']}: {format_percent(row['share_correct'])}" for row in item["reflections"]
    )
    blocks = [_block("Reflections whose refined part has the correct answer:", *correct)]
    measured = [
        row for row in item["error_coverage"] if row["scope"] == "all" and row["rate"] is not None
    ]
    if not measured:
        text = "How often a reflection revisits its wrong step cannot be measured on this dataset."
        return [*blocks, _block(text)]
    rates = (
        f"{row['arm']}: {format_percent(row['rate'])} (chance {format_percent(row['chance'])})"
        for row in measured
    )
    text = "Reflections that revisit the step that their own error got wrong:"
    return [*blocks, _block(text, *rates)]


def write_warnings(doc: dict) -> list[str]:
    """What a reader should know before trusting the tables."""
    lines = []
    versions: dict[str, list[str]] = {}
    for row in doc["packages"]:
        text = f"{row['version']} ({row['artifacts']} artifacts)"
        versions.setdefault(row["package"], []).append(text)
    for package, texts in versions.items():
        if len(texts) > 1:
            lines.append(
                f"Artifacts were made with different versions of {package}: {', '.join(texts)}."
            )
    if len(doc["grid"]["seeds"]) < 2:
        text = "One seed only: the spread between training runs of a student is unknown"
        pooled = any(item["students"] > 1 for item in doc["groups"])
        lines.append(f"{text}; the spread between students contains it." if pooled else f"{text}.")
    if len(doc["grid"]["seeds"]) == 2:
        lines.append(TWO_SEEDS)
    for source in doc["sources"]:
        for count, noun, file in (
            (source["rejected"], "rejected rows", "rejected.parquet"),
            (source["unparseable"], "unparseable gold answers", "lint.json"),
        ):
            if count:
                lines.append(f"{source['name']}: {count} {noun}; {file} lists them.")
    for item in doc["results"]:
        lines += _warn_about(item)
    return lines


def _warn_about(item: dict) -> list[str]:
    place = f"{item['model']} on {item['dataset']}"
    lines = []
    base = item["base"]
    if not 0.2 <= base["accuracy"] <= 0.7:
        lines.append(
            f"{place}: {format_percent(base['accuracy'])} of the student's samples on the training "
            f"problems are correct, and {format_percent(base['both'])} of the problems have both "
            "correct and wrong samples. This leaves the method little to work on."
        )
    if base["with_trace"] is not None and base["traces_correct"] < base["with_trace"]:
        wrong = base["with_trace"] - base["traces_correct"]
        lines.append(
            f"{place}: {wrong} of {base['with_trace']} problems with teacher traces have none with "
            "a correct answer; these traces are not used."
        )
    for row in item["reflections"]:
        if row["reflections"] and row["share_refined"] < FEW_REFINED:
            lines.append(
                f"{place}, {row['arm']}: only {row['with_refined_part']} of {row['reflections']} "
                f"reflections ({format_percent(row['share_refined'])}) follow the format, so few "
                "can be trained on. Show the student an example, or open its turn with the marker "
                "(blocks reflect_examples and prefill of the prompt set)."
            )
    for name, reason in UNPACKED.items():
        counts = {row["arm"]: row[name] for row in item["table"] if row[name]}
        lines += [f"{place}, {arm}: {n} training rows {reason}." for arm, n in counts.items()]
    for row in item["table"]:
        unfinished = row["unfinished"] + row["failed"]
        if unfinished > 0.1:
            lines.append(
                f"{place}, {row['arm']} on {row['benchmark']}: {format_percent(unfinished)} of the "
                "samples did not finish."
            )
    return lines + [f"{place}: {reason}" for reason in item["plan"]["reasons"]]
