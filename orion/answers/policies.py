"""Named, pinned rules of what counts as an answer and what counts as equal.

Input: the name of a policy. Output: a frozen `Policy`. Publish no number without its policy.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from functools import cache

# the version that the math-verify policies replay: 0.8 and 0.9 differ by 0.2 points on MATH-500
MATH_VERIFY = "0.9.0"


class PolicyError(ValueError):
    """An unknown policy, or one whose package is not installed; the message names the cure."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is extracted and how it is compared.

    markers: without a box, an answer stated in words counts.
    last_value: without a stated answer, the last value of a text that ended counts.
    percent_scale: "28%" matches 28 as well as 0.28.
    ignore_units: units, currency and degree signs on one side only are dropped.
    printed_floats: a gold printed from a double (15 digits and more) matches every exact value that
    rounds to that double.
    numeric: two expressions that agree to 60 digits at several points count as equal if sympy
    cannot prove it.
    integers: the gold and a right answer must be integers of this closed range.
    math_verify: if set, Math-Verify decides and no other field counts. The two texts are put before
    and behind the gold.
    """

    name: str
    markers: bool = True
    last_value: bool = True
    percent_scale: bool = True
    ignore_units: bool = True
    printed_floats: bool = True
    numeric: bool = True
    integers: tuple[int, int] | None = None
    math_verify: tuple[str, str] | None = None


POLICIES = {
    policy.name: policy
    for policy in (
        Policy("math"),
        Policy("gsm8k"),
        Policy("aime", integers=(0, 999), percent_scale=False),
        Policy(
            "strict",
            markers=False,
            last_value=False,
            percent_scale=False,
            ignore_units=False,
            printed_floats=False,
            numeric=False,
        ),
        # in a box, a gold that Math-Verify cannot parse stays a text; between dollars, the common
        # use, it takes any number inside: the gold 0.\overline{45} becomes 0
        Policy("math-verify", math_verify=("\\boxed{", "}")),
        Policy("math-verify-dollar", math_verify=("$", "$")),
    )
}


@cache
def _need_math_verify() -> None:
    """Raises PolicyError unless the replayed version of Math-Verify is installed."""
    try:
        found = importlib.metadata.version("math-verify")
    except importlib.metadata.PackageNotFoundError:
        found = "nothing of it"
    # without this runtime Math-Verify can be installed but not imported
    if found == MATH_VERIFY and importlib.util.find_spec("antlr4") is None:
        found = "no antlr4 runtime for it"
    if found != MATH_VERIFY:
        raise PolicyError(
            f"the policies math-verify and math-verify-dollar need Math-Verify {MATH_VERIFY}, and "
            f"{found} is installed; install the extra orion[math-verify]: "
            "pip install -e '.[math-verify]' in the checkout"
        )


def get_policy(policy: str | Policy) -> Policy:
    """The policy of that name.

    Raises PolicyError, a ValueError, for an unknown policy or one whose package is not installed.
    """
    if not isinstance(policy, Policy):
        try:
            policy = POLICIES[policy]
        except (KeyError, TypeError):
            raise PolicyError(
                f"unknown answer policy {policy!r}; known: {', '.join(sorted(POLICIES))}"
            ) from None
    if policy.math_verify is not None:
        _need_math_verify()
    return policy
