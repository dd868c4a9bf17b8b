"""The report's sentences: what the numbers say and what they do not, warnings, and one line for every arm.

Input: finished rows. Output: plain text. A sentence claims a difference only where ``comparisons.reading`` names a side.
"""

from orion.config import Config
from orion.report.comparisons import SUPPORTED, excludes_zero

ARMS = {
    "base": "The student as it was, trained on nothing. Question: where does it start?",
    "sft_answer": "Trained on the reference solution, or on the bare answer where there is none. "
    "Question: is a chain of thought worth anything?",
    "sft_teacher": "Trained on the teacher's long chain of thought. Question: what does plain distillation give?",
    "sft_teacher_matched": "The teacher's chain of thought cut to ORION's token budget. Question: is it only fewer tokens?",
    "sft_own": "Trained on the student's own correct samples. Question: is rejection sampling enough?",
    "sft_rewrite": "The student rewrites the teacher's chain without seeing an error. Question: do errors add anything?",
    "orion_no_teacher": "The student refines with its own errors but without the teacher's chain in view. "
    "Question: is the teacher needed?",
    "orion_placebo": "The student refines with a wrong attempt at another problem in view. "
    "Question: must the errors be its own?",
    "orion": "The method: the student refines the teacher's chain with its own wrong attempt in view.",
}
_TEXTS = {
    "nothing": "trained on nothing",
    "solution": "trained on the reference solution",
    "teacher_trace": "trained on the teacher's chain of thought",
    "own_correct": "trained on the student's own correct samples",
    "reflection": "trained on the student's reflections",
}


def glossary(config: Config) -> list[dict]:
    """Arm and its line; an arm this project does not know is described by its configuration."""
    rows = []
    for name in config.runs.arms:
        arm = config.arms[name]
        text = _TEXTS[arm.trained_on]
        if arm.trained_on == "reflection":
            text += f", shown {' and '.join(arm.prompt_includes)}; errors: {(arm.error_source or 'none').replace('_', ' ')}"
        rows.append({"arm": name, "text": ARMS.get(name, f"{text[0].upper()}{text[1:]}.")})
    return rows


def points(value: float) -> str:
    """A difference of fractions in percentage points, with a true minus sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def percent(value: float | None) -> str:
    """A fraction in percent."""
    return "–" if value is None else f"{100 * value:.1f}\u00a0%"


def _say(text: str, *items: str) -> dict:
    return {"text": text, "items": list(items)}


def headline(street: dict, confidence: float) -> list[dict]:
    """What is so, in plain words: the listed comparisons, then the student, then the reflections. Each: text, items."""
    return [*_verdicts(street["comparisons"], confidence), *_student(street), *_treatment(street)]


def _verdicts(rows: list[dict], confidence: float) -> list[dict]:
    tested = [row for row in rows if row["reading"] != "not run"]
    if not tested:
        return [_say("No comparison was listed in the configuration, so none is made here.")]
    pairs = len({(row["arm"], row["against"]) for row in tested})
    zero = sum(excludes_zero(row["low"], row["high"]) for row in tested)
    sides = [row for row in tested if row["reading"] in SUPPORTED]
    said = [
        _say(
            f"{pairs} comparison{'s were' if pairs > 1 else ' was'} listed before the run, {len(tested)} tests in all. "
            f"In {zero or 'none'} of them the {100 * confidence:g} % interval over problems excludes zero; "
            f"{len(sides) or 'none'} also hold{'s' if len(sides) == 1 else ''} up when seeds are resampled and the p values "
            f"are corrected for the number of tests."
        )
    ]
    if sides:
        said.append(
            _say("Supported by these data:", *(_said(row, f"is {row['reading']}") for row in sides))
        )
    unclear = [row for row in tested if row["reading"] == "unclear"]
    if unclear:
        said.append(_say("Not decided by these data:", *(_said(row, "against") for row in unclear)))
    if any(row["low_seeds"] is None for row in tested):
        said.append(
            _say(
                "With a single seed no difference is called supported: one training run shows no spread."
            )
        )
    return said


def _said(row: dict, how: str) -> str:
    interval = f"{points(row['low'])} to {points(row['high'])}"
    if row["low_seeds"] is not None:
        interval += f"; with seeds {points(row['low_seeds'])} to {points(row['high_seeds'])}"
    return f"{row['arm']} {how} {row['against']} on {row['benchmark']}: {points(row['difference'])} points ({interval})"


def _student(street: dict) -> list[dict]:
    base = street["base"]
    return [
        _say(
            f"On the training problems the untrained student answers {percent(base['accuracy'])} of its samples correctly; "
            f"{percent(base['both'])} of the problems have both a right and a wrong sample."
        )
    ]


def _treatment(street: dict) -> list[dict]:
    if not street["reflections"]:
        return []
    correct = [f"{row['arm']}: {percent(row['share_correct'])}" for row in street["reflections"]]
    said = [_say("Reflections whose refined part checks correct:", *correct)]
    treated = [
        row for row in street["treatment"] if row["scope"] == "all" and row["rate"] is not None
    ]
    if not treated:
        return [
            *said,
            _say("How often a reflection treats its own error is not measurable on this dataset."),
        ]
    rates = (
        f"{row['arm']}: {percent(row['rate'])} (chance {percent(row['chance'])})" for row in treated
    )
    return [*said, _say("Reflections that treat the step their own error got wrong:", *rates)]


def warnings(doc: dict) -> list[str]:
    """What a reader should know before trusting the tables."""
    found = []
    versions: dict[str, list[str]] = {}
    for row in doc["packages"]:
        versions.setdefault(row["package"], []).append(
            f"{row['version']} ({row['artifacts']} artifacts)"
        )
    for package, seen in versions.items():
        if len(seen) > 1:
            found.append(
                f"Artifacts were made with different versions of {package}: {', '.join(seen)}."
            )
    if len(doc["grid"]["seeds"]) < 2:
        found.append("One seed only: the spread between training runs is unknown.")
    for source in doc["sources"]:
        for count, what in (
            (source["rejected"], "rejected rows"),
            (source["unparseable"], "unparseable gold answers"),
        ):
            if count:
                found.append(
                    f"{source['name']}: {count} {what}; they are listed beside its problems."
                )
    for street in doc["streets"]:
        found += _street_warnings(street)
    return found


def _street_warnings(street: dict) -> list[str]:
    where = f"{street['model']} on {street['dataset']}"
    found = []
    base = street["base"]
    if not 0.2 <= base["accuracy"] <= 0.7 or base["both"] < 0.5:
        found.append(
            f"{where}: the student's {percent(base['accuracy'])} on the training problems, {percent(base['both'])} of them "
            "with right and wrong samples, leave the method little to work on."
        )
    if base["traces_correct"] < base["with_trace"]:
        wrong = base["with_trace"] - base["traces_correct"]
        found.append(
            f"{where}: {wrong} of {base['with_trace']} teacher traces do not check correct and are not used."
        )
    dropped = {
        row["arm"]: row["dropped_too_long"] for row in street["table"] if row["dropped_too_long"]
    }
    for arm, count in dropped.items():
        found.append(
            f"{where}, {arm}: {count} training rows were longer than pack.max_length and dropped."
        )
    for row in street["table"]:
        if row["unfinished"] + row["failed"] > 0.1:
            share = percent(row["unfinished"] + row["failed"])
            found.append(
                f"{where}, {row['arm']} on {row['benchmark']}: {share} of the samples did not finish."
            )
    for row in street["comparisons"]:
        if row["reading"] == "not run":
            found.append(
                f"{where}: {row['arm']} against {row['against']} was listed but is not in the grid."
            )
            break
    return found
