"""Checks of the arms that a run trains: their datasets, and the arms that they are matched with.

``find_fault`` is called while the configuration is validated, when its models have no fault.
"""

from collections.abc import Iterator

from orion.config import arm_texts
from orion.config.arm_models import Config, list_source_runs
from orion.config.blocks import Match


def find_fault(config: Config) -> str | None:
    """What is wrong with an arm, with its cure; None if nothing is."""
    return next(_list_faults(config), None)


def find_match(config: Config, arm: str) -> Match | None:
    """What an arm is matched with; None for an arm that is trained on nothing."""
    is_trained = config.arms[arm].trained_on != "nothing"
    match: Match | None = config.arm_block("select", arm).match
    return match if is_trained else None


def is_matched(config: Config, arm: str) -> bool:
    """Whether an arm's rows are matched with other arms' before they are trained on."""
    return find_match(config, arm) is not None


def list_matched_arms(config: Config, arm: str) -> list[str]:
    """The other arms whose problems, and perhaps rows per problem, an arm shares."""
    match = find_match(config, arm)
    names = match.problems or [] if match is not None else []
    return [name for name in dict.fromkeys(names) if name != arm]


def _list_faults(config: Config) -> Iterator[str]:
    matched = [name for name in config.arms if is_matched(config, name)]
    for name in matched:
        yield from _list_match_faults(config, name)
    for name in config.arms:
        yield from arm_texts.list_faults(config, name)
    for name in dict.fromkeys([*config.runs.arms, *(r.arm for r in list_source_runs(config))]):
        yield from arm_texts.list_prompt_faults(config, name)
    for dataset in config.runs.datasets:
        for name in config.runs.arms:
            yield from _list_oracle_faults(config, name, dataset)
    for name in matched:
        if name in config.runs.arms:
            yield from _list_absent(config, name, f"arms.{name}.select.match")
    for run in list_source_runs(config):
        yield from _list_oracle_faults(config, run.arm, run.dataset)
        if run.arm not in matched:
            continue
        where = f"models: arm {run.arm} of {run.model} on {run.dataset} is matched with others"
        if run.dataset not in config.runs.datasets or run.model not in config.runs.models:
            yield (
                f"{where}, which only the run's own datasets and models have; add them to runs, "
                f"or set arms.{run.arm}.select.match to null"
            )
        yield from _list_absent(config, run.arm, where)


def _list_oracle_faults(config: Config, name: str, dataset: str) -> Iterator[str]:
    if config.arms[name].trained_on != "oracle":
        return
    kind, select = config.datasets[dataset].source.kind, config.arm_block("select", name)
    if kind != "demo":
        yield (
            f"arms.{name}.trained_on: oracle needs the true steps of every problem, which only the "
            f"embedded problems record (source.kind demo), and datasets.{dataset} is of the kind "
            f"{kind}; leave the arm out, or train it on another text"
        )
    for key in ("fallback_no_error", "fallback_all_filtered"):
        if getattr(select, key) == "rewrite":
            yield (
                f"arms.{name}.select.{key}: rewrite asks the student, which an arm trained on "
                "oracle does not; set own_correct, teacher or drop for this arm"
            )


def _list_named(match: Match) -> list[str]:
    return [*(match.problems or []), *([match.tokens] if match.tokens is not None else [])]


def _list_match_faults(config: Config, arm: str) -> Iterator[str]:
    """What is wrong with an arm's ``match`` whatever the run is."""
    match, where = find_match(config, arm), f"arms.{arm}.select.match"
    assert match is not None, "the arm is matched"
    for name in _list_named(match):
        if name not in config.arms:
            yield f"{where} names the unknown arm {name}; define it under arms"
        elif config.arms[name].trained_on == "nothing":
            yield f"{where} names {name}, which is trained on nothing and has no rows; drop it"
    if match.problems is not None and not list_matched_arms(config, arm):
        yield f"{where}.problems names no other arm; name one, or set match of this arm to null"
    if match.fewest_tokens:
        yield from _list_uneven(config, arm)
    path = [arm]
    while (following := find_match(config, path[-1])) is not None:
        budget = following.tokens
        if budget == arm:
            chain = " from ".join([*path, arm])
            yield (
                f"{where}.tokens: the budget would come from itself ({chain}); set match of one of "
                "these arms to null, or without tokens"
            )
        if budget is None or budget in path:
            break
        path.append(budget)


def _list_uneven(config: Config, arm: str) -> Iterator[str]:
    """The arms whose budget would not be that of the arm, although it is to be the same."""
    group = {arm, *list_matched_arms(config, arm)}
    for name in sorted(group - {arm}):
        own, other = find_match(config, arm), find_match(config, name)
        assert own is not None, "the arm is matched"
        same = other is not None and (other.fewest_tokens, other.rows) == (True, own.rows)
        if not same or {name, *list_matched_arms(config, name)} != group:
            yield (
                f"arms.{arm}.select.match.fewest_tokens: {name} is not matched in the same way, so "
                "that the two would have different budgets; give each of "
                f"{', '.join(sorted(group))} the same problems, rows and fewest_tokens under "
                "select.match"
            )


def _list_absent(config: Config, arm: str, where: str) -> Iterator[str]:
    """The arms that one is matched with and that no run has."""
    match = find_match(config, arm)
    for name in _list_named(match) if match is not None else []:
        if name not in config.runs.arms:
            yield (
                f"{where}: no run has the arm {name}; add it to runs.arms, or match without it "
                "(match: null)"
            )
