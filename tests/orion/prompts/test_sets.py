"""Prompt sets: what the built-in ones render, files of a user's own, and their messages."""

import json
import random
import re
from pathlib import Path

import pytest

from orion import prompts
from orion.errors import InputError

RENDERINGS = [
    json.loads(line)
    for line in (Path(__file__).parent / "renderings.jsonl").read_text("utf-8").splitlines()
]
# the patterns of the filter `leak`, written another way. "As shown above" is no leak: a chain may
# say it of itself, as conclusions of real traces do
LEAKS = {
    "chat": re.compile(
        r"\b(?:reference (?:solution|answer)"
        r"|(?:the|my|your|an?) (?:\w+ )?(?:earlier|previous|prior)"
        r" (?:attempts?|solutions?|answers?)"
        r"|(?:earlier|previous|prior|wrong|incorrect|my|your|these|those) attempts?"
        r"|my (?:first|second|third) attempt|attempt \d"
        r"|(?:solution|attempt) (?:(?:given|provided|shown) )?above"
        r"|(?:as )?(?:given|provided) above"
        r"|the (?:given|provided) (?:solution|answer)|refined solution)\b",
        re.IGNORECASE,
    ),
    "demo": re.compile(r"\b(?:Teacher|Attempt|Refine|New|Question) ?:|\bcheck\b|\bvs\b|\bwrong\b"),
}


@pytest.mark.parametrize("name", prompts.BUILT_IN)
def test_the_built_in_sets_render_what_is_recorded(name):
    """Another byte would be another prompt, and every stored completion would be lost."""
    rows = [row for row in RENDERINGS if row["set"] == name]
    assert len(rows) == 22
    for row in rows:
        given = row["given"]
        if row["kind"] == "reflect":
            found = prompts.reflect(
                name, given["problem"], teacher=given["teacher"], errors=given["errors"]
            )
            messages = prompts.reflect_messages(
                name, given["problem"], teacher=given["teacher"], errors=given["errors"]
            )
        elif row["kind"] == "solve":
            found = prompts.solve(name, given["problem"])
            messages = prompts.solve_messages(name, given["problem"])
        else:
            found = prompts.answer(name, given["gold"])
            messages = [{"role": "user", "content": found}]
        assert found == row["text"], row["given"]
        assert messages == [{"role": "user", "content": row["text"]}]
    assert prompts.prefill(name) == "" and prompts.opening(name) == []


@pytest.mark.parametrize("name", prompts.BUILT_IN)
def test_the_filter_leak_finds_what_it_found_as_one_pattern(name):
    words = re.findall(
        r"\S+",
        "reference solution answer the my your an earlier previous prior attempt attempts "
        "solutions wrong incorrect these those first second third 3 given provided above as shown "
        "refined Teacher : Attempt: Refine check vs New Question",
    )
    rng = random.Random(0)
    found = 0
    for _ in range(20_000):
        text = " ".join(rng.choice(words) for _ in range(rng.randint(1, 5)))
        text = text.upper() if rng.random() < 0.3 else text
        expected = LEAKS[name].search(text) is not None
        assert prompts.find_leak(name, text) == expected, text
        found += expected
    assert 1000 < found < 15_000


@pytest.mark.parametrize("name", prompts.BUILT_IN)
def test_the_built_in_sets_are_valid(name):
    prompts.validate(prompts.load(name), name)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Writes a prompt file, loads and validates it under the name mine.jinja."""
    monkeypatch.chdir(tmp_path)

    def run(text: str) -> prompts.PromptSet:
        Path("mine.jinja").write_text(text, encoding="utf-8")
        chosen = prompts.load("mine.jinja")
        prompts.validate(chosen, "mine.jinja")
        return chosen

    return run


OWN = """{# my own #}
{% block system %}
You are careful.
{% endblock %}
{% block solve %}
Q: {{ problem }} {# a remark #}
{% endblock %}
{% block answer %}
A: {{ answer }}
{% endblock %}
{% block reflect %}
P: {{ problem }}
{% if teacher is not none %}
T: {{ teacher }}
{% endif %}
{% for error in errors %}
E{{ loop.index }}: {{ error }}
{% endfor %}
Go.
{% endblock %}
{% block marker %}
## Better
{% endblock %}
"""


def test_a_set_of_ones_own(load):
    mine = load(OWN)
    assert prompts.solve(mine, "1 {{ 2 }}\n") == "Q: 1 {{ 2 }}\n"
    assert prompts.reflect(mine, "p", teacher="t", errors=["a", "b"]) == (
        "P: p\nT: t\nE1: a\nE2: b\nGo."
    )
    assert prompts.reflect(mine, "p", teacher=None, errors=["a"]) == "P: p\nE1: a\nGo."
    assert prompts.solve_messages(mine, "x") == [
        {"role": "system", "content": "You are careful."},
        {"role": "user", "content": "Q: x"},
    ]
    assert prompts.extract_refined(mine, "first\n# BETTER:\nthen") == "then"
    # without a block of its own, the words of the chat set
    assert prompts.find_leak(mine, "as in the reference solution")
    # what a comment says concerns no stage
    assert mine == load(OWN.replace("a remark", "another").replace("my own", "ours"))


def test_a_set_may_change_a_block_of_another(load):
    mine = load('{% extends "chat" %}\n{% block solve %}{{ problem }} Solve it.{% endblock %}')
    assert prompts.solve(mine, "2+2?") == "2+2? Solve it."
    assert mine.reflect == prompts.load("chat").reflect
    assert prompts.answer(mine, "4") == "The final answer is \\boxed{4}."


EXAMPLES = """{% extends "chat" %}
{% block examples %}
  - problem: |
      What is 1 + 1?
    solution: |
      1 + 1 = 2, so \\boxed{2}.
  - problem: Another?
    solution: "{% raw %}{{ 3 }}{% endraw %}"
{% endblock %}
{% block reflect_examples %}
- problem: p1
  teacher: t1
  errors: [e1]
  reflection: with both
- problem: p2
  teacher: t2
  reflection: with the teacher
{% endblock %}
"""


def test_worked_examples_are_earlier_turns(load):
    mine = load(EXAMPLES)
    turns = prompts.solve_messages(mine, "mine")
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2 + ["user"]
    assert turns[0]["content"] == prompts.solve("chat", "What is 1 + 1?")
    assert [turn["content"] for turn in turns[1::2]] == ["1 + 1 = 2, so \\boxed{2}.", "{{ 3 }}"]
    both = prompts.reflect_messages(mine, "p", teacher="t", errors=["e"])
    assert [turn["content"] for turn in both[1::2]] == ["with both"]
    assert both[0]["content"] == prompts.reflect("chat", "p1", teacher="t1", errors=["e1"])
    teacher = prompts.reflect_messages(mine, "p", teacher="t", errors=[])
    assert [turn["content"] for turn in teacher[1::2]] == ["with the teacher"]
    # no example shows errors alone
    assert len(prompts.reflect_messages(mine, "p", teacher=None, errors=["e"])) == 1


REFLECT = "{% block reflect %}{{ problem }} {{ teacher }} {{ errors }}{% endblock %}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"mine\.jinja: no block solve, reflect, answer, marker; add it, or begin the file"),
        ("hello", r"mine\.jinja, line 1: 'hello' stands outside of a block"),
        ("{% if x %}{% endif %}", r"line 1: {% if %} stands outside of a block"),
        ("{{ problem }}", r"stands outside of a block"),
        ('{% extends "other" %}', r"extends other; a prompt set can extend chat or demo"),
        ("{% block slove %}x{% endblock %}", r"line 1: unknown block slove; did you mean solve\?"),
        ("{% block solve %}x", r"the block solve has no {% endblock %}"),
        ("{% block solve %}{% block answer %}", r"the block answer is inside of solve"),
        ("\n{% block solve %}{{ 'a }}{% endblock %}", r"mine\.jinja, line 2: "),
        (OWN + "{% block solve %}x{% endblock %}", r"line 24: the block solve is there twice"),
        (
            OWN.replace("{{ problem }} {#", "{{ question }} {#"),
            r"mine\.jinja: block solve: unknown slot {{ question }}; it has problem",
        ),
        (
            OWN.replace("Q: {{ problem }}", "Q: {{ probelm }}"),
            r"unknown slot {{ probelm }}; did you mean problem\?",
        ),
        (OWN.replace("Q: {{ problem }}", "Q:"), r"block solve: it does not show problem; use {{"),
        (OWN.replace("{{ answer }}", "{{ answer[:3] }}"), r"block answer: it does not show answer"),
        (
            '{% extends "chat" %}'
            + REFLECT.replace("{{ teacher }} {{ errors }}", "{{ errors | join }}"),
            r"block reflect: it does not show teacher; use {{ teacher }}",
        ),
        (
            '{% extends "chat" %}' + REFLECT,
            r"block reflect: it prints \[\] where an arm shows no errors; put it into {% if",
        ),
        (
            OWN.replace("{% if teacher is not none %}", "{% if true %}"),
            r"block reflect: it prints None where an arm shows no teacher",
        ),
        (
            OWN.replace("{{ error }}", "{{ error.text }}"),
            r"block reflect: it cannot be rendered: 'str object' has no attribute 'text'",
        ),
        (OWN.replace("Go.", "{{ range(9) | random }}"), r"block reflect.*No filter named 'random'"),
        (OWN.replace("Go.", "{{ ''.__class__ }}"), r"unsafe|access to attribute"),
        (OWN.replace("## Better", ""), r"the block marker is empty"),
        (OWN.replace("## Better", "## Better\nlines"), r"block marker: write one line of text"),
        (OWN + "{% block leak %}(a{% endblock %}", r"block leak: \(a is no regular expression"),
        (OWN + "{% block examples %}: :{% endblock %}", r"block examples: not a YAML list"),
        (OWN + "{% block examples %}text{% endblock %}", r"block examples: not a YAML list"),
        (
            OWN + "{% block examples %}- {problem: a, answer: b}{% endblock %}",
            r"block examples, example 1: no solution; an example has problem, solution",
        ),
        (
            OWN + "{% block examples %}- {problem: a, solution: 7}{% endblock %}",
            r"example 1: solution is not a text; write `solution: \|`",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_cure(load, text, message):
    with pytest.raises(InputError, match=message) as caught:
        load(text)
    assert str(caught.value).startswith("mine.jinja")


def test_files_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"chta: no prompt set; one of chat, demo, or the path"):
        prompts.load("chta")
    with pytest.raises(InputError, match=r"nowhere\.jinja: No such file or directory; name a"):
        prompts.load("nowhere.jinja")
    Path("latin.jinja").write_bytes("größer".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.jinja: not UTF-8"):
        prompts.load("latin.jinja")


def test_a_stage_without_its_block_says_so():
    with pytest.raises(InputError, match=r"the set has no block solve"):
        prompts.solve(prompts.PromptSet(marker="New:"), "x")


def test_the_example_of_the_documentation_is_a_valid_set(load, root):
    page = (root / "docs/prompts.md").read_text(encoding="utf-8")
    [text] = re.findall(r"^```jinja\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    mine = load(text)
    turns = prompts.reflect_messages(mine, "p", teacher="t", errors=["e"])
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "user"]
    assert prompts.extract_refined(mine, turns[2]["content"]).startswith("She buys pens")
    listed = re.findall(r"^\| `(\w+)` \| .* \|.*\|$", page, re.MULTILINE)
    assert listed == [name for name in listed if name in prompts.BLOCKS]
    assert set(listed) == set(prompts.BLOCKS)
