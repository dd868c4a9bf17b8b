"""The local files that the configuration names, and on which results depend: inputs of rules."""

from pathlib import Path

from orion import paths
from orion.config.datasets import ProblemSet
from orion.config.sources import LocalBase, LocalModel, Model
from orion.data import files


def checkpoint_files(model: Model) -> list[str]:
    """Files of a local checkpoint folder on which its answers depend: inputs of its rule."""
    if not isinstance(model.source, LocalModel):
        return []
    base = model.source.base
    folders = [model.source.path, *([base.path] if isinstance(base, LocalBase) else [])]
    patterns = (
        paths.WEIGHT_FILES,
        *paths.CONFIG_FILES,
        *paths.TOKENIZER_FILES,
        *paths.OLD_VOCABULARY_FILES,
        paths.ADAPTER_CONFIG,
        paths.CODE_FILES,
    )
    found = {
        path for folder in folders for pattern in patterns for path in Path(folder).glob(pattern)
    }
    return sorted(path.as_posix() for path in found)


def local_files(block: ProblemSet) -> list[str]:
    """Paths of the local files that a dataset or benchmark is read from: inputs of its rule.

    Fetched files are among them. Raises InputError for a folder that cannot be read as one source.
    """
    sources = [block.source, getattr(getattr(block, "traces", None), "source", None)]
    dumped = [source.model_dump(mode="json") for source in sources if source is not None]
    return [path for source in dumped for path in files.list_files(source)]
