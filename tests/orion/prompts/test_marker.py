"""Where a reflection's refined part begins."""

import time

import pytest

from orion import prompts

WORDS = "2 + 2 = 4, so \\boxed{4}."


@pytest.mark.parametrize(
    "line",
    [
        "### Refined solution",
        "### Refined Solution",
        "## REFINED SOLUTION",
        "#Refined solution",
        "###### refined solution:",
        "**Refined solution**",
        "**Refined Solution:**",
        "**Refined solution**:",
        "### **Refined Solution**",
        "__Refined solution__",
        "`### Refined solution`",
        "> ### Refined solution",
        "### Refined  solution ###",
        "### 2. Refined solution",
        "Refined solution",
        "Refined Solution:",
        "  ### Refined solution  ",
    ],
)
def test_a_heading_is_found_however_it_is_written(line):
    assert prompts.extract_refined("chat", f"The first step is wrong.\n{line}\n{WORDS}") == WORDS
    assert prompts.split_refined("chat", f"Wrong.\n{line}\n\n{WORDS}\n")[0].strip() == "Wrong."


@pytest.mark.parametrize(
    "line",
    [
        "Refined solution of the problem is this",
        "The refined solution:",
        "### Refined solutions",
        "### My refined solution",
        "## Solution",
        "",
    ],
)
def test_other_lines_are_no_marker(line):
    assert prompts.extract_refined("chat", f"Wrong.\n{line}\n{WORDS}") is None


@pytest.mark.parametrize(
    ("response", "refined"),
    [
        (f"### Refined Solution: {WORDS}", WORDS),
        (f"**Refined solution:** {WORDS}", WORDS),
        (f"Refined solution: {WORDS}", WORDS),
        ("### Refined solution\na\n### Refined solution\nb", "b"),
        ("### Refined solution\n  \n", None),
        ("no marker at all", None),
        # the exact words at the end of a line, unless a line is the marker
        (f"Sure! ### Refined solution\n{WORDS}", WORDS),
        (f"Sure! ### Refined solution: {WORDS}", WORDS),
        # quoted from the instruction, as small models do
        (f"I write a line that says only `### Refined solution`\n{WORDS}", None),
        (f'Here is "### Refined solution to the attempt"\n{WORDS}', None),
        (f"Write a line that says only ### Refined solution and, below it, {WORDS}", None),
        (
            f"I write `### Refined solution` below.\n## Refined solution\n{WORDS}\n"
            "That was my ### Refined solution.",
            f"{WORDS}\nThat was my ### Refined solution.",
        ),
    ],
)
def test_the_text_behind_the_last_marker(response, refined):
    assert prompts.extract_refined("chat", response) == refined


def test_any_other_marker_is_found_as_it_is_written():
    assert prompts.extract_refined("demo", "a wrong ; New: 1 ; New: 2 ") == "2"
    assert prompts.extract_refined("demo", "a ; new: 1") is None


def test_marks_in_another_script():
    mine = prompts.PromptSet(marker="### 改进解答")
    assert prompts.extract_refined(mine, "错。\n## **改进解答：**\n四") == "四"


@pytest.mark.parametrize(
    "piece", ["### ", "**", "Refined ", " \t", "#" * 6, "`>", "Refined solution"]
)
def test_hostile_responses_are_read_in_linear_time(piece):
    # 2 MB in one line and in many
    for text in (piece * (2_000_000 // len(piece)), f"{piece}\n" * (1_000_000 // len(piece))):
        start = time.process_time()
        prompts.extract_refined("chat", text)
        assert time.process_time() - start < 5
