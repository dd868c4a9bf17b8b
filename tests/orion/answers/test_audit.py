"""The audit of two policies: the tally, the band, disputed rows, and texts kept on one line."""

import json
import math
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from orion.answers import VERDICTS, Verdict, audit

NAMES = ("math", "strict")
ROWS = [
    audit.Row("a", "5", r"\boxed{5}"),
    audit.Row("b", "5", "The answer is 5."),
    audit.Row("c", "5", "The answer is 6."),
    audit.Row("d", "5", "so it is 5", False),
    audit.Row("e", "5", None),
    audit.Row("f", r"35\%", r"\boxed{35}"),
]


def audited() -> list[audit.AuditedRow]:
    return list(audit.audit_rows(ROWS, NAMES, timeout_s=120))


def tallied(found) -> audit.Audit:
    made = audit.Audit(NAMES)
    for one in found:
        made.add(one)
    return made


def test_rows_in_order_with_both_verdicts_and_the_finish_flag():
    found = audited()
    assert [(j.row.id, j.first.verdict, j.second.verdict) for j in found] == [
        ("a", "correct", "correct"),
        ("b", "correct", "no_answer"),
        ("c", "incorrect", "no_answer"),
        ("d", "no_answer", "no_answer"),
        ("e", "unparseable", "unparseable"),
        ("f", "correct", "incorrect"),
    ]
    assert [j.row.id for j in found if j.is_disputed] == ["b", "f"]
    assert [j.row.id for j in found if j.differs] == ["b", "c", "f"]


def test_tally_and_band():
    made = tallied(audited())
    assert (
        made.rows,
        made.correct(0),
        made.correct(1),
        made.disputed_rows,
        made.differing_rows,
    ) == (
        6,
        3,
        1,
        2,
        3,
    )
    assert made.band() == (1 / 6, 3 / 6)
    assert (made.accuracy(0), made.accuracy(1)) == (3 / 6, 1 / 6)


def test_no_rows_give_no_accuracy():
    made = audit.Audit(NAMES)
    assert math.isnan(made.accuracy(0)) and all(map(math.isnan, made.band()))
    assert audit.format_summary(made)[0] == "0 rows"


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(VERDICTS), st.sampled_from(VERDICTS)),
        st.integers(1, 99),
        min_size=1,
    )
)
@settings(max_examples=50, deadline=None)
def test_the_band_brackets_both_accuracies(counts):
    made = audit.Audit(NAMES, Counter(counts))
    low, high = made.band()
    assert (
        0
        <= low
        <= min(made.accuracy(0), made.accuracy(1))
        <= max(made.accuracy(0), made.accuracy(1))
        <= high
        <= 1
    )
    assert math.isclose((high - low) * made.rows, made.disputed_rows, abs_tol=1e-6)


def test_summary_shows_every_verdict_that_occurs_and_its_count():
    text = audit.format_summary(tallied(audited()))
    header = next(line for line in text if "no_answer" in line)
    assert header.split() == ["correct", "incorrect", "unparseable", "no_answer"]
    assert next(line for line in text if line.startswith("correct")).split() == [
        "correct",
        "1",
        "1",
        "0",
        "1",
    ]
    assert "16.67% to 50.00%: the 2 rows in dispute" in "\n".join(text)


def test_progress_is_told_of_every_row_once_and_slices_do_not_show():
    told = []
    rows = [audit.Row(str(n), "5", rf"\boxed{{{n % 7}}}") for n in range(2 * audit.SLICE + 3)]
    found = list(audit.audit_rows(iter(rows), NAMES, timeout_s=120, done=told.append))
    assert [j.row.id for j in found] == [row.id for row in rows]
    assert told == [audit.SLICE, audit.SLICE, 3]


def test_hostile_texts_stay_on_one_short_line():
    for text in (
        "a\nb\r\x1b[2J\x9b1m",
        "\u202e\u2066x",
        "\ud800",
        "5" * 10_000,
        "\\boxed{" * 1_000,
        "\0" * 500,
        "½ − √2",
    ):
        shown = audit.one_line(text)
        assert len(shown) <= audit.SHOWN and shown.isprintable()
        shown.encode("utf-8")
    assert audit.one_line("½ − √2") == "½ − √2"
    assert (audit.one_line(None), audit.one_line("")) == ("-", "(empty)")
    hostile = Verdict("incorrect", "a\nb", "math", "x\ny" * 100, 0, 1, "\x1b", "\r")
    made = audit.AuditedRow(audit.Row("i\nd", "g\r", "\x1b[2J"), hostile, hostile)
    assert [line.isprintable() for line in audit.format_difference(made, NAMES)] == [True] * 3
    assert max(map(len, audit.format_difference(made, NAMES))) < 5 * audit.SHOWN


def test_a_record_holds_both_verdicts_and_the_end_of_the_response():
    found = audited()[1]
    long = found._replace(row=found.row._replace(response="x" * 10_000 + "The answer is 5."))
    made = json.loads(json.dumps(audit.difference_record(long, NAMES)))
    assert (made["id"], made["gold"], made["disputed"]) == ("b", "5", True)
    assert made["math"]["extracted"] == "5" and made["strict"]["reason"] == "no box"
    assert (
        made["response_end"].endswith("The answer is 5.")
        and len(made["response_end"]) == audit.TAIL
    )
