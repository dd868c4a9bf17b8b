"""Checkpoint folders: find one, describe it as a ModelDocument, load its tokenizer and weights.

Weights are read from safetensors only. Code that comes with a checkpoint runs only where
``trust_remote_code`` is true. Importing this module imports neither torch nor transformers.
"""

import json
import sys
from pathlib import Path
from typing import Any

from orion import paths
from orion.errors import InputError
from orion.models import served, weights
from orion.models.document import ModelDocument
from orion.models.templates import render
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
        return _snapshot(repo, revision)
    folder = Path(path or "")
    if path is None or not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; `path:` of the model names a checkpoint folder"
        )
    return folder


def _snapshot(repo: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = [
            paths.WEIGHT_FILES,
            *paths.CONFIG_FILES,
            *paths.TOKENIZER_FILES,
            paths.CODE_FILES,
        ]
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns))
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"{repo}@{revision}: not in the local cache and the hub cannot be reached ({error})"
        ) from None
    except (HfHubHTTPError, HFValidationError) as error:
        raise InputError(
            f"{repo}@{revision}: the hub refuses it ({error}); check `repo:`, `revision:` and access"
        ) from None


def checkpoint_document(
    folder: str | Path,
    *,
    name: str,
    chat_template_file: str | Path | None = None,
    context_length: int | None = None,
    dtype: str,
    trust_remote_code: bool = False,
    repo: str | None = None,
    revision: str | None = None,
    served_name: str | None = None,
) -> ModelDocument:
    """The model.json document of a checkpoint folder, without provenance.

    ``digest`` names what a completion depends on: the bytes of weights, configuration and tokenizer, the chat template and
    the dtype, but neither the folder's place nor its name. ``parameters`` counts stored weights (tied ones once).
    Raises InputError, with the cure, for a folder that cannot be used.
    """
    folder = Path(folder)
    config = _read_config(folder)
    stored = weights.list_weight_files(folder)
    files = {path.name: digest_file(path) for path in _files(folder, trust_remote_code)}
    tokenizer = _tokenizer(folder, trust_remote_code)
    template = _chat_template(tokenizer, chat_template_file, folder)
    text_config = config.get("text_config") or config
    vocabulary = text_config.get("vocab_size") or len(tokenizer)
    if len(tokenizer) > vocabulary:
        raise InputError(
            f"{folder}: the tokenizer has {len(tokenizer)} entries, the model {vocabulary}; "
            "they are not of the same checkpoint, or new tokens were added without resizing the embeddings"
        )
    return ModelDocument(
        name=name,
        digest=digest_text(
            canonical_json({"files": files, "chat_template": template, "dtype": dtype})
        ),
        context_length=_context_length(folder, text_config, context_length),
        path=None if repo else paths.relative_to_cwd(folder),
        repo=repo,
        revision=revision,
        files=files,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        chat_template=template,
        vocab_size=vocabulary,
        parameters=weights.count_parameters(stored),
        served_name=served_name,
    )


def load_tokenizer(document: ModelDocument) -> Any:
    """The tokenizer of a model.json document, with the document's chat template; pads on the left.

    A served model has none: what comes back renders messages as JSON and refuses everything else.
    """
    if document.is_served:
        return served.ServedTokenizer(document)
    tokenizer = _tokenizer(_folder(document), document.trust_remote_code)
    tokenizer.chat_template = document.chat_template
    return tokenizer


def load_model(document: ModelDocument, device: str | None = None) -> Any:
    """The causal language model of a model.json document in its dtype, in evaluation mode.

    ``device``: a torch device; default the first GPU if there is one, else the CPU. An adapter stays unmerged.
    """
    folder = verify_folder(document)
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
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
    """The checkpoint's folder; raises InputError if it no longer holds the files that the document describes.

    Completions would otherwise be stored under another model's name.
    """
    if document.is_served:
        raise InputError(
            f"models.{document.name}.source: a model of the kind server has no weights here"
        )
    folder = _folder(document)
    for name, digest in document.files.items():
        if not (folder / name).is_file() or digest_file(folder / name) != digest:
            raise InputError(
                f"{folder / name}: not the file that model.json describes; delete model.json and run again"
            )
    return folder


def read_checkpoint_json(document: ModelDocument, name: str) -> dict:
    """What a JSON file of the checkpoint says; nothing if there is no such file."""
    file = _folder(document) / name
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def eos_ids(document: ModelDocument, tokenizer: Any) -> set[int]:
    """All ids that end a completion: the generation config's (without one, the config's) and the tokenizer's own.

    Raises InputError if there is none.
    """
    ids: set[int] = {tokenizer.eos_token_id} - {None}
    for name in ("generation_config.json", "config.json"):
        configured = read_checkpoint_json(document, name).get("eos_token_id")
        if configured is not None:
            ids |= set(configured) if isinstance(configured, list) else {configured}
            break
    if not ids:
        raise InputError(
            "the checkpoint names no end token (generation_config.json: eos_token_id); completions would never end"
        )
    return ids


def _folder(document: ModelDocument) -> Path:
    return find_folder(document.path, repo=document.repo, revision=document.revision)


def _read_config(folder: Path) -> dict:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    try:
        return json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder}: no config.json; this is no checkpoint in the transformers format"
        ) from None
    except ValueError as error:
        raise InputError(f"{folder}/config.json: not readable as JSON ({error})") from None


def _files(folder: Path, trust_remote_code: bool) -> list[Path]:
    patterns = [paths.WEIGHT_FILES, *paths.CONFIG_FILES, *paths.TOKENIZER_FILES]
    patterns += [paths.CODE_FILES] if trust_remote_code else []
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def _tokenizer(folder: Path, trust_remote_code: bool) -> Any:
    if not any(path for pattern in paths.VOCABULARY_FILES for path in folder.glob(pattern)):
        raise InputError(
            f"{folder}: no tokenizer (tokenizer.json or a vocabulary); copy the base model's tokenizer files there"
        )
    # AutoTokenizer rebuilds the tokenizer of some model types (qwen2) from its vocabulary alone and so loses a checkpoint's own
    # way of splitting text; tokenizer.json is the whole tokenizer
    whole = (folder / "tokenizer.json").is_file() and not trust_remote_code
    import transformers

    # only what is used is imported: AutoTokenizer alone takes four seconds
    tokenizer = transformers.PreTrainedTokenizerFast if whole else transformers.AutoTokenizer
    try:
        return tokenizer.from_pretrained(
            folder, trust_remote_code=trust_remote_code, local_files_only=True, padding_side="left"
        )
    except (ValueError, OSError, KeyError) as error:
        raise InputError(f"{folder}: the tokenizer cannot be loaded ({error})") from None


def _chat_template(tokenizer: Any, file: str | Path | None, folder: Path) -> str:
    if file is not None:
        try:
            tokenizer.chat_template = Path(file).read_text(encoding="utf-8")
        except OSError as error:
            raise InputError(
                f"chat_template: {file}: {error.strerror}; it names a jinja file"
            ) from None
    if not tokenizer.chat_template:
        raise InputError(
            f"{folder}: no chat template; the model's `chat_template:` key names a jinja file that supplies one"
        )
    # a model of several templates (tools, rag) has one of them as its default
    tokenizer.chat_template = tokenizer.get_chat_template()
    render(tokenizer, [{"role": "user", "content": "1 + 1"}])
    return tokenizer.chat_template


def _context_length(folder: Path, config: dict, wanted: int | None) -> int:
    says = config.get("max_position_embeddings")
    if wanted is None and says is None:
        raise InputError(
            f"{folder}/config.json: no max_position_embeddings; set the model's `context_length:`"
        )
    if wanted is not None and says is not None and wanted > says:
        raise InputError(
            f"context_length: {wanted} is more than the {says} tokens that {folder}/config.json allows"
        )
    return int(says) if wanted is None else wanted  # type: ignore[arg-type]
