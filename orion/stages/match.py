"""Match an arm's training rows with other arms': rows before matching → train, filters.json.

``problems``: only problems of which each of these arms has a row. ``rows``: of each problem as many
rows as the arm with the fewest. ``tokens``: rows up to the trained tokens of another arm.
``fewest_tokens``: rows up to those of the arm of ``problems`` with the fewest. ``tokens`` looks at
what the other arm is trained on, the others at what the arms have before any of them is matched.
``filters.json`` is that of the rows before matching, with what each kind of matching removed.
Run: ``python -m orion.stages.match --config JSON --arm NAME --rows R --rows-filters G
[--others R1 R2 ...] [--budget STATS --model M --preflight F] --output O --filters F --preview J``.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from orion import provenance, tables
from orion.errors import InputError
from orion.experiment.degenerate import MIN_ROWS
from orion.experiment.matching import match_problems, match_rows, match_tokens
from orion.experiment.selected import count_rows, write_selected
from orion.models import preflight
from orion.models.document import ModelDocument, read_document
from orion.progress import log
from orion.stages import command
from orion.training.row_encoding import (
    COLUMNS,
    RowEncoding,
    count_trained_tokens,
    make_encoder,
)


@dataclass(frozen=True)
class Match:
    """Arms by name: ``problems`` those to share problems with, ``tokens`` the one with the budget.

    ``rows``: whether the number of rows per problem is matched too. ``fewest_tokens``: whether the
    budget is that of the arm of ``problems``, or this one, with the fewest trained tokens.
    """

    problems: list[str] | None = None
    rows: bool = False
    tokens: str | None = None
    fewest_tokens: bool = False


@dataclass(frozen=True)
class MatchConfig:
    """The configuration keys of the stage.

    ``pack``: how rows become tokens, for a budget; ``other_packs``: the same of the other arms.
    """

    match: Match
    min_rows: int = MIN_ROWS
    pack: RowEncoding | None = None
    other_packs: dict[str, dict[str, Any]] | None = None


class Waterfall:
    """The rows as they become fewer, and how many each kind of matching removed."""

    def __init__(self, rows: pl.DataFrame):
        self.rows = rows
        self.steps: list[dict[str, Any]] = []

    def take(self, name: str, kept: pl.DataFrame) -> None:
        """Go on with the rows that a kind of matching has kept."""
        removed = self.rows.height - kept.height
        self.steps.append({"filter": name, "removed": removed, "left": kept.height})
        self.rows = kept


def read_budget(args: argparse.Namespace) -> tuple[int, dict[str, str]]:
    """The trained tokens of the arm that is to be matched, and the files behind the count."""
    budget = int(tables.read_json(args.budget)["trained_tokens"])
    return budget, {"budget": args.budget}


def find_fewest(
    own: pl.DataFrame,
    paths: Sequence[str],
    config: MatchConfig,
    document: ModelDocument,
) -> int:
    """The fewest trained tokens that an arm has on the problems, and rows, that all of them share.

    ``own``: the arm's rows before matching; ``paths``: those of the others, in their order. Each of
    them makes the same comparison, so that all come to the same budget.
    """
    groups = [own, *(tables.read(path, tables.TRAIN, COLUMNS) for path in paths)]
    known = config.other_packs or {}
    packs = [command.read_config(RowEncoding, known[name]) for name in config.match.problems or []]
    assert config.pack is not None, "checked before"
    budgets = []
    for place, (rows, pack) in enumerate(zip(groups, [config.pack, *packs], strict=True)):
        others = groups[:place] + groups[place + 1 :]
        shared = match_problems(rows, others)
        shared = match_rows(shared, others) if config.match.rows else shared
        budgets.append(sum(count_trained_tokens(shared, pack, make_encoder(pack, document))))
    return min(budgets)


def cut_to_budget(
    rows: pl.DataFrame, budget: int, pack: RowEncoding, document: ModelDocument, arm: str
) -> tuple[pl.DataFrame, int]:
    """The rows that fit into the budget, and their trained tokens."""
    tokens = count_trained_tokens(rows, pack, make_encoder(pack, document))
    counted = rows.select("problem_id", "row").with_columns(
        tokens=pl.Series(tokens, dtype=pl.Int64)
    )
    try:
        kept = match_tokens(rows, tokens, budget)
    except InputError as error:
        raise InputError(f"arm {arm}: {error}") from None
    return kept, int(counted.join(kept, on=["problem_id", "row"], how="semi")["tokens"].sum())


def main(argv: list[str] | None = None) -> None:
    outputs = ("output", "filters", "preview")
    parser = command.make_parser(__doc__, "arm", "rows", "rows-filters", *outputs)
    parser.add_argument("--others", nargs="*", default=[], metavar="PATH", help="rows of the arms")
    for name in ("budget", "model", "preflight"):
        parser.add_argument(f"--{name}", nargs="?", metavar="PATH", help="for match.tokens")
    args = parser.parse_args(argv)
    config = command.read_config(MatchConfig, args.config)
    names = config.match.problems or []
    if len(names) != len(args.others):
        raise InputError(f"--others: {len(args.others)} files for the arms {', '.join(names)}")
    inputs = {"rows": args.rows, "rows_filters": args.rows_filters}
    inputs |= {f"rows of {name}": path for name, path in zip(names, args.others, strict=True)}
    found = Waterfall(tables.read(args.rows, tables.TRAIN))
    others = [tables.read(path, tables.TRAIN, ["problem_id", "row"]) for path in args.others]
    if names:
        found.take("other_problem", match_problems(found.rows, others))
    if config.match.rows:
        found.take("more_rows", match_rows(found.rows, others))
    matching: dict[str, Any] = {"waterfall": found.steps}
    if config.match.tokens is not None or config.match.fewest_tokens:
        names = ["model"] if config.match.fewest_tokens else ["budget", "model"]
        missing = [name for name in names if not getattr(args, name)]
        if missing or config.pack is None:
            options = " and --".join(missing) or "config with pack"
            raise InputError(f"match by tokens needs --{options}")
        document = read_document(args.model)
        if config.match.tokens is not None:
            budget, files = read_budget(args)
            inputs |= files
        else:
            own = tables.read(args.rows, tables.TRAIN, COLUMNS)
            budget = find_fewest(own, args.others, config, document)
        inputs |= {"model": args.model, **preflight.required_inputs(args, document)}
        kept, tokens = cut_to_budget(found.rows, budget, config.pack, document, args.arm)
        found.take("over_budget", kept)
        matching |= {"trained_tokens": tokens, "budget": budget}
    summary = {
        **tables.read_json(args.rows_filters),
        **count_rows(found.rows),
        "matching": matching,
    }
    log(f"{found.rows.height} rows are left: {found.steps}")
    if found.rows.height < config.min_rows:
        raise InputError(
            f"arm {args.arm}: matching leaves {found.rows.height} training rows, fewer than "
            f"select.min_rows = {config.min_rows}: {found.steps}. Match with fewer arms, or lower "
            "select.min_rows"
        )
    record = provenance.record("orion.stages.match", args.config, inputs)
    paths = {name: getattr(args, name) for name in outputs}
    write_selected(found.rows, summary, record, **paths)


if __name__ == "__main__":
    command.run(main)
