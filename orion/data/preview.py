"""The first rows of a problem set as the mapping makes them: before, after, and what is wrong.

Input: a validated block as a dictionary. Output: lines of text.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from orion.data.decontamination import fold_text
from orion.data.fields import FieldMap, Mapped
from orion.data.formats import BadRow, Row
from orion.data.golds import suggest_rule
from orion.data.problems import find_fault
from orion.data.row_paths import ABSENT, RowPath, suggest
from orion.data.sources import name_source, read_source

# rows that are looked at for counts and hints
LOOK = 200
WIDTH = 100
_NUMBERED = re.compile(r"(.+)\[(-?\d+)\](.*)")
# as many rows that are all the same are suspicious
MANY = 6
# who speaks the text of a field, as conversations name them
SPEAKERS = {"problem": ("user", "human"), "teacher_trace": ("assistant", "gpt", "model")}
THINK, END_THINK = "<think>", "</think>"
MARKERS = ("<|begin_of_thought|>", "<|begin_of_solution|>", "<<", "<|im_start|>", "<|im_end|>")


def preview(block: Row, shown: int) -> Iterator[str]:
    """The lines of one problem set: ``shown`` rows, the counts of the first ones, and hints.

    Raises InputError where the source cannot be read.
    """
    mapping = FieldMap(block["fields"], block["where"], name_source(block["source"]))
    yield f"source: {name_source(block['source'])}"
    counts: Counter[str] = Counter()
    mapped: list[Mapped] = []
    first: Row | None = None
    for number, row in enumerate(islice(read_source(block["source"]), LOOK)):
        if isinstance(row, BadRow):
            counts[row.reason] += 1
            yield f"row {number}: rejected, {row.reason}: {row.detail}"
            continue
        first = first or row
        if not mapping.accepts(row):
            counts["not where"] += 1
            continue
        found = mapping.map(row, number)
        fault = find_fault(found)
        counts[fault[0] if fault else "usable"] += 1
        mapped.append(found)
        if len(mapped) <= shown or (fault and counts[fault[0]] == 1):
            yield from _show_row(row, found, fault)
    told = ", ".join(f"{n} {why}" for why, n in counts.most_common()) or "no row"
    yield f"the first {counts.total()} rows: {told}"
    for hint in find_hints(mapping, mapped, first):
        yield f"hint: {hint}"


def _show_row(row: Row, found: Mapped, fault: tuple[str, str] | None) -> Iterator[str]:
    yield f"row {found.row}"
    for name, value in row.items():
        yield f"  {name} = {_cut(value)}"
    yield "  becomes" if fault is None else f"  is rejected, {fault[0]}: {fault[1]}"
    for name in ("problem_id", "problem", "answer", "solution"):
        yield f"    {name}: {_cut(getattr(found, name))}"
    for name, value in found.meta.items():
        yield f"    {name}: {_cut(value)}"
    for rank, trace in enumerate(found.traces):
        source = trace.source.replace("\n", "\\n")
        yield f"    trace {rank} ({source}): {_cut(trace.text)}"


def _cut(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    if len(text) <= WIDTH:
        return text
    if isinstance(value, str):
        # not in the middle of an escape
        head, tail = json.dumps(value[: WIDTH - 30])[:-1], json.dumps(value[-20:])[1:]
        return f"{head} ... {tail} ({len(value)} characters)"
    return f"{text[: WIDTH - 30]} ... {text[-20:]} ({len(text)} characters)"


def find_hints(mapping: FieldMap, rows: list[Mapped], first: Row | None) -> Iterator[str]:
    """What a wrong mapping could have meant, and what a text rule would mend."""
    if first is None:
        return
    for name, spec in mapping.fields.items():
        if not spec.seen:
            place = spec.origins[0]
            advice = suggest(place, first) or _columns(first)
            if name == "problem_id":
                advice += "; `problem_id: null` numbers the rows"
            yield f"no row has {place!r} for {name}{advice}"
    for text, path in mapping.where.paths.items():
        if path.get(first) is ABSENT:
            yield f"the first row has no {text!r} for where{suggest(text, first)}"
    yield from _find_speakers(mapping, first)
    yield from _answer_hints(rows)
    if "teacher_trace" in mapping.fields:
        yield from _trace_hints(mapping, rows)
    problems = [fold_text(row.problem) for row in rows if row.problem]
    repeated = len(problems) - len(set(problems))
    if len(set(problems)) == 1 and repeated >= MANY:
        yield f"problem: all {len(problems)} rows have the same text; is it the right place?"
    elif repeated and "teacher_trace" in mapping.fields:
        yield f"{repeated} rows repeat a problem: their traces become its candidates, in order"
    elif repeated:
        yield f"{repeated} rows repeat a problem: duplicates are rejected"


def _find_speakers(mapping: FieldMap, first: Row) -> Iterator[str]:
    """Fields that read the turn of the wrong speaker by its number, in the first row."""
    for name, wanted in SPEAKERS.items():
        if name not in mapping.fields:
            continue
        for found in map(_NUMBERED.fullmatch, mapping.fields[name].origins):
            turns = RowPath(found[1]).get(first) if found else None
            if not found or not isinstance(turns, list):
                continue
            turn = RowPath(f"{found[1]}[{found[2]}]").get(first)
            for key in ("role", "from") if isinstance(turn, dict) else ():
                others = [other.get(key) for other in turns if isinstance(other, dict)]
                right = [other for other in others if other in wanted]
                if right and turn.get(key) not in wanted:
                    yield (
                        f"{name}: {found[0]} is a turn of {turn.get(key)!r} in the first row; did "
                        f"you mean `{found[1]}[{key}={right[-1]}]{found[3]}`?"
                    )


def _answer_hints(rows: list[Mapped]) -> Iterator[str]:
    answers = [row.answer for row in rows if row.answer]
    advice = Counter(found for answer in answers if (found := suggest_rule(answer)))
    for found, count in advice.most_common(1):
        share = "" if count == len(answers) else f" ({count} of {len(answers)} rows)"
        yield f"answer{share}{found}"
    if answers and len(set(answers)) == 1 and len(answers) >= MANY:
        yield f"answer: all {len(answers)} rows have {_cut(answers[0])}; is it the right column?"
    if rows and all(r.problem and r.answer and r.problem == r.answer for r in rows):
        yield "problem and answer are the same text; one of them is mapped to the wrong column"


def _trace_hints(mapping: FieldMap, rows: list[Mapped]) -> Iterator[str]:
    texts = [trace.text for row in rows for trace in row.traces]
    if rows and not texts:
        yield "teacher_trace: no row has a trace"
    for marker in MARKERS:
        if marker in "".join(texts[:20]):
            yield f"teacher_trace: has the marker {marker}; see remove, remove_patterns and replace"
    closed = sum(END_THINK in text and THINK not in text for text in texts)
    if closed:
        place = mapping.fields["teacher_trace"].origins[0]
        template = place if "{" in place else f"{{{place}}}"
        yield (
            f"teacher_trace: {closed} of {len(texts)} traces have {END_THINK} and no {THINK}; a "
            "model whose chat template knows no thinking would be trained on that: "
            f'"{THINK}\\n{template}" opens it'
        )
    channels = sum("<|channel|>" in text for text in texts)
    if channels:
        yield (
            f"teacher_trace: {channels} of {len(texts)} traces are in the channels of gpt-oss; a "
            f"chat template that knows no thinking cannot carry them: see `replace` and {THINK}"
        )


def _columns(row: Row) -> str:
    return f"; the columns are: {', '.join(sorted(map(str, row))[:20])}"
