"""Turn Unicode into the ASCII and LaTeX of the tokenizer, and give decimal literals one spelling.

Input: any str, lone surrogates and NUL included. Output: str. Linear time.
"""

from __future__ import annotations

import re
import unicodedata

# combining marks, control and format characters, surrogates: they carry no value
_DROPPED = frozenset(("Cf", "Cc", "Cs", "Mn"))
_KEPT_CONTROLS = frozenset("\n\t\r")
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ", "0123456789+-()nix")
_SUBSCRIPT = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙₓ", "0123456789+-()nx")
_SUPERSCRIPT_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣ]+")
_SUBSCRIPT_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙₓ]+")
_VULGAR = re.compile("[¼-¾⅐-⅞↉]")
_ROOT = re.compile(r"([√∛∜])\s*(\d+(?:\.\d+)?|[A-Za-z](?![A-Za-z]))")
_ROOT_INDEX = {"√": "", "∛": "[3]", "∜": "[4]"}
_MAP = str.maketrans(
    {
        "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "‒": "-", "﹣": "-", "－": "-",
        "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ", "✕": r"\times ",
        "÷": r"\div ", "∗": "*", "⁄": "/", "∕": "/", "±": r"\pm ", "∓": r"\mp ",
        "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ",
        "∞": r"\infty ", "√": r"\sqrt ", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]",
        "π": r"\pi ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ",
        "λ": r"\lambda ", "φ": r"\phi ", "ω": r"\omega ",
        "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "∖": r"\setminus ",
        "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}",
        "°": r"^\circ ", "º": r"^\circ ", "′": "'", "’": "'", "‘": "'", "“": '"', "”": '"',
        "∶": ":", "，": ",", "、": ",", "。": ".", "：": ":", "；": ";", "…": r"\ldots ",
        "（": "(", "）": ")", "［": "[", "］": "]", "｛": "{", "｝": "}",
        "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ",
        "€": "", "¢": "", "£": "", "¥": "", "₹": "", "₽": "",
        "₩": "", "₫": "", "฿": "", "₴": "", "₪": "",
    }
)  # fmt: skip
_SPACED_THOUSANDS = re.compile(r"(?<=\d)[\u00a0\u2009\u202f\u2007](?=\d{3}(?!\d))")
# digits with a combining line or dot above
_LINED = re.compile("(?:\\d[\u0304\u0305\u0307])(?:\\d*[\u0304\u0305\u0307])*")
_BAR = re.compile(r"(?<=[.\d])\\bar\s*(?=\{?\d)")
_DOTS_ABOVE = re.compile(r"(\d*\.\d*)\\dot\s*\{?(\d)\}?(?:(\d*)\\dot\s*\{?(\d)\}?)?")
_BRACKETED = re.compile(r"(?<![\w.])(-?\d*\.\d*)\((\d+)\)(?=\W*$)")
_ELLIPSIS = re.compile(r"(\d*\.)(\d{1,200})(\.{2,}|\\(?:ldots|cdots|dots)(?![A-Za-z]))")
# a thousands group never follows a zero: 0,111 is no number
_DECIMAL = re.compile(r"([-+]?)([1-9]\d{0,2}(?:,\d{3})+|\d+)?(?:\.(\d*))?")


def _spell_vulgar_fraction(match: re.Match) -> str:
    top, _, bottom = unicodedata.normalize("NFKC", match.group()).partition("⁄")
    return rf"\frac{{{top}}}{{{bottom}}}"


def _spell_overline(match: re.Match) -> str:
    return rf"\overline{{{''.join(c for c in match.group() if c.isdigit())}}}"


def unicode_to_latex(text: str) -> str:
    """The text with typographic signs, fractions and scripts spelled as ASCII or LaTeX."""
    if text.isascii():
        return text.replace("\0", "") if "\0" in text else text
    text = _SPACED_THOUSANDS.sub("", text)
    text = _VULGAR.sub(_spell_vulgar_fraction, text)
    text = _SUPERSCRIPT_RUN.sub(lambda m: "^{" + m.group().translate(_SUPERSCRIPT) + "}", text)
    text = _SUBSCRIPT_RUN.sub(lambda m: "_{" + m.group().translate(_SUBSCRIPT) + "}", text)
    text = _ROOT.sub(lambda m: rf"\sqrt{_ROOT_INDEX[m[1]]}{{{m[2]}}}", text)
    text = text.translate(_MAP)
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", _LINED.sub(_spell_overline, text)).translate(_MAP)
    kept = (c for c in text if c in _KEPT_CONTROLS or unicodedata.category(c) not in _DROPPED)
    # digits of other scripts have a decimal value too
    return "".join(
        str(unicodedata.decimal(c)) if not c.isascii() and c.isdecimal() else c for c in kept
    )


def _overline_dotted(match: re.Match) -> str:
    head, first, between, last = match.groups()
    return rf"{head}\overline{{{first}{between or ''}{last or ''}}}"


def _overline_continued(match: re.Match) -> str:
    """0.333... as a repeating decimal; digits without a visible period are returned unchanged."""
    head, digits, dots = match.groups()
    for length in range(1, len(digits) // 2 + 1):
        period = digits[-length:]
        times = 3 if length == 1 else 2
        if digits.endswith(period * times):
            fixed = digits
            while fixed.endswith(period):
                fixed = fixed[:-length]
            return rf"{head}{fixed}\overline{{{period}}}"
    return f"{head}{digits}{dots}"


def overline_repeating(text: str) -> str:
    """Repeating decimals with a line above: from dots above, brackets, or an ellipsis."""
    if "\\bar" in text:
        text = _BAR.sub(r"\\overline", text)
    if "\\dot" in text:
        text = _DOTS_ABOVE.sub(_overline_dotted, text)
    if "." in text and ("(" in text or ".." in text or "dots" in text):
        text = _BRACKETED.sub(r"\1\\overline{\2}", text)
        text = _ELLIPSIS.sub(_overline_continued, text)
    return text


def decimal_literal(text: str) -> str | None:
    """The canonical spelling of a plain decimal literal (sign, thousands commas, point), else None.

    Works on digit strings, so a million digits cost linear time and no conversion.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    sign, whole, fraction = match.groups()
    if not whole and not fraction:
        return None
    whole = (whole or "").replace(",", "").lstrip("0") or "0"
    fraction = (fraction or "").rstrip("0")
    body = f"{whole}.{fraction}" if fraction else whole
    return "-" + body if sign == "-" and body != "0" else body
