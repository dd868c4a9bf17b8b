"""Which combinations of the grid a rule of the workflow runs for, and which inputs it has there.

Input: the configuration and the wildcards of a job. Output: yes or no, or the path template of an
input. `orion.report.rules` lists the rules by them.
"""

from collections.abc import Callable

from orion import paths
from orion.config import (
    Config,
    exposes_by_surprisal,
    find_exposed,
    find_match,
    find_writer,
    is_matched,
    list_judged,
    list_judges,
    list_matched_arms,
    list_source_runs,
    needs_samples,
    reads_steps,
    selects_by_surprisal,
    weighs_key_steps,
)

Wildcards = dict[str, str]
Condition = Callable[[Config, Wildcards], bool]
# a path template, or a function that gives one; None: there is no such input
Template = str | Callable[[Config, Wildcards], str | None]


def always(config: Config, wildcards: Wildcards) -> bool:
    """Whether a rule applies: to every combination of the grid."""
    return True


def has_teacher(config: Config, wildcards: Wildcards) -> bool:
    """Whether the dataset's traces are sampled from a teacher."""
    return config.datasets[wildcards["dataset"]].teacher is not None


def trains(config: Config, wildcards: Wildcards) -> bool:
    """Whether an arm is trained on the dataset; else nothing reads its traces or asks a teacher."""
    dataset = wildcards["dataset"]
    is_source = dataset in [run.dataset for run in list_source_runs(config)]
    is_in_grid = dataset in config.runs.datasets
    trained = any(config.arms[arm].trained_on != "nothing" for arm in config.runs.arms)
    return is_source or (is_in_grid and trained)


def trains_on_sampled_traces(config: Config, wildcards: Wildcards) -> bool:
    """Whether the dataset's traces are sampled from a teacher for an arm of the run."""
    return has_teacher(config, wildcards) and trains(config, wildcards)


def is_trained(config: Config, wildcards: Wildcards) -> bool:
    """Whether the arm is trained."""
    return config.arms[wildcards["arm"]].trained_on != "nothing"


def is_reflecting(config: Config, wildcards: Wildcards) -> bool:
    """Whether the arm is trained on reflections."""
    return config.arms[wildcards["arm"]].trained_on == "reflection"


def problems_with_traces(config: Config, wildcards: Wildcards) -> str:
    """The problems with their teacher traces: a separate file where a teacher is sampled."""
    return paths.PROBLEMS_WITH_TRACES if has_teacher(config, wildcards) else paths.PROBLEMS


def of_teacher(template: str) -> Template:
    """A file of the dataset's teacher, which is a model like any other."""
    return lambda config, wildcards: template.replace(
        "{model}", str(config.datasets[wildcards["dataset"]].teacher)
    )


def of_writer(template: str) -> Template:
    """A file of the model that writes an arm's reflections: the student, or another one."""
    return lambda config, wildcards: template.replace(
        "{model}", find_writer(config, wildcards["arm"], wildcards["model"])
    )


def of_exposed(template: str) -> Callable[[Config, Wildcards], str]:
    """A file of the model whose errors an arm exposes: the student, or another one."""
    return lambda config, wildcards: template.replace(
        "{model}", find_exposed(config, wildcards["arm"], wildcards["model"])
    )


def needs_errors(config: Config, wildcards: Wildcards) -> bool:
    """Whether wrong attempts are exposed for the arm."""
    return config.arms[wildcards["arm"]].needs_errors


def has_second_policy(config: Config, wildcards: Wildcards) -> bool:
    """Whether every answer on a benchmark is checked again under a second policy."""
    return config.report.second_policy is not None


def is_judged(config: Config, wildcards: Wildcards) -> bool:
    """Whether a model judges the answers of the two arms on the benchmark."""
    pair = (wildcards["arm"], wildcards["against"], wildcards["benchmark"])
    return pair in list_judged(config, wildcards["model"])


def of_first_seed(template: str, *, other: bool = False) -> Template:
    """A file of the first seed of an arm, or of the ``other`` one, with which it is compared."""

    def locate(config: Config, wildcards: Wildcards) -> str:
        found = template.replace("{seed}", str(config.runs.seeds[0]))
        return found.replace("{arm}", wildcards["against"]) if other else found

    return locate


def of_judge(template: str) -> Template:
    """A file of the model that judges answers."""
    return lambda config, wildcards: template.replace("{model}", list_judges(config)[0])


def is_scored(config: Config, wildcards: Wildcards) -> bool:
    """Whether the arm's training texts are read by the untrained student."""
    return config.report.surprise and is_trained(config, wildcards)


def by_surprisal(texts: str) -> Condition:
    """Whether the arm chooses among the student's ``samples`` or ``reflections`` by surprisal."""

    def chooses(config: Config, wildcards: Wildcards) -> bool:
        return selects_by_surprisal(config, wildcards["arm"], texts)

    return chooses


def is_sample_scored(config: Config, wildcards: Wildcards) -> bool:
    """Whether an arm of the student chooses among its samples by surprisal."""
    key = (wildcards["dataset"], wildcards["model"])
    sources = [run.arm for run in list_source_runs(config) if (run.dataset, run.model) == key]
    is_in_grid = key[0] in config.runs.datasets and key[1] in config.runs.models
    arms = {*(config.runs.arms if is_in_grid else ()), *sources}
    return any(
        exposes_by_surprisal(config, arm) or selects_by_surprisal(config, arm, "samples")
        for arm in arms
    )


def is_exposed_by_surprisal(config: Config, wildcards: Wildcards) -> bool:
    """Whether the surprisal of the student's samples decides what is exposed for the arm."""
    return exposes_by_surprisal(config, wildcards["arm"])


def if_scored(template: str, condition: Condition) -> Template:
    """A file of surprisals that only some arms read."""
    return lambda config, wildcards: template if condition(config, wildcards) else None


def if_exposing(template: str) -> Template:
    """A file that only arms have for which wrong attempts are exposed."""
    return lambda config, wildcards: template if needs_errors(config, wildcards) else None


def if_weighing(template: str) -> Template:
    """A file by which an arm's training weighs the key steps of its texts."""
    return lambda config, wildcards: (
        template if weighs_key_steps(config, wildcards["arm"]) else None
    )


def if_sham(template: str) -> Template:
    """A file of which sham errors are made."""
    return lambda config, wildcards: (
        template if config.arms[wildcards["arm"]].error_source == "sham" else None
    )


def if_reading_steps(template: str) -> Template:
    """A file of the steps by which attempts are made wrong, or cut."""
    exposed = of_exposed(template)
    return lambda config, wildcards: (
        exposed(config, wildcards) if reads_steps(config, wildcards["arm"]) else None
    )


def matches(config: Config, wildcards: Wildcards) -> bool:
    """Whether an arm's rows are matched with other arms' before they are trained on."""
    return is_matched(config, wildcards["arm"])


def selects_alone(config: Config, wildcards: Wildcards) -> bool:
    """Whether an arm is trained on all rows that are selected for it."""
    return is_trained(config, wildcards) and not matches(config, wildcards)


def rows_to_match(config: Config, wildcards: Wildcards) -> dict[str, str]:
    """The rows before matching of the arms that an arm is matched with."""
    arms = list_matched_arms(config, wildcards["arm"])
    templates = {
        arm: paths.UNMATCHED_TRAIN if is_matched(config, arm) else paths.TRAIN for arm in arms
    }
    return {f"rows of {arm}": t.replace("{arm}", arm) for arm, t in templates.items()}


def if_budget(template: str) -> Template:
    """A file of the arm to whose trained tokens another one is cut."""

    def locate(config: Config, wildcards: Wildcards) -> str | None:
        match = find_match(config, wildcards["arm"])
        budget = match.tokens if match is not None else None
        return template.replace("{arm}", budget) if budget is not None else None

    return locate


def if_counting_tokens(template: str) -> Template:
    """A file where an arm's rows are counted in tokens to match them."""

    def locate(config: Config, wildcards: Wildcards) -> str | None:
        match = find_match(config, wildcards["arm"])
        counted = match is not None and (match.tokens is not None or match.fewest_tokens)
        return template if counted else None

    return locate


def if_reflecting(template: str) -> Template:
    """A file that only arms with reflections have."""
    return lambda config, wildcards: template if is_reflecting(config, wildcards) else None


def if_sampling(template: str) -> Template:
    """A file that only arms have which train on what the student answers."""
    return lambda config, wildcards: template if needs_samples(config, wildcards["arm"]) else None


def of_source_arm(template: str) -> Template:
    """A file of the training that a model of the kind arm comes from; other models have none."""

    def locate(config: Config, wildcards: Wildcards) -> str | None:
        source = config.models[wildcards["model"]].source
        return template.format(**source.model_dump()) if source.kind == "arm" else None

    return locate


def evaluated_model(config: Config, wildcards: Wildcards) -> str:
    """The trained model; for an arm that is not trained, the student itself."""
    return paths.TRAINED_MODEL if is_trained(config, wildcards) else paths.MODEL
