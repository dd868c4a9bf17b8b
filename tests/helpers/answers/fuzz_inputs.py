"""Inputs of the fuzzer: grammar fragments, well-formed mathematics, mutated real texts, huge texts.

Real golds, labelled cases and student outputs come from the data folder beside the checkout, if it
exists. Nothing here imports the checker.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from hypothesis import strategies as st

SHARED = Path(__file__).resolve().parents[4] / "shared"
MAX_LENGTH = 2_000_000
# samples per file; all are sorted by length, so that the shrinker moves to the short ones
MAX_SAMPLES = 400


def _items(block: str) -> list[str]:
    """The items of a block, between pilcrows."""
    return [item.strip() for item in block.split("¶")]


FRAGMENTS = _items(
    r"""
\boxed{ ¶ \fbox{ ¶ } ¶ { ¶ ( ¶ ) ¶ [ ¶ ] ¶ $ ¶ $$ ¶ \( ¶ \) ¶ \[ ¶ \] ¶ \{ ¶ \} ¶ \frac ¶
\dfrac12 ¶ \frac{1}{2} ¶ \sqrt ¶ \sqrt[3] ¶ \binom ¶ ^ ¶ ** ¶ _ ¶ 1 ¶ 2 ¶ 0 ¶ 9 ¶ x ¶ y ¶ n ¶ i ¶
e ¶ , ¶ ; ¶ : ¶ . ¶ ! ¶ % ¶ | ¶ & ¶ + ¶ - ¶ * ¶ / ¶ = ¶ < ¶ > ¶ \\ ¶ \le ¶ \ge ¶ \ne ¶ \in ¶ \pm ¶
\mp ¶ \cdot ¶ \times ¶ \cup ¶ \cap ¶ \setminus ¶ \infty ¶ \pi ¶ \text{ ¶ \text{and} ¶
\mathrm{cm} ¶ \operatorname{lcm} ¶ \mathbb{R} ¶ \left ¶ \right ¶ \left( ¶ \right) ¶ \left| ¶
\right| ¶ \lfloor ¶ \rceil ¶ \sin ¶ \cos^{-1} ¶ \log_ ¶ \ln ¶ \exp ¶ \overline{3} ¶ 0.\overline{ ¶
\circ ¶ ^\circ ¶ \% ¶ \$ ¶ \begin{pmatrix} ¶ \end{pmatrix} ¶ \begin{cases} ¶ \end{cases} ¶
\ldots ¶ \mod ¶ \sum_{ ¶ \int ¶ \vec{ ¶ ' ¶ 12:30 ¶ 3:4 ¶ (A) ¶ A. ¶ 10_2 ¶ 1,000 ¶ 1{,}000 ¶
1e9 ¶ .5 ¶ 5. ¶ -0 ¶ 007 ¶ 1/3 ¶ 1 ¶ 1/2 ¶ #### ¶ <think> ¶ </think> ¶ <|im_end|> ¶ <answer> ¶
</answer> ¶ or ¶ and ¶ is ¶ not ¶ percent ¶ cm ¶ degrees ¶ sqrt ¶ pi ¶ inf ¶ None ¶ null ¶ NaN ¶
½ ¶ ² ¶ √ ¶ π ¶ ∞ ¶ − ¶ × ¶ · ¶ ° ¶ ≤ ¶ ∪ ¶ é ¶ 答案是 ¶ ١٢ ¶ １２ ¶ 𝟙 ¶ 𝟏 ¶ ~
"""
)
# spaces, direction marks, lone surrogates, control characters
FRAGMENTS += [
    *list("\u3000\u202e\u200b\ud800\udfff\0\x07\x1b\r\u2028 \n\t"),
    "\n\n",
    "the answer is ",
    "Final Answer: ",
    "so ",
]
BUILT_IN = [
    *_items(r"""
7 ¶ -3/4 ¶ 0.25 ¶ 1,234,567 ¶ 12\% ¶ \frac{14}{3} ¶ 1\frac{4}{5} ¶ 2\sqrt{3} ¶
\frac{1+\sqrt{5}}{2} ¶ x^2+2x+1 ¶ \sin^2 x ¶ e^{i\pi} ¶ \ln(2x) ¶ 10! ¶ \binom{10}{3} ¶ |x-1| ¶
(1,-2) ¶ \{1,2,3\} ¶ 1, 2 \text{ and } 3 ¶ [0,\infty) ¶ (-\infty,2)\cup(3,\infty) ¶ x \le 5 ¶
-2<x<7 ¶ y=2x+3 ¶ 2x+4y=8 ¶ \pm 3 ¶ 3:4 ¶ 12:30 \text{ PM} ¶ \text{Monday} ¶ (B) ¶
\text{(C) } 12 ¶ 204_5 ¶ 30^\circ ¶ 5 \text{ cm}^2 ¶ \$18.90 ¶ 0.\overline{27} ¶
\mathbb{R}\setminus\{0\} ¶ \begin{pmatrix}1&2\\3&4\end{pmatrix} ¶ x=1, y=2 ¶ \frac{x^2-1}{x-1} ¶
6.02\times10^{23} ¶ \emptyset ¶ 2^{100} ¶ \pi ¶
We get $x = 3$ or $x = 4$, so the sum is \boxed{7}. ¶
<think>Let me see. 2+2=5? No.</think>The answer is \(\boxed{4}\). ¶
The answer is 42. I hope it is correct.
"""),
    "She has 3 * 4 = 12 eggs left.\n#### 12",
    "**Final Answer**\n\n\\[ \\boxed{\\frac{3}{8}} \\]",
]
UNITS = _items(
    r"""
1 ¶ 9 ¶ ( ¶ ) ¶ { ¶ } ¶ [ ¶ \boxed{ ¶ \frac{1}{ ¶ \sqrt{ ¶ $ ¶ \[ ¶ - ¶ + ¶ 1+ ¶ 1, ¶ x ¶ x^ ¶
x^{ ¶ 9^{ ¶ (x+1) ¶ \left( ¶ | ¶ ! ¶ ' ¶ _ ¶ \ ¶ \\ ¶ & ¶ < ¶ <think> ¶ </think> ¶ # ¶ \cup(1,2) ¶
\text{ ¶ . ¶ 1. ¶ : ¶ = ¶ x=1, ¶ \% ¶ % ¶ ½ ¶ é ¶ ² ¶ \begin{pmatrix} ¶ 1& ¶ 1\\ ¶ \overline{ ¶
e ¶ \, ¶ ~ ¶ * ¶ ` ¶ "
"""
)
UNITS += list(" \n\0\ud800") + [
    f"{unit} "
    for unit in (
        "$",
        "\\",
        "\\pm",
        "\\sin",
        "and",
        "or 1",
        "a",
        "word",
        "answer is",
        "the answer is not",
    )
]
UNITS += ["#### 1\n"]


def _lines(path: Path) -> list[dict]:
    if path.suffix == ".zst":
        if shutil.which("zstd") is None:
            return []
        text = subprocess.run(
            ["zstd", "-dc", str(path)], capture_output=True, check=True
        ).stdout.decode()
    else:
        text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def samples() -> list[str]:
    """Short golds first, then whole responses; the built-in ones are always among them."""
    found = dict.fromkeys(BUILT_IN)
    patterns = ("cases/*.jsonl", "data/*.jsonl", "data/student*.zst")
    for path in (path for pattern in patterns for path in sorted(SHARED.glob(pattern))):
        rows = _lines(path)
        for row in rows[:: max(1, len(rows) // MAX_SAMPLES)]:
            for field in ("answer", "gold", "response", "solution"):
                if isinstance(row.get(field), str):
                    found[row[field]] = None
    return sorted(found, key=len)


SAMPLES = samples()
_SHORT = [s for s in SAMPLES if len(s) <= 80]
small = st.integers(0, 12)
fragments = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)


def _leaf() -> st.SearchStrategy[str]:
    numbers = st.one_of(
        small.map(str), st.integers(-(10**6), 10**30).map(str), st.fractions(-9, 9).map(str)
    )
    names = st.sampled_from(
        (
            "x",
            "y",
            "n",
            "\\theta",
            "\\pi",
            "e",
            "i",
            "\\infty",
            "x_1",
            "0.5",
            "1\\frac12",
            "50\\%",
            "45^\\circ",
        )
    )
    return st.one_of(numbers, names)


_ONE = _items(
    r"""
\sqrt{%s} ¶ \sqrt[3]{%s} ¶ (%s) ¶ \left(%s\right) ¶ -%s ¶ |%s| ¶ (%s)^2 ¶ (%s)^{-1} ¶ (%s)! ¶
\sin(%s) ¶ \cos %s ¶ \tan^{-1}(%s) ¶ \ln(%s) ¶ \log_{2}(%s) ¶ e^{%s} ¶ 2^{%s} ¶
\lfloor %s \rfloor ¶ \{%s\} ¶ x=%s ¶ x\le %s ¶ %s\%% ¶ %s\text{ cm} ¶ \overline{%s} ¶ \text{%s} ¶
\pm %s ¶ %s^\circ ¶ \mathbb{R}\setminus\{%s\} ¶ $%s$ ¶ \exp(%s)
"""
)
_TWO = _items(
    r"""
\frac{%s}{%s} ¶ %s+%s ¶ %s-%s ¶ %s %s ¶ %s\cdot %s ¶ (%s)/(%s) ¶ (%s)^{%s} ¶ \binom{%s}{%s} ¶
%s, %s ¶ (%s, %s) ¶ [%s, %s) ¶ \{%s, %s\} ¶ %s\cup %s ¶ %s=%s ¶ %s<%s ¶ %s\pm %s ¶ %s:%s ¶
%s \text{ and } %s ¶ %s \text{ or } %s ¶ \log_{%s} (%s) ¶ \begin{pmatrix}%s&%s\end{pmatrix} ¶
\begin{pmatrix}%s\\%s\end{pmatrix} ¶ \gcd(%s,%s) ¶ \max(%s,%s) ¶ %s_%s ¶ %s \mod %s
"""
)
mathematics = st.recursive(
    _leaf(),
    lambda inner: st.one_of(
        st.builds(lambda form, a: form.replace("%s", a), st.sampled_from(_ONE), inner),
        st.builds(lambda form, a, b: form % (a, b), st.sampled_from(_TWO), inner, inner),
    ),
    max_leaves=8,
)
STEPS = ("delete", "insert", "splice", "repeat", "truncate", "nest", "double")
_step = st.tuples(
    st.sampled_from(STEPS),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.sampled_from(FRAGMENTS),
    st.sampled_from(SAMPLES),
)


def mutate(text: str, steps: list[tuple[str, int, int, str, str]]) -> str:
    """Applies each step to the text, at the offsets given by its two numbers."""
    for kind, first, second, fragment, other in steps:
        a, b = sorted((first % (len(text) + 1), second % (len(text) + 1)))
        if kind == "delete":
            text = text[:a] + text[b:]
        elif kind == "insert":
            text = text[:a] + fragment + text[a:]
        elif kind == "splice":
            text = text[:a] + other[second % (len(other) + 1) :]
        elif kind == "repeat":
            text = text[:a] + text[a:b] * (2 + second % 40) + text[b:]
        elif kind == "truncate":
            text = text[:b]
        elif kind == "nest":
            text = "\\frac{1}{" * (1 + second % 40) + text + "}" * (1 + second % 40)
        else:
            text = text + fragment + text
        text = text[:MAX_LENGTH]
    return text


mutated = st.builds(mutate, st.sampled_from(SAMPLES), st.lists(_step, max_size=4))


def _pile(head: str, unit: str, bits: int, core: str, closing: str, closed: bool) -> str:
    """A unit repeated, and closed as often or not at all; at most MAX_LENGTH characters."""
    count = min(1 << bits, (MAX_LENGTH - len(head) - len(core)) // (len(unit) + len(closing)))
    return head + unit * count + core + closing * (count if closed else 0)


piled = st.builds(
    _pile,
    st.sampled_from(("", "\\boxed{", "The answer is ", "<think>", "1")),
    st.sampled_from(UNITS) | st.sampled_from(_SHORT),
    st.integers(1, 10) | st.integers(8, 21),
    st.sampled_from(("", "1", "x", "}", "\\boxed{5}")),
    st.sampled_from(("}", ")", "]", "|", "\\right)", "\\end{pmatrix}", "</think>")),
    st.booleans(),
)
_digits = st.integers(1, 14).map(lambda bits: ("1234567890" * (1 << max(0, bits - 3)))[: 1 << bits])
huge = st.one_of(
    _digits,
    st.builds("{}.{}".format, _digits, _digits),
    st.builds("\\frac{{{}}}{{{}}}".format, _digits, _digits),
    st.builds("{}^{{{}}}".format, st.integers(2, 99), st.integers(10, 10**12)),
    st.builds("{}^{{{}^{{{}}}}}".format, st.integers(2, 99), small, st.integers(10, 10**6)),
    st.builds("({})!".format, st.integers(10, 10**9)),
    st.builds("\\binom{{{}}}{{{}}}".format, st.integers(10, 10**9), st.integers(1, 10**9)),
    st.builds("{}e{}".format, small, st.integers(-(10**9), 10**9)),
    st.builds(
        "(x+{})^{{{}}}-(x+{})^{{{}}}".format,
        small,
        st.integers(2, 10**4),
        small,
        st.integers(2, 60),
    ),
    st.builds("\\sqrt[{}]{{{}}}".format, st.integers(2, 10**6), _digits),
    st.builds("\\sin({}^{{{}}})".format, small, st.integers(1, 10**6)),
)
# items that are costly to compare; K is replaced by a number
_ITEMS = _items(
    r"""
K ¶ x=K ¶ \sqrt{K+x} ¶ (K,x) ¶ (K,K+1] ¶ (x+y+z+K)^7 ¶ (x+K)^{900} ¶ \sin(Kx)^2+\cos(Kx)^2 ¶
\frac{1}{x+K} ¶ \ln(x+K) ¶ \pm K ¶ K+Ki ¶ \sqrt{K+\sqrt{2}} ¶ 2^{K}3^{K} ¶ K! ¶ \{K\} ¶ e^{Kx}y ¶
x^K<K ¶ K\text{ cm} ¶ \lfloor K x\rfloor ¶ \binom{x}{K}
"""
)
_JOINTS = (", ", " \\text{ and } ", " \\cup ", "&", "\\\\", "<", "=", ":", "+", "\\cdot ")
_SHELLS = ("%s", "\\{%s\\}", "(%s)", "\\begin{pmatrix}%s\\end{pmatrix}", "[%s]")


def _series(item: str, first: int, count: int, joint: str, shell: str) -> str:
    return shell.replace("%s", joint.join(item.replace("K", str(first + k)) for k in range(count)))


_counts = st.integers(1, 6) | st.integers(1, 70)
_joint = st.sampled_from(_JOINTS[:1]) | st.sampled_from(_JOINTS)
_shell = st.sampled_from(_SHELLS)
many = st.builds(_series, st.sampled_from(_ITEMS), small, _counts, _joint, _shell)


@st.composite
def rivals(draw) -> tuple[str, str]:
    """Two series of similar items: all pairs of items may have to be compared."""
    item, other, count = draw(st.sampled_from(_ITEMS)), draw(st.sampled_from(_ITEMS)), draw(_counts)
    joint, shell = draw(_joint), draw(_shell)
    other = other if draw(st.integers(0, 3)) == 3 else item
    return _series(item, draw(small), count, joint, shell), _series(
        other, draw(small), count, joint, shell
    )


answers = st.one_of(
    mathematics,
    st.sampled_from(_SHORT),
    mathematics,
    fragments,
    mutated,
    huge,
    piled,
    piled,
    many,
    st.text(max_size=60),
)
_FRAMES = [
    *_items(r"""
\boxed{%s} ¶ %s ¶ So the answer is $\boxed{%s}$. ¶ <think>maybe 3</think> The answer is %s. ¶
The answer is $%s$ ¶ #### %s ¶ \boxed{%s}, \boxed{%s} ¶ \boxed{%s ¶ <think>\boxed{1}%s ¶
Either \boxed{2} or \boxed{%s} ¶ 答案是 %s ¶ \fbox %s
"""),
    "%s\n",
]
_frame = st.sampled_from(_FRAMES)


@st.composite
def cases(draw) -> tuple[str, str, bool]:
    """(response, gold, whether the replayed checkers are asked as well)."""
    if draw(st.integers(0, 9)) == 9:
        answer, gold = draw(rivals())
    else:
        answer = draw(answers)
        gold = answer if draw(st.integers(0, 3)) == 3 else draw(answers)
    response = draw(_frame).replace("%s", answer) if draw(st.integers(0, 3)) else answer
    return response[:MAX_LENGTH], gold[:MAX_LENGTH], draw(st.integers(0, 15)) == 15
