"""Checkpoint folders: find one, describe it as a ModelDocument, load its tokenizer and weights.

Weights are read from safetensors only. Code that comes with a checkpoint runs only where
``trust_remote_code`` is true. Importing this module imports neither torch nor transformers.
"""

import importlib.util
import json
import re
import sys
from pathlib import Path
from typing import Any, cast

from orion import paths
from orion.errors import InputError
from orion.models import contexts, served, weights
from orion.models.document import ModelDocument
from orion.models.templates import DATE_FUNCTION, end_of_turn, render
from orion.provenance import canonical_json, digest_file, digest_text


def find_folder(
    path: str | None = None, *, repo: str | None = None, revision: str | None = None
) -> Path:
    """The folder at ``path``, or the snapshot of a hub repository at a full commit hash.

    A snapshot that is already in the hub's cache is found without a network. Raises InputError if
    there is no folder.
    """
    if repo is not None:
        assert revision is not None, f"{repo}: a hub repository needs a revision"
        return _find_snapshot(repo, revision)
    folder = Path(path or "")
    if path is None or not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; `path:` of the model names a checkpoint folder"
        )
    return folder


def _find_snapshot(repo: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = [
            paths.WEIGHT_FILES,
            *paths.CONFIG_FILES,
            *paths.TOKENIZER_FILES,
            paths.CODE_FILES,
            paths.ADAPTER_CONFIG,
        ]
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns))
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"{repo}@{revision}: not in the local cache and the hub cannot be reached ({error})"
        ) from None
    except (HfHubHTTPError, HFValidationError) as error:
        raise InputError(
            f"{repo}@{revision}: the hub refuses it ({error}); "
            "check `repo:`, `revision:` and access"
        ) from None


def checkpoint_document(
    folder: str | Path,
    *,
    name: str,
    chat_template_file: str | Path | None = None,
    prompt_date: str | None = None,
    context_length: int | None = None,
    dtype: str,
    trust_remote_code: bool = False,
    repo: str | None = None,
    revision: str | None = None,
    served_name: str | None = None,
    with_digests: bool = True,
) -> ModelDocument:
    """The model.json document of a checkpoint folder, without provenance.

    Its digest covers the bytes of weights, configuration and tokenizer, the chat template and the
    dtype, but neither the folder's place nor its name. ``prompt_date`` is kept where the template
    prints a date. ``with_digests``: false reads no weights, and the digest covers no file.
    Raises InputError, with the cure, for a folder that cannot be used.
    """
    folder = Path(folder)
    config = read_config(folder)
    stored = weights.list_weight_files(folder)
    weights.refuse_adapter_beside(folder)
    tokenizer = _load_folder_tokenizer(folder, trust_remote_code)
    tokenizer.prompt_date = prompt_date
    template = _read_chat_template(tokenizer, chat_template_file, folder)
    text_config = contexts.text_config(config)
    vocabulary = text_config.get("vocab_size") or len(tokenizer)
    if len(tokenizer) > vocabulary:
        raise InputError(
            f"{folder}: the tokenizer has {len(tokenizer)} entries, the model {vocabulary}; "
            "they are not of the same checkpoint, or new tokens were added without resizing the "
            "embeddings"
        )
    # last, because it reads all weights
    listed = _list_files(folder, trust_remote_code) if with_digests else []
    files = {path.name: digest_file(path) for path in listed}
    content: dict[str, Any] = {"files": files, "chat_template": template, "dtype": dtype}
    if added := end_of_turn(tokenizer) - _configured_eos_ids(folder, tokenizer):
        # answers end earlier than the files alone say
        content["end_of_turn"] = sorted(added)
    return ModelDocument(
        name=name,
        digest=digest_text(canonical_json(content)),
        context_length=contexts.choose_context_length(folder, config, context_length),
        path=None if repo else paths.relative_to_cwd(folder),
        repo=repo,
        revision=revision,
        files=files,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        chat_template=template,
        prompt_date=prompt_date if DATE_FUNCTION in template else None,
        vocab_size=vocabulary,
        parameters=weights.count_parameters(stored),
        served_name=served_name,
    )


def load_tokenizer(document: ModelDocument) -> Any:
    """The tokenizer of a model.json document, with its template and date; pads on the left.

    For a served model, a ``ServedTokenizer``, which only renders messages as JSON.
    """
    if document.is_served:
        return served.ServedTokenizer(document)
    tokenizer = _load_folder_tokenizer(document_folder(document), document.trust_remote_code)
    tokenizer.chat_template = document.chat_template
    tokenizer.prompt_date = document.prompt_date
    return tokenizer


def load_model(document: ModelDocument, device: str | None = None) -> Any:
    """The causal language model of a model.json document in its dtype, in evaluation mode.

    ``device``: a torch device; by default the first GPU if there is one, else the CPU.
    An adapter stays unmerged.
    """
    folder = verify_folder(document)
    assert document.dtype is not None, f"{document.name}: a checkpoint's document has a dtype"
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, document.dtype),
        use_safetensors=True,
        trust_remote_code=document.trust_remote_code,
        local_files_only=True,
    )
    if document.adapter is not None:
        from orion.models import adapters

        model = adapters.attach_adapter(model, document)
    return model.to(place).eval()


def verify_folder(document: ModelDocument) -> Path:
    """The checkpoint's folder; raises InputError if its files are not those of the document.

    Otherwise completions would be stored under another model's digest.
    """
    if document.is_served:
        raise InputError(
            f"models.{document.name}.source: a model of the kind server has no weights here"
        )
    folder = document_folder(document)
    for name, digest in document.files.items():
        if not (folder / name).is_file() or digest_file(folder / name) != digest:
            raise InputError(
                f"{folder / name}: not the file that model.json describes; "
                "delete model.json and run again"
            )
    return folder


def read_checkpoint_json(document: ModelDocument, name: str) -> dict[str, Any]:
    """The contents of a JSON file of the checkpoint; empty if there is no such file."""
    return _read_json(document_folder(document) / name)


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    return cast(dict[str, Any], json.loads(file.read_text(encoding="utf-8")))


def eos_ids(document: ModelDocument, tokenizer: Any) -> set[int]:
    """The ids of all tokens that end a completion.

    They are those of generation_config.json (where it names none, of config.json), the tokenizer's
    own, and the one with which the chat template ends a turn. Raises InputError if the checkpoint
    names none.
    """
    ids = _configured_eos_ids(document_folder(document), tokenizer)
    if not ids:
        raise InputError(
            "the checkpoint names no end token (generation_config.json: eos_token_id); "
            "completions would never end"
        )
    return ids | end_of_turn(tokenizer)


def _configured_eos_ids(folder: Path, tokenizer: Any) -> set[int]:
    ids: set[int] = {tokenizer.eos_token_id} - {None}
    for name in ("generation_config.json", "config.json"):
        configured = _read_json(folder / name).get("eos_token_id")
        if configured is not None:
            return ids | (set(configured) if isinstance(configured, list) else {configured})
    return ids


def document_folder(document: ModelDocument) -> Path:
    """The folder of a checkpoint's document, or of its adapter's base; its files are not read."""
    return find_folder(document.path, repo=document.repo, revision=document.revision)


def read_config(folder: Path) -> dict[str, Any]:
    """The contents of a folder's config.json; raises InputError if there is none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    try:
        text = (folder / "config.json").read_text(encoding="utf-8")
        return cast(dict[str, Any], json.loads(text))
    except FileNotFoundError:
        raise InputError(
            f"{folder}: no config.json; not a checkpoint in the transformers format"
        ) from None
    except ValueError as error:
        raise InputError(f"{folder}/config.json: not readable as JSON ({error})") from None


def _list_files(folder: Path, trust_remote_code: bool) -> list[Path]:
    patterns = [paths.WEIGHT_FILES, *paths.CONFIG_FILES, *paths.TOKENIZER_FILES]
    patterns += [paths.CODE_FILES] if trust_remote_code else []
    patterns += [] if (folder / "tokenizer.json").is_file() else paths.OLD_VOCABULARY_FILES
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def _load_folder_tokenizer(folder: Path, trust_remote_code: bool) -> Any:
    if not any(path for pattern in paths.VOCABULARY_FILES for path in folder.glob(pattern)):
        raise InputError(
            f"{folder}: no tokenizer (tokenizer.json or a vocabulary); "
            "copy the base model's tokenizer files there"
        )
    # AutoTokenizer rebuilds the tokenizer of some model types (qwen2) from its vocabulary alone, so
    # a checkpoint's own way of splitting text is lost; tokenizer.json is the whole tokenizer
    is_complete = (folder / "tokenizer.json").is_file() and not trust_remote_code
    import transformers

    # transformers imports a class at its first use; AutoTokenizer alone takes four seconds
    tokenizer = transformers.PreTrainedTokenizerFast if is_complete else transformers.AutoTokenizer
    try:
        return tokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True, padding_side="left"
        )
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise InputError(
            f"{folder}: the tokenizer cannot be loaded ({_missing_packages(folder) or error})"
        ) from None


def _missing_packages(folder: Path) -> str | None:
    """What to install for a vocabulary that transformers has to convert; None where it need not.

    A ``*.model`` file is a SentencePiece model, or tiktoken's lines of a base64 text and a rank.
    transformers tries both and then names the second, whichever the file is.
    """
    vocabulary = next(iter(sorted(folder.glob("*.model"))), None)
    if vocabulary is None or (folder / "tokenizer.json").is_file():
        return None
    with open(vocabulary, "rb") as handle:
        is_tiktoken = re.fullmatch(rb"[A-Za-z0-9+/]+=* [0-9]+\s*", handle.readline(1000))
    modules = ("tiktoken",) if is_tiktoken else ("sentencepiece", "google.protobuf")
    absent = [name for name in modules if not _is_installed(name)]
    if not absent:
        return None
    packages = " ".join(name.removeprefix("google.") for name in absent)
    return (
        f"there is {vocabulary.name} only, and reading it takes `pip install {packages}` in this "
        "environment; or put the tokenizer.json of the same model beside it"
    )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        # its parent package is missing
        return False


def _read_chat_template(tokenizer: Any, file: str | Path | None, folder: Path) -> str:
    if file is not None:
        try:
            tokenizer.chat_template = Path(file).read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"chat_template: {file}: {error.strerror}; it names a jinja file"
            ) from None
    if not tokenizer.chat_template:
        raise InputError(
            f"{folder}: no chat template; the model's `chat_template:` key names a jinja file "
            "that supplies one"
        )
    # of several templates (tools, rag) the tokenizer's default one
    template: str = tokenizer.get_chat_template()
    tokenizer.chat_template = template
    render(tokenizer, [{"role": "user", "content": "1 + 1"}])
    return template
