"""Named, pinned rules of what counts as an answer and what counts as equal.

Inputs: a policy name. Outputs: a frozen `Policy`. Not runnable. A published number names the policy it was made with.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """What is extracted and how it is compared.

    markers: an answer stated in words counts where there is no box. last_value: so does the last value of a text that ended.
    percent_scale: "28%" matches 28 and 0.28. ignore_units: units, currency and degree signs on one side only are dropped.
    printed_floats: a gold printed from a double (15 digits and more) matches every exact value that rounds to that double.
    numeric: two expressions that agree to 60 digits at several points count as equal where sympy cannot prove it.
    integers: the gold must be an integer of this closed range, and so must a right answer.
    """

    name: str
    markers: bool = True
    last_value: bool = True
    percent_scale: bool = True
    ignore_units: bool = True
    printed_floats: bool = True
    numeric: bool = True
    integers: tuple[int, int] | None = None


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
    )
}


def get_policy(policy: str | Policy) -> Policy:
    """The policy of that name; raises ValueError naming the known ones."""
    if isinstance(policy, Policy):
        return policy
    try:
        return POLICIES[policy]
    except (KeyError, TypeError):
        raise ValueError(f"unknown answer policy {policy!r}; known: {', '.join(sorted(POLICIES))}") from None
