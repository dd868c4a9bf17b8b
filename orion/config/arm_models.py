"""Models that come from others: the checkpoint of an arm, or another entry's own checkpoint.

Of the kind arm: the checkpoint of one arm of a run is the student of another. Of the kind model:
the same checkpoint as another entry's, for another draw of data.

The functions take the whole configuration. ``find_faults`` and ``inherit`` are called while it is
validated; the others say what a run trains beyond its own grid.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from orion.config.blocks import Arm
from orion.config.datasets import Dataset
from orion.config.sources import ArmModel, Model, OtherModel


class Config(Protocol):
    """What these functions read of ``orion.config.models.Config``, which imports this module."""

    @property
    def runs(self) -> Any: ...
    @property
    def prompts(self) -> str: ...
    @property
    def datasets(self) -> Mapping[str, Dataset]: ...
    @property
    def models(self) -> Mapping[str, Model]: ...
    @property
    def arms(self) -> Mapping[str, Arm]: ...
    @property
    def report(self) -> Any: ...
    def arm_block(self, stage: str, arm: str) -> Any: ...


# what a checkpoint has from the model that it was trained from, unless its own entry says otherwise
INHERITED = (
    "chat_template",
    "enable_thinking",
    "prompt_date",
    "context_length",
    "dtype",
    "trust_remote_code",
)


def find_fault(config: Config, name: str) -> str | None:
    """What is wrong with a source that names others, with its cure; None if nothing is."""
    source = config.models[name].source
    where = f"models.{name}.source"
    if isinstance(source, OtherModel):
        if source.model not in config.models:
            return f"{where}.model: {source.model} is not defined under models"
        return _find_cycle(config, name)
    if not isinstance(source, ArmModel):
        return None
    for key, block in (("dataset", "datasets"), ("model", "models"), ("arm", "arms")):
        wanted, known = getattr(source, key), getattr(config, block)
        if wanted not in known:
            return f"{where}.{key}: {wanted} is not defined under {block}"
    dataset, arm = config.datasets[source.dataset], config.arms[source.arm]
    if arm.trained_on == "nothing":
        return (
            f"{where}.arm: {source.arm} is trained on nothing and has no checkpoint; "
            f"it is models.{source.model} itself"
        )
    if config.models[find_origin(config, source.model)].source.kind == "server":
        return f"{where}.model: {source.model} is only served and cannot be trained; name another"
    if dataset.teacher == source.model:
        return (
            f"{where}.model: {source.model} is the teacher of datasets.{source.dataset} too; "
            "define the teacher under another name"
        )
    if arm.needs_traces and not dataset.has_traces:
        return (
            f"{where}.arm: {source.arm} needs teacher traces, and datasets.{source.dataset} has "
            "none (fields.teacher_trace, traces or teacher); name another arm or dataset"
        )
    return _find_cycle(config, name)


def _find_cycle(config: Config, name: str) -> str | None:
    """The fault of a model whose checkpoint would have to be there before it is trained."""
    pending: list[tuple[str, ...]] = [(name,)]
    while pending:
        path = pending.pop()
        for parent in _list_parents(config, path[-1]):
            if parent == name:
                chain = " from ".join((*path, name))
                return (
                    f"models.{name}.source: the checkpoint would come from itself ({chain}); let "
                    "one of them come from elsewhere"
                )
            if parent in config.models and parent not in path:
                pending.append((*path, parent))
    return None


def _list_parents(config: Config, name: str) -> list[str]:
    """The models without which a model cannot be made: the trained one, its teacher and helpers."""
    source = config.models[name].source
    if isinstance(source, OtherModel):
        return [source.model]
    if not isinstance(source, ArmModel):
        return []
    dataset = config.datasets.get(source.dataset)
    teacher = dataset.teacher if dataset is not None else None
    helpers = _find_helpers(config, source.arm) if source.arm in config.arms else []
    return [source.model, *([teacher] if teacher is not None else []), *helpers]


def find_origin(config: Config, name: str) -> str:
    """The entry whose checkpoint it is: the last one of the chain of the kind model."""
    seen = [name]
    while isinstance(source := config.models[seen[-1]].source, OtherModel):
        if source.model in seen or source.model not in config.models:
            break
        seen.append(source.model)
    return seen[-1]


def inherit(config: Config, name: str) -> Model:
    """The entry ``models.{name}`` with the keys that it leaves to the model it comes from.

    One of the kind model has that one's source, and its server. Sources without a fault only.
    """
    model = config.models[name]
    if not isinstance(model.source, ArmModel | OtherModel):
        return model
    parent = inherit(config, model.source.model)
    is_same = isinstance(model.source, OtherModel)
    names = (*INHERITED, "server") if is_same else INHERITED
    update = {key: getattr(parent, key) for key in names if key not in model.model_fields_set}
    return model.model_copy(update=update | ({"source": parent.source} if is_same else {}))


def needs_samples(config: Config, arm: str) -> bool:
    """Whether the student answers the training problems for this arm."""
    spec = config.arms[arm]
    return spec.trained_on in ("own_correct", "own_sample", "error_pairs") or spec.needs_errors


def find_writer(config: Config, arm: str, model: str) -> str:
    """The entry of ``models`` that writes the arm's reflections for the student ``model``."""
    writer: str | None = config.arm_block("reflect", arm).model
    return model if writer is None else writer


def find_exposed(config: Config, arm: str, model: str) -> str:
    """The entry of ``models`` whose errors the arm exposes to the student ``model``."""
    exposed: str | None = config.arm_block("expose", arm).model
    return model if exposed is None or not config.arms[arm].needs_errors else exposed


def _find_helpers(config: Config, arm: str) -> list[str]:
    """The entries that write an arm's reflections, or make its errors, and are no student of it."""
    spec = config.arms[arm]
    found = [config.arm_block("reflect", arm).model] if spec.trained_on == "reflection" else []
    found += [config.arm_block("expose", arm).model] if spec.needs_errors else []
    # one that is not defined is refused by orion.config.arm_texts
    return [name for name in found if name in config.models]


def list_helpers(config: Config) -> list[str]:
    """The helpers of the run's arms, and of those of what is behind it."""
    arms = [*config.runs.arms, *(run.arm for run in list_source_runs(config))]
    return _unique([name for arm in arms for name in _find_helpers(config, arm)])


def list_exposures(config: Config) -> list[tuple[str, str]]:
    """(dataset, entry of ``models``): whose samples there are exposed to other students."""
    pairs = [(dataset, arm) for dataset in config.runs.datasets for arm in config.runs.arms]
    pairs += [(run.dataset, run.arm) for run in list_source_runs(config)]
    found = [(dataset, find_exposed(config, arm, "")) for dataset, arm in pairs]
    return [*dict.fromkeys((dataset, name) for dataset, name in found if name)]


def list_judges(config: Config) -> list[str]:
    """The one model that judges answers for the report, if one does."""
    judge = config.report.judge
    # one that is not defined is refused by orion.config.judge
    return [judge.model] if judge is not None and judge.model in config.models else []


def list_source_runs(config: Config) -> list[ArmModel]:
    """The trainings that the run's models, teachers, helpers and judge come from, in order."""
    models = [*config.runs.models]
    if any(config.arms[arm].trained_on != "nothing" for arm in config.runs.arms):
        models += _list_teachers(config, config.runs.datasets)
    models += [name for arm in config.runs.arms for name in _find_helpers(config, arm)]
    models += list_judges(config)
    return _list_runs_behind(config, models)


def _list_runs_behind(config: Config, models: list[str]) -> list[ArmModel]:
    found: list[ArmModel] = []
    for name in models:
        found += [source for source in _trace_back(config, name) if source not in found]
    return found


def _list_teachers(config: Config, datasets: list[str]) -> list[str]:
    teachers = [config.datasets[name].teacher for name in datasets]
    return [teacher for teacher in teachers if teacher is not None]


def _trace_back(config: Config, name: str) -> Iterator[ArmModel]:
    for parent in _list_parents(config, name):
        yield from _trace_back(config, parent)
    source = config.models[name].source
    if isinstance(source, ArmModel):
        yield source


def list_used(config: Config) -> dict[str, list[str]]:
    """The ``datasets``, ``models`` and ``arms`` of the run, and all that its models come from."""
    teachers = _list_teachers(config, config.runs.datasets)
    others = [*list_helpers(config), *list_judges(config)]
    runs = _list_runs_behind(config, [*config.runs.models, *teachers, *others])
    datasets = _unique([*config.runs.datasets, *(run.dataset for run in runs)])
    models = [*config.runs.models, *(run.model for run in runs)]
    return {
        "arms": _unique([*config.runs.arms, *(run.arm for run in runs)]),
        "datasets": datasets,
        "models": _unique([*models, *_list_teachers(config, datasets), *others]),
    }


def _unique(names: list[str]) -> list[str]:
    return [*dict.fromkeys(names)]
