"""The cases of two peers' test suites, read from their test files as data.

Input: a checkout of Math-Verify or of inspect_ai. Output: `Suite`: its cases, and how many tests
were left out for what reason. The test files are parsed by `ast`, and nothing in them is imported
or run: a value is read if it is a literal or put together from literals.
"""

from __future__ import annotations

import ast
import hashlib
import json
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MATH_VERIFY = "math_verify"
INSPECT_AI = "inspect_ai"

Names = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A response that a peer's test says is right or wrong; it is right if any gold is matched."""

    peer: str
    golds: tuple[str, ...]
    response: str
    expected: bool
    test: str = field(default="", compare=False)

    @property
    def key(self) -> str:
        """A short hash, the same wherever the test stands in the suite."""
        text = json.dumps([self.peer, list(self.golds), self.response, self.expected])
        return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass
class Suite:
    """The distinct cases of a peer by their key, and counts of what was left out by reason."""

    cases: dict[str, Case] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def add(self, case: Case) -> None:
        """Count a case, or count that the suite has it twice."""
        if case.key in self.cases:
            self.left_out["the same case again"] += 1
        else:
            self.cases[case.key] = case


class NotDataError(Exception):
    """An expression that is no literal."""


def read_value(node: ast.expr, names: Names) -> Any:
    """The value of a literal, of a known name, or of strings put together from these.

    Raises NotDataError for any other expression.
    """
    match node:
        case ast.Constant():
            return node.value
        case ast.Name() if node.id in names:
            return names[node.id]
        case ast.Tuple() | ast.List():
            return tuple(read_value(element, names) for element in node.elts)
        case ast.JoinedStr():
            return "".join(str(read_value(part, names)) for part in node.values)
        case ast.FormattedValue(conversion=-1, format_spec=None):
            return read_value(node.value, names)
        case ast.Call(func=ast.Attribute(attr="dedent"), args=[text], keywords=[]):
            return textwrap.dedent(str(read_value(text, names)))
        case _:
            raise NotDataError(ast.dump(node)[:80])


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[:5] == "test_":
            yield node


def _parametrised(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.Call]:
    return [
        call
        for call in function.decorator_list
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "parametrize"
    ]


def _columns(call: ast.Call) -> list[str]:
    names = read_value(call.args[0], {})
    return names.replace(",", " ").split() if isinstance(names, str) else [*names]


def _rows(call: ast.Call) -> Iterator[Names | None]:
    """The rows of one `parametrize` as argument names to values; None for one that is not data."""
    columns, rows = _columns(call), call.args[1]
    if not isinstance(rows, ast.List | ast.Tuple):
        yield None
        return
    for row in rows.elts:
        try:
            value = read_value(row, {})
        except NotDataError:
            yield None
            continue
        yield dict(zip(columns, value if len(columns) > 1 else (value,), strict=True))


# what Math-Verify's tests set in a column, and its own default
_DEFAULTS = {"precision": 6, "strict": True, "allow_set_relation_comp": False}


def read_math_verify(checkout: Path) -> Suite:
    """The rows of Math-Verify's tests that have a gold, a prediction and what is expected."""
    suite = Suite()
    for path in sorted((checkout / "tests").glob("test_*.py")):
        for function in _functions(path):
            name = f"{path.stem}.{function.name}"
            calls = _parametrised(function)
            if not any("gold" in _columns(call) for call in calls):
                suite.left_out["no gold and response"] += 1
                continue
            for row in (row for call in calls for row in _rows(call)):
                expected = row and row.get("expected", row.get("result"))
                if row is None:
                    suite.left_out["a value that its test computes"] += 1
                elif any(row.get(column, usual) != usual for column, usual in _DEFAULTS.items()):
                    suite.left_out["an option that is not its default"] += 1
                else:
                    golds = (str(row["gold"]),)
                    suite.add(Case(MATH_VERIFY, golds, str(row["pred"]), bool(expected), name))
    return suite


# inspect_ai's scorers that compare a final answer with a target
_FINAL_ANSWER = ("match", "math", "answer")
INSPECT_FILES = (
    "test_match",
    "test_math",
    "test_answer",
    "test_classification",
    "test_pattern",
    "test_choice",
)
_RIGHT = {"CORRECT": True, "INCORRECT": False, "NOANSWER": False, "C": True, "I": False}
_STATUS = {
    "correct": True,
    "incorrect": False,
    "answer_parse_error": False,
    "answer_limit": False,
    "answer_timeout": False,
}


def _called(node: ast.AST) -> str:
    """The name of the function that an expression calls, awaited or not, else the empty string."""
    node = node.value if isinstance(node, ast.Await) else node
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


class _Walk:
    """One pass over the statements of a test of inspect_ai, with one row of its parameters."""

    def __init__(self, suite: Suite, test: str, names: Names):
        self.suite, self.test, self.names = suite, test, names
        self.response: ast.expr | None = None
        self.scorer = ""
        self.option = ""
        self.pairs: dict[str, tuple[ast.expr, ast.expr]] = {}
        self.found = 0

    def follow(self, body: list[ast.stmt]) -> None:
        """Take the statements in order."""
        for statement in body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=target)], value=value):
                    self.assign(target, value)
                case ast.Assert(test=test):
                    self.claim(test)

    def assign(self, target: str, value: ast.expr) -> None:
        """Follow one assignment: a scorer, a model output, a score, or a plain value."""
        call = value.value if isinstance(value, ast.Await) else value
        name = _called(value)
        match call:
            case ast.Call(args=args, keywords=keywords) if target == "scorer":
                self.scorer, self.option = name, _other_place(name, args, keywords)
            case ast.Call(keywords=[ast.keyword(arg="model_output", value=output)]):
                self.response = output
            case ast.Call(args=[_, ast.Call(args=[targets])]) if name == "scorer" and self.response:
                self.pairs[target] = (self.response, targets)
            case ast.Call(args=[output, targets]) if name == "_score_answer":
                self.pairs[target] = (output, targets)
            case _:
                try:
                    self.names[target] = read_value(value, self.names)
                except NotDataError:
                    self.names.pop(target, None)

    def claim(self, test: ast.expr) -> None:
        """Count what one assertion says of a score."""
        match test:
            case ast.BoolOp(values=parts):
                for part in parts:
                    self.claim(part)
            case ast.Compare(
                left=ast.Attribute(value=score, attr="text" | "value" | "status" as attribute),
                ops=[ast.Eq()],
                comparators=[right],
            ):
                claims = _STATUS if attribute == "status" else _RIGHT
                match score:
                    case ast.Call(func=ast.Name(id="_score_answer"), args=[output, targets]):
                        self.count((output, targets), claims, right)
                    case ast.Name(id=name) if name in self.pairs:
                        self.count(self.pairs[name], claims, right)

    def count(
        self, pair: tuple[ast.expr, ast.expr], claims: dict[str, bool], right: ast.expr
    ) -> None:
        """Add the case, or the reason why it is left out."""
        word = right.id if isinstance(right, ast.Name) else str(getattr(right, "value", ""))
        self.found += 1
        if claims is _RIGHT and self.scorer not in _FINAL_ANSWER:
            self.suite.left_out[f"the scorer {self.scorer}"] += 1
        elif claims is _RIGHT and self.option:
            self.suite.left_out[self.option] += 1
        else:
            try:
                response = read_value(pair[0], self.names)
                golds = read_value(pair[1], self.names)
                expected = claims[word]
            except (NotDataError, KeyError):
                self.suite.left_out["a value that its test computes"] += 1
            else:
                golds = (golds,) if isinstance(golds, str) else tuple(golds)
                self.suite.add(Case(INSPECT_AI, golds, str(response), expected, self.test))


def _other_place(scorer: str, args: list[ast.expr], keywords: list[ast.keyword]) -> str:
    """Why a scorer with these arguments is no test of a final answer, or the empty string."""
    given = {keyword.arg: keyword.value for keyword in keywords}
    if scorer == "match" and args:
        given["location"] = args[0]
    location = getattr(given.get("location"), "value", "end")
    return "" if location == "end" else f"the location {location} of match"


def read_inspect_ai(checkout: Path) -> Suite:
    """The cases of inspect_ai's scorers that compare a final answer with a target."""
    suite = Suite()
    folder = checkout / "tests" / "scorer"
    for name in INSPECT_FILES:
        for function in _functions(folder / f"{name}.py"):
            rows: list[Names | None] = [{}]
            for call in _parametrised(function):
                rows = list(_rows(call))
            for row in rows:
                walk = _Walk(suite, f"{name}.{function.name}", row or {})
                walk.follow(function.body)
                if not walk.found:
                    suite.left_out["no gold and response"] += 1
    for case in json.loads((folder / "math_cases.json").read_text(encoding="utf-8")):
        expected = _RIGHT[case["expected"]]
        suite.add(Case(INSPECT_AI, (case["target"],), case["output"], expected, "math_cases"))
    return suite


READERS = {MATH_VERIFY: read_math_verify, INSPECT_AI: read_inspect_ai}
