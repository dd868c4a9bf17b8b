"""Checkpoint folders: find one, describe it in model.json, load its tokenizer and weights.

Input: a model's source block or its model.json document. Output: a folder, a document, a tokenizer or a model. Weights are
read from safetensors only, and code that comes with a checkpoint runs only where ``trust_remote_code`` says so. Importing
this module imports neither torch nor transformers.
"""

import json
import sys
from pathlib import Path
from typing import Any

from orion import served, weights
from orion.errors import InputError
from orion.provenance import canonical_json, digest_file, digest_text

# what decides how a checkpoint is built and how text becomes ids; README, licence and images do not
CONFIGS = ("config.json", "generation_config.json", "*.safetensors.index.json")
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template.jinja",
    "chat_template.json",
)
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "*.model", "*.tiktoken")


def resolve(source: dict) -> Path:
    """The folder of a source: ``path`` of the kinds demo and path, a downloaded snapshot of the kind huggingface.

    A snapshot that is already in the hub's cache is found without a network. Raises InputError if there is no folder.
    """
    if source["kind"] == "huggingface":
        return _snapshot(source["repo"], source["revision"])
    folder = Path(source["path"])
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; `path:` of the model names a checkpoint folder"
        )
    return folder


def _snapshot(repo: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        patterns = [weights.PATTERN, *CONFIGS, *TOKENIZERS, "*.py"]
        return Path(snapshot_download(repo, revision=revision, allow_patterns=patterns))
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"{repo}@{revision}: not in the local cache and the hub cannot be reached ({error})"
        ) from None
    except (HfHubHTTPError, HFValidationError) as error:
        raise InputError(
            f"{repo}@{revision}: the hub refuses it ({error}); check `repo:`, `revision:` and access"
        ) from None


def describe(
    folder: str | Path,
    *,
    name: str,
    chat_template_file: str | Path | None = None,
    context_length: int | None = None,
    dtype: str,
    trust_remote_code: bool = False,
    repo: str | None = None,
    revision: str | None = None,
) -> dict:
    """The model.json document of a checkpoint folder, without provenance.

    ``digest`` names what a completion depends on: the bytes of weights, configuration and tokenizer, the chat template and
    the dtype, but neither the folder's place nor its name. ``parameters`` counts stored weights (tied ones once).
    Raises InputError, with the cure, for a folder that cannot be used.
    """
    folder = Path(folder)
    config = _read_config(folder)
    stored = weights.found(folder)
    files = {path.name: digest_file(path) for path in _files(folder, trust_remote_code)}
    document: dict[str, Any] = {
        "model": name,
        "path": None if repo else relative(folder),
        "repo": repo,
        "revision": revision,
        "files": files,
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
    }
    tokenizer = _tokenizer(folder, trust_remote_code)
    template = _chat_template(tokenizer, chat_template_file, folder)
    text_config = config.get("text_config") or config
    vocabulary = text_config.get("vocab_size") or len(tokenizer)
    if len(tokenizer) > vocabulary:
        raise InputError(
            f"{folder}: the tokenizer has {len(tokenizer)} entries, the model {vocabulary}; "
            "they are not of the same checkpoint, or new tokens were added without resizing the embeddings"
        )
    return {
        **document,
        "digest": digest_text(
            canonical_json({"files": files, "chat_template": template, "dtype": dtype})
        ),
        "chat_template": template,
        "context_length": _context_length(folder, text_config, context_length),
        "vocab_size": vocabulary,
        "parameters": weights.count(stored),
    }


def load_tokenizer(model_doc: dict) -> Any:
    """The tokenizer of a model.json document, with the document's chat template; pads on the left.

    A served model has none: what comes back renders messages as JSON and refuses everything else.
    """
    if served.is_served(model_doc):
        return served.ServedTokenizer(model_doc)
    tokenizer = _tokenizer(_folder(model_doc), model_doc["trust_remote_code"])
    tokenizer.chat_template = model_doc["chat_template"]
    return tokenizer


def load_model(model_doc: dict, device: str | None = None) -> Any:
    """The causal language model of a model.json document in its dtype, in evaluation mode.

    ``device``: a torch device; default the first GPU if there is one, else the CPU. An adapter stays unmerged.
    """
    folder = verified_folder(model_doc)
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, model_doc["dtype"]),
        use_safetensors=True,
        trust_remote_code=model_doc["trust_remote_code"],
        local_files_only=True,
    )
    if "adapter" in model_doc:
        from orion import adapters

        model = adapters.attached(model, model_doc)
    return model.to(place).eval()


def verified_folder(model_doc: dict) -> Path:
    """The checkpoint's folder; raises InputError if it no longer holds the files that the document describes.

    Completions would otherwise be stored under another model's name.
    """
    if served.is_served(model_doc):
        raise InputError(
            f"models.{model_doc['model']}.source: a model of the kind server has no weights here"
        )
    folder = _folder(model_doc)
    for name, digest in model_doc["files"].items():
        if not (folder / name).is_file() or digest_file(folder / name) != digest:
            raise InputError(
                f"{folder / name}: not the file that model.json describes; delete model.json and run again"
            )
    return folder


def settings(model_doc: dict, name: str) -> dict:
    """What a JSON file of the checkpoint says; nothing if there is no such file."""
    file = _folder(model_doc) / name
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def eos_ids(model_doc: dict, tokenizer: Any) -> set[int]:
    """All ids that end a completion: the generation config's (without one, the config's) and the tokenizer's own.

    Raises InputError if there is none.
    """
    ids: set[int] = {tokenizer.eos_token_id} - {None}
    for name in ("generation_config.json", "config.json"):
        configured = settings(model_doc, name).get("eos_token_id")
        if configured is not None:
            ids |= set(configured) if isinstance(configured, list) else {configured}
            break
    if not ids:
        raise InputError(
            "the checkpoint names no end token (generation_config.json: eos_token_id); completions would never end"
        )
    return ids


def render(
    tokenizer: Any,
    messages: list[dict],
    *,
    enable_thinking: bool | None = None,
    add_generation_prompt: bool = True,
) -> str:
    """Messages as the text that the model reads; raises InputError if the chat template refuses them."""
    switch = {} if enable_thinking is None else {"enable_thinking": enable_thinking}
    # jinja's errors are imported late: a template is rendered only where a tokenizer was loaded
    from jinja2 import TemplateError

    try:
        return tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt, **switch
        )
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise InputError(
            f"the chat template refuses messages of the roles {roles}: {error}"
        ) from None


def _folder(model_doc: dict) -> Path:
    if model_doc.get("path") is not None:
        return resolve({"kind": "path", "path": model_doc["path"]})
    return resolve(
        {"kind": "huggingface", "repo": model_doc["repo"], "revision": model_doc["revision"]}
    )


def relative(folder: Path) -> str:
    """The folder as seen from the working directory where it lies below that, so that documents name no machine."""
    absolute = folder.absolute()
    return (
        str(absolute.relative_to(Path.cwd()))
        if absolute.is_relative_to(Path.cwd())
        else str(folder)
    )


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
    patterns = [weights.PATTERN, *CONFIGS, *TOKENIZERS, *(["*.py"] if trust_remote_code else [])]
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def _tokenizer(folder: Path, trust_remote_code: bool) -> Any:
    if not any(path for pattern in VOCABULARIES for path in folder.glob(pattern)):
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
