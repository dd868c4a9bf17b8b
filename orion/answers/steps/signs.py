"""The signs and LaTeX commands that stand between and around the values of a side.

Input: none. Output: sets of spellings.
"""

from __future__ import annotations

FRACTIONS = frozenset(("\\frac", "\\dfrac", "\\tfrac", "\\cfrac"))
TIMES = frozenset(("*", "×", "·", "∙", "⋅", "\\cdot", "\\times"))
DIVIDE = frozenset(("/", "÷", "⁄", "\\div"))
MINUS = frozenset(("-", "−", "–", "—"))
SKIPPED = frozenset(
    ("\\left", "\\right", "\\!", "\\,", "\\;", "\\:", "\\ ", "\\big", "\\Big", "\\bigl", "\\bigr",
     "\\Bigl", "\\Bigr", "\\bigg", "\\Bigg", "\\displaystyle", "\\textstyle", "\\boxed", "\\fbox",
     "\\quad", "\\qquad", "\\>", "\\biggl", "\\biggr", "\\Biggl", "\\Biggr", "\\limits")
)  # fmt: skip
TEXTS = frozenset(
    ("\\text", "\\mbox", "\\mathrm", "\\textrm", "\\textbf", "\\textit", "\\mathbf", "\\hbox",
     "\\textnormal", "\\rm", "\\operatorname", "\\mathit", "\\texttt", "\\bf")
)  # fmt: skip
# commands that the parser would read past, or that may be an operation of the text's own
OPAQUE = frozenset(
    ("\\|", "\\&", "\\#", "\\@", "\\ast", "\\star", "\\oplus", "\\otimes", "\\circledast",
     "\\diamond", "\\clubsuit", "\\spadesuit", "\\heartsuit", "\\bigstar", "\\odot", "\\bullet",
     "\\ldots", "\\cdots", "\\dots", "\\vdots", "\\dotsb", "\\dotsm", "\\mid",
     "\\angle", "\\measuredangle", "\\triangle", "\\square", "\\Box")
)  # fmt: skip
# functions of a list of numbers: 132,100 in them is no thousands group
LISTING = frozenset(("gcd", "lcm", "\\gcd", "\\max", "\\min", "max", "min", "GCD", "LCM", "GCF"))
# functions in plain text
FUNCTION_WORDS = frozenset(("sqrt", "gcd", "lcm"))
