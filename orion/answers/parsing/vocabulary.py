"""The words and LaTeX commands that the tokenizer knows, and the token that each becomes.

Input: none. Output: sets of spellings, and tables from a spelling to a token's kind and value.
"""

from __future__ import annotations


def word_set(text: str) -> frozenset[str]:
    """The words of a text as a set."""
    return frozenset(text.split())


FUNCTIONS = word_set(
    "sin cos tan cot sec csc arcsin arccos arctan asin acos atan sinh cosh tanh coth"
    " ln log lg exp sqrt cbrt abs gcd lcm min max floor ceil sign sgn det"
    " arccot arcsec arccsc factorial binomial cis"
    " arcsinh arccosh arctanh arsinh arcosh artanh asinh acosh atanh"
)
FUNCTION_ALIASES = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan",
    "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
    "arsinh": "arcsinh", "arcosh": "arccosh", "artanh": "arctanh", "lg": "log10", "sgn": "sign",
}  # fmt: skip
GREEK = word_set(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi"
    " rho sigma tau upsilon phi varphi chi psi omega"
    " Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega ell hbar"
)
OPERATORS = {
    "cdot": "*", "times": "*", "ast": "*", "div": "/", "pm": "pm", "mp": "mp",
    "le": "<=", "leq": "<=", "leqslant": "<=", "ge": ">=", "geq": ">=", "geqslant": ">=",
    "ne": "!=", "neq": "!=", "lt": "<", "gt": ">", "in": "in",
    "cup": "cup", "bigcup": "cup", "cap": "cap", "setminus": "minus", "backslash": "minus",
    "mid": "|", "vert": "|", "land": "and", "wedge": "and", "lor": "or", "vee": "or",
    "over": "over", "choose": "choose", "colon": ":", "to": "to", "rightarrow": "to",
    "approx": "approx", "equiv": "equiv", "sim": "sim", "parallel": "parallel", "perp": "perp",
    "bmod": "bmod", "mod": "mod", "pmod": "mod", "pod": "mod",
    "circ": "deg", "degree": "deg", "prime": "'",
}  # fmt: skip
CONSTANTS = {
    "pi": "pi",
    "infty": "inf",
    "emptyset": "empty",
    "varnothing": "empty",
    "e": "e",
    "i": "i",
}
NUMBER_SETS = {"R": "reals", "Z": "integers", "N": "mathbbN", "Q": "mathbbQ", "C": "mathbbC"}
BRACKETS = {
    "{": ("open", "{|"), "}": ("close", "|}"),
    "lbrace": ("open", "{|"), "rbrace": ("close", "|}"),
    "langle": ("open", "("), "rangle": ("close", ")"),
    "lbrack": ("open", "["), "rbrack": ("close", "]"),
    "lfloor": ("open", "floor"), "rfloor": ("close", "floor"),
    "lceil": ("open", "ceil"), "rceil": ("close", "ceil"),
    "lvert": ("open", "abs"), "rvert": ("close", "abs"),
}  # fmt: skip
FRACTIONS = word_set("frac dfrac tfrac cfrac nicefrac sfrac")
TEXT_COMMANDS = word_set(
    "text mbox textrm textit textbf textsf texttt mathrm mathbf mathit mathsf"
    " operatorname textnormal hbox"
)
SKIPPED_COMMANDS = word_set(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr displaystyle textstyle"
    " limits nolimits bf rm it boldsymbol bm boxed fbox angle measuredangle triangle"
    " mathop mathstrut quad qquad thinspace enspace space nonumber , ; : ! > $"
) | {" ", "\n", "\t", "(", ")", "[", "]"}
ACCENTS = word_set(
    "vec hat bar overrightarrow tilde dot widehat mathcal mathfrak overleftrightarrow"
)
UNSUPPORTED_COMMANDS = word_set("iint lim oint limsup liminf partial nabla forall exists")
PLAIN_WORDS = {
    "and": ("op", "and"), "or": ("op", "or"), "in": ("op", "in"), "to": ("op", ":"),
    "pi": ("const", "pi"), "inf": ("const", "inf"), "infinity": ("const", "inf"),
    "oo": ("const", "inf"), "percent": ("op", "%"), "pct": ("op", "%"), "percentage": ("op", "%"),
    "degrees": ("op", "deg"),
    "degree": ("op", "deg"), "union": ("op", "cup"), "mod": ("op", "mod"),
}  # fmt: skip
# words that lost their backslash, or have one too many
BARE_COMMANDS = word_set("frac boxed text left right cdot sqrt mathrm")
# the unit vectors i, j, k are written as plain, bold or accented letters
UNIT_VECTORS = {"i": "i", "j": "j", "k": "k", "imath": "i", "jmath": "j"}
# Greek letters written out in plain text; shorter names and "pi" are read elsewhere
PLAIN_GREEK = GREEK - {"mu", "nu", "xi", "ell", "hbar", "Xi", "Pi"}
# commands that are one token
SINGLE_TOKENS = {
    "sum": ("cmd", "sum"), "int": ("cmd", "int"), "prod": ("cmd", "prod"),
    "overline": ("cmd", "overline"), "underline": ("cmd", "overline"),
    "ldots": ("op", "dots"), "cdots": ("op", "dots"), "dots": ("op", "dots"),
    "dotsc": ("op", "dots"), "dotsb": ("op", "dots"),
    "%": ("op", "%"), "|": ("op", "cond"), "&": ("op", ","),
}  # fmt: skip
