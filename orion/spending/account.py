"""What a run has spent of its ceiling: the counts of its store, its hours, and their money.

Inputs: a completion store, the documents of the models that have prices, ``logs/`` beside the
results. Outputs: what is spent. Nothing is written.
"""

import json
from pathlib import Path

from orion import paths
from orion.spending.ceiling import Ceiling, Spent
from orion.spending.totals import Counts, StoreTotals
from orion.spending.usage import sum_hours

NOTHING = Counts()
# a model's folder in the store is named by so many digits of its digest
FOLDER_DIGITS = 16


class Account:
    """What the run of a completion store, ``results/completions``, has spent of its ceiling."""

    def __init__(self, ceiling: Ceiling, store: Path):
        self.ceiling, self.results = ceiling, store.parent
        self.totals = StoreTotals(store)
        self._stored: dict[str, Counts] = {}
        self._folders: dict[str, str] = {}
        self._is_distinct = False
        self.refresh()

    def refresh(self) -> None:
        """Read anew what the store holds."""
        self._stored, self._is_distinct = self.totals.count(), False

    def sum_up(self, hours: float, more: Counts = NOTHING, folder: str = "") -> Spent:
        """What is spent by the last `refresh`, by these hours of all jobs, and by ``more``.

        ``more``: completions of the model of ``folder`` that are not stored yet. A completion that
        is stored twice counts once: where a limit seems reached, the keys of the store are read.
        """
        spent = self._sum_up(hours, more, folder)
        if self._is_distinct or self.ceiling.find_reached(spent) is None:
            return spent
        self._stored, self._is_distinct = self.totals.count_distinct(), True
        return self._sum_up(hours, more, folder)

    def read_hours(self) -> float:
        """Hours of all jobs; 0 where the ceiling counts no time."""
        return sum_hours(self.results) if self.ceiling.counts_time else 0.0

    def _sum_up(self, hours: float, more: Counts, folder: str) -> Spent:
        stored = {**self._stored, folder: self._stored.get(folder, NOTHING) + more}
        whole = sum(stored.values(), NOTHING)
        # two entries of `models` may be one model, whose completions are paid for once
        models = {self._find_folder(model): model for model in self.ceiling.prices}
        money = hours * self.ceiling.hour
        for place, model in models.items():
            counts = stored.get(place, NOTHING) if place else NOTHING
            money += self.ceiling.price_tokens(
                model, counts.prompt_tokens, counts.completion_tokens
            )
        tokens = whole.prompt_tokens + whole.completion_tokens
        return Spent(whole.completions, tokens, hours, money)

    def _find_folder(self, model: str) -> str:
        """The folder of a model's completions; empty where it is not registered yet."""
        if model not in self._folders:
            path = paths.artifact(self.results, paths.MODEL, model=model)
            if not path.is_file():
                return ""
            digest = json.loads(path.read_text(encoding="utf-8"))["digest"]
            self._folders[model] = digest[:FOLDER_DIGITS]
        return self._folders[model]
