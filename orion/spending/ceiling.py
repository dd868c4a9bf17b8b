"""The ceiling of a run: how many completions, tokens, hours and how much money it may spend.

Inputs: the JSON text of ``orion.config.tell_ceiling``, what is spent. Outputs: whether a limit is
reached, in words. Nothing is read or written.
"""

import json
from argparse import ArgumentParser
from dataclasses import dataclass, field, fields

TOKENS_PER_PRICE = 1_000_000
LIMITS = ("completions", "tokens", "hours", "money")


@dataclass(frozen=True)
class Spent:
    """What a run has spent so far."""

    completions: int = 0
    tokens: int = 0
    hours: float = 0.0
    money: float = 0.0


@dataclass(frozen=True)
class Ceiling:
    """What a run may spend; None: no limit.

    ``hour``: money per hour of a job. ``prices``: model → money per million tokens of its prompts
    and of its completions.
    """

    completions: int | None = None
    tokens: int | None = None
    hours: float | None = None
    money: float | None = None
    hour: float = 0.0
    prices: dict[str, list[float]] = field(default_factory=dict)

    @property
    def counts_time(self) -> bool:
        """Whether the hours of jobs count."""
        return self.hours is not None or (self.money is not None and self.hour > 0)

    def price_tokens(self, model: str, prompt_tokens: int, completion_tokens: int) -> float:
        """The money for tokens of a model; 0 for a model without prices."""
        prompt, completion = self.prices.get(model, (0.0, 0.0))
        return (prompt * prompt_tokens + completion * completion_tokens) / TOKENS_PER_PRICE

    def find_reached(self, spent: Spent) -> str | None:
        """The first limit that is reached, in words; None where all leave room."""
        return self._find(spent, may_equal=True)

    def find_exceeded(self, spent: Spent) -> str | None:
        """The first limit that is below what is spent, in words."""
        return self._find(spent, may_equal=False)

    def _find(self, spent: Spent, *, may_equal: bool) -> str | None:
        for name in LIMITS:
            limit, so_far = getattr(self, name), getattr(spent, name)
            if limit is None or so_far < limit or (so_far == limit and not may_equal):
                continue
            relation = "reached" if may_equal else "below what is spent"
            unit = "" if name == "money" else f" {name}"
            return (
                f"ceiling.{name} = {tell_number(limit)} is {relation}: {tell_number(so_far)}{unit}"
            )
        return None


def tell_number(value: float) -> str:
    """A whole number in full, another one to three places, a small one to three digits."""
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.3f}" if value >= 1 else f"{value:.3g}"


def read_ceiling(text: str) -> Ceiling | None:
    """The ceiling of a JSON object; None for an empty text. Raises ValueError for other texts."""
    if not text:
        return None
    found = json.loads(text)
    known = {each.name for each in fields(Ceiling)}
    if not isinstance(found, dict) or not set(found) <= known:
        raise ValueError(f"{text} is no ceiling as orion.config writes it")
    return Ceiling(**found)


def add_option(parser: ArgumentParser) -> None:
    """Add ``--ceiling`` to the parser of a stage that pays; it changes no result."""
    parser.add_argument(
        "--ceiling", type=read_ceiling, metavar="JSON", help="what the run may spend"
    )
