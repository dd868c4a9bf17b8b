"""Named, pinned rules of what counts as an answer and what counts as equal.

Inputs: a policy name. Outputs: a frozen `Policy`. Not runnable. A published number names the policy it was made with.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from functools import cache

# what the policies of that name replay: 0.8 and 0.9 differ by 0.2 points on MATH-500
MATH_VERIFY = "0.9.0"


class PolicyError(ValueError):
    """A policy that does not exist, or that needs a package which is not installed; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is extracted and how it is compared.

    markers: an answer stated in words counts where there is no box. last_value: so does the last value of a text that ended.
    percent_scale: "28%" matches 28 too, and not 0.28 alone. ignore_units: units, currency and degree signs on one side only
    are dropped.
    printed_floats: a gold printed from a double (15 digits and more) matches every exact value that rounds to that double.
    numeric: two expressions that agree to 60 digits at several points count as equal where sympy cannot prove it.
    integers: the gold must be an integer of this closed range, and so must a right answer.
    math_verify: where set, Math-Verify decides instead and no other field counts; what the gold is put between for it.
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
        # in a box, a gold that Math-Verify cannot parse stays a text; between dollars, the common use, any number inside is
        # taken for it: the gold 0.\overline{45} becomes 0
        Policy("math-verify", math_verify=("\\boxed{", "}")),
        Policy("math-verify-dollar", math_verify=("$", "$")),
    )
}


@cache
def _need_math_verify() -> None:
    """Raises PolicyError where Math-Verify, at the version that is replayed, is not installed; imports nothing."""
    try:
        found = importlib.metadata.version("math-verify")
    except importlib.metadata.PackageNotFoundError:
        found = "nothing of it"
    # without this runtime Math-Verify installs, and cannot be imported
    if found == MATH_VERIFY and importlib.util.find_spec("antlr4") is None:
        found = "no antlr4 runtime for it"
    if found != MATH_VERIFY:
        raise PolicyError(
            f"the policies math-verify and math-verify-dollar need Math-Verify {MATH_VERIFY}, and {found} is installed; "
            "install the extra orion[math-verify]: pip install -e '.[math-verify]' in the checkout"
        )


def get_policy(policy: str | Policy) -> Policy:
    """The policy of that name; raises PolicyError, a ValueError, for an unknown one or one whose package is not installed."""
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
