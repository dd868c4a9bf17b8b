"""LoRA targets: the layers that ``target_modules`` means, and whether they can be trained.

Input: the configured value and the names of a model's modules. They are matched as peft does. The
names come from the model itself, or, before it is loaded, from the names of its stored weights.
Importing this module imports neither torch nor peft.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orion.errors import InputError

ALL_LINEAR = "all-linear"
# the last part of the names that the transformers library gives to embeddings and heads
EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in")
HEADS = ("lm_head", "embed_out")
EMBEDDING, HEAD, LINEAR, OTHER = "embedding", "head", "linear", "other"
# the last part of the names of layers that score experts, whose few outputs all-linear may exceed
GATES = ("gate", "router")


@dataclass(frozen=True)
class LoraUse:
    """A LoRA adapter that the run trains; ``key``: of the configuration, for messages.

    ``rank``: the key ``r`` beside it; None is not checked.
    """

    key: str
    targets: str | list[str]
    merge_adapter: bool = True
    rank: int | None = None


def match_targets(targets: str | Sequence[str], names: Sequence[str]) -> list[str]:
    """The modules that ``targets`` means; ``names``: of all modules that could be meant."""
    if isinstance(targets, str):
        return [name for name in names if re.fullmatch(targets, name)]
    return [name for name in names if any(name == t or name.endswith(f".{t}") for t in targets)]


def check_targets(
    use: LoraUse,
    modules: Mapping[str, str],
    *,
    tied: bool,
    sides: Mapping[str, int] | None = None,
) -> str:
    """What the targets of an adapter are, in words.

    ``modules``: name → EMBEDDING, HEAD, LINEAR or OTHER (which peft cannot adapt). ``tied``: the
    head's weights are those of the embedding. ``sides``: name → the smaller side of its weight,
    where that is known. Raises InputError, with the key and the cure, for targets that match
    nothing, layers that an adapter cannot train here, and a rank that is larger than such a side.
    """
    linear = last_parts(name for name, kind in modules.items() if kind == LINEAR)
    choice = f"name some of {', '.join(linear)}, or write {ALL_LINEAR}"
    if use.targets == ALL_LINEAR:
        whole = [n for n, kind in modules.items() if kind == LINEAR and not n.endswith(GATES)]
        _check_rank(use, whole, sides or {})
        return f"{ALL_LINEAR}: {', '.join(linear)}"
    names = list(modules)
    try:
        found = match_targets(use.targets, names)
    except re.error as error:
        raise InputError(
            f"{use.key} = {use.targets} is not a regular expression ({error}); {choice}"
        ) from None
    if isinstance(use.targets, str):
        lost = [] if found else [use.targets]
    else:
        lost = [each for each in use.targets if not match_targets([each], names)]
    if lost or not found:
        raise InputError(
            f"{use.key}: {', '.join(lost) or 'an empty list'} matches no layer of the model; "
            f"{choice}"
        )
    kinds = {kind: last_parts(n for n in found if modules[n] == kind) for kind in (HEAD, OTHER)}
    embeddings = last_parts(name for name in found if modules[name] == EMBEDDING)
    if kinds[HEAD]:
        raise InputError(
            f"{use.key}: {', '.join(kinds[HEAD])} is the head, and the loss does not compute an "
            f"adapter on it; leave it out ({choice}), or set train.method: full, which trains the "
            "head itself"
        )
    if embeddings and tied:
        raise InputError(
            f"{use.key}: {', '.join(embeddings)} is the embedding, and its weights are the head's "
            "too (tied): an adapter would change one of the two in training and both when it is "
            f"merged; leave it out ({choice}), or set train.method: full"
        )
    if kinds[OTHER]:
        raise InputError(
            f"{use.key}: {', '.join(kinds[OTHER])} is no linear layer, and peft cannot adapt it; "
            f"{choice}"
        )
    _check_rank(use, found, sides or {})
    return ", ".join(last_parts(found))


def _check_rank(use: LoraUse, names: Sequence[str], sides: Mapping[str, int]) -> None:
    """Raise InputError where the rank is larger than the smaller side of one of these layers."""
    known = [name for name in names if name in sides]
    smallest = min(known, key=lambda name: sides[name], default=None)
    if use.rank is None or smallest is None or use.rank <= sides[smallest]:
        return
    key = use.key.removesuffix("target_modules")
    raise InputError(
        f"{key}r = {use.rank}: the smaller side of {smallest} has {sides[smallest]}, and a larger "
        f"rank adds nothing; lower it to {sides[smallest]} or less, or leave that layer out of "
        f"{use.key}"
    )


def last_parts(names: Iterable[str]) -> list[str]:
    """The last parts of dotted names, each once, sorted."""
    return sorted({name.rpartition(".")[2] for name in names})


def check_model_targets(use: LoraUse, model: Any) -> str:
    """``check_targets`` for a loaded model."""
    modules, tied = name_modules(model)
    return check_targets(use, modules, tied=tied, sides=smaller_sides(model))


def smaller_sides(model: Any) -> dict[str, int]:
    """The smaller side of the weight of each linear layer and embedding of a model."""
    from torch import nn

    kinds = (nn.Linear, nn.Embedding)
    return {n: min(m.weight.shape) for n, m in model.named_modules() if isinstance(m, kinds)}


def name_modules(model: Any) -> tuple[dict[str, str], bool]:
    """The modules of a model as ``check_targets`` takes them, and whether its head is tied."""
    from torch import nn

    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    kinds = {}
    for name, module in model.named_modules():
        if module is head:
            kinds[name] = HEAD
        elif module is embedding:
            kinds[name] = EMBEDDING
        elif name:
            kinds[name] = LINEAR if isinstance(module, nn.Linear) else OTHER
    return kinds, head is not None and head.weight is embedding.weight


def modules_of_weights(names: Sequence[str]) -> dict[str, str]:
    """The modules that own the weights of these names, as far as names tell what they are.

    A matrix cannot be told from a vector by its name, so norms count as linear layers here.
    """
    modules = {}
    for name in names:
        module, _, parameter = name.rpartition(".")
        if parameter != "weight" or not module:
            continue
        last = module.rpartition(".")[2]
        if "norm" in last:
            kind = OTHER
        else:
            kind = HEAD if last in HEADS else EMBEDDING if last in EMBEDDINGS else LINEAR
        modules[module] = kind
    return modules
