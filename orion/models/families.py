"""Model families: which can be trained packed, and what the packed path must then compute.

Input: the mapping in a checkpoint's config.json. Output: a ``Family``. A family is supported only
if it is in FAMILIES, each of which the tests train and sample (docs/models.md); one that the
transformers library adds later is refused until it is tried. Importing this module imports neither
torch nor transformers; ``check_family`` imports the library's configuration classes, since it takes
the values that a config.json leaves out from there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orion.errors import InputError

FULL, SLIDING = "full_attention", "sliding_attention"
# MLP kinds that the library keeps among the layer types of some families
LAYER_KINDS = (FULL, SLIDING)
# kinds of rotary positions whose frequencies depend on the longest row of a batch
GROWING_ROPE = ("dynamic", "longrope")


@dataclass(frozen=True)
class Family:
    """What a checkpoint's layers, attention and head compute.

    ``layers``: the kinds of its attention layers, each once. ``window``: tokens that a query of a
    sliding layer sees, itself included. ``softcap``: of the attention's scores; ``final_softcap``:
    of the logits. ``head_scale``: factor on the logits before ``final_softcap``. ``aux_loss``: the
    coefficient of the router loss that the model adds to its own, 0.0 where it adds none.
    ``uniform_positions``: the number of tokens up to which positions mean the same in every batch;
    None where they always do. Beyond it a short row in a batch with a long one is another row.
    """

    model_type: str
    layers: tuple[str, ...] = (FULL,)
    window: int | None = None
    softcap: float | None = None
    sinks: bool = False
    head_scale: float = 1.0
    final_softcap: float | None = None
    aux_loss: float = 0.0
    uniform_positions: int | None = None


@dataclass(frozen=True)
class Rule:
    """How a family's values are read from its configuration object.

    ``layers``: "full", "window" (every layer slides where there is a window) or "listed"
    (``layer_types`` decides). ``head_scale``: from the configuration to the factor.
    """

    title: str
    layers: str = "full"
    sinks: bool = False
    head_scale: Callable[[Any], float] | None = None
    has_router_loss: bool = False


def _logit_scale(config: Any) -> float:
    return float(config.logit_scale)


def _logits_scaling(config: Any) -> float:
    return 1 / float(config.logits_scaling) if config.logits_scaling else math.inf


FAMILIES = {
    "apertus": Rule("Apertus"),
    "arcee": Rule("Arcee AFM"),
    "cohere": Rule("Command R", head_scale=_logit_scale),
    "cohere2": Rule("Command R7B, A", "listed", head_scale=_logit_scale),
    "deepseek_v2": Rule("DeepSeek-V2"),
    "deepseek_v3": Rule("DeepSeek-V3, R1"),
    "dots1": Rule("dots.llm1", "listed"),
    "ernie4_5": Rule("ERNIE 4.5"),
    "ernie4_5_moe": Rule("ERNIE 4.5 MoE", has_router_loss=True),
    "exaone4": Rule("EXAONE 4.0", "listed"),
    "gemma": Rule("Gemma"),
    "gemma2": Rule("Gemma 2", "listed"),
    "gemma3_text": Rule("Gemma 3, text only", "listed"),
    "glm": Rule("GLM-4-9B"),
    "glm4": Rule("GLM-4-0414"),
    "glm4_moe": Rule("GLM-4.5, 4.6"),
    "gpt_neox": Rule("GPT-NeoX, Pythia"),
    "gpt_oss": Rule("gpt-oss", "listed", sinks=True, has_router_loss=True),
    "granite": Rule("Granite", head_scale=_logits_scaling),
    "granitemoe": Rule("Granite MoE", head_scale=_logits_scaling, has_router_loss=True),
    "helium": Rule("Helium"),
    "hunyuan_v1_dense": Rule("Hunyuan, dense"),
    "llama": Rule("Llama 2, 3; SmolLM2"),
    "ministral": Rule("Ministral 8B", "listed"),
    "ministral3": Rule("Ministral 3, text only", "window"),
    "mistral": Rule("Mistral 7B", "window"),
    "mixtral": Rule("Mixtral", "window", has_router_loss=True),
    "olmo": Rule("OLMo"),
    "olmo2": Rule("OLMo 2"),
    "olmo3": Rule("OLMo 3", "listed"),
    "olmoe": Rule("OLMoE", "window", has_router_loss=True),
    "phi": Rule("Phi-1.5, Phi-2"),
    "phi3": Rule("Phi-3, Phi-3.5, Phi-4", "window"),
    "qwen2": Rule("Qwen2, Qwen2.5", "listed"),
    "qwen2_moe": Rule("Qwen1.5-MoE, Qwen2-MoE", "listed", has_router_loss=True),
    "qwen3": Rule("Qwen3", "listed"),
    "qwen3_moe": Rule("Qwen3-MoE", "window", has_router_loss=True),
    "smollm3": Rule("SmolLM3", "listed"),
    "starcoder2": Rule("StarCoder2", "window"),
}

RECURRENT = (
    "it has layers that carry a state along the row (state space, linear attention or convolution);"
    " packed documents would run into one another"
)
ENCODER_DECODER = "it is an encoder with a decoder; only decoders are trained here"
ENCODER = "it is an encoder, which generates no text"
SEVERAL_MEDIA = (
    "it reads images, sound or video too; take its text model as a checkpoint of its own "
    "(for gemma3: gemma3_text)"
)
SPARSE = "its attention chooses the tokens that a query sees; the packed path does not"
CHUNKED = "its attention is cut into chunks of fixed places; the packed path has none"
DEAF = "its layers do not pass the documents of a packed row on to their attention"
ALIBI = "its attention adds a bias by distance (ALiBi); the packed path has none"

REFUSED = {
    **dict.fromkeys(
        (
            "bamba", "falcon_h1", "falcon_mamba", "granitemoehybrid", "jamba", "kimi_linear",
            "lfm2", "lfm2_moe", "mamba", "mamba2", "minimax", "nemotron_h", "olmo_hybrid",
            "qwen3_5_moe_text", "qwen3_5_text", "qwen3_next", "recurrent_gemma", "rwkv", "xlstm",
            "zamba", "zamba2",
        ),
        RECURRENT,
    ),
    **dict.fromkeys(
        (
            "bart", "blenderbot", "led", "longt5", "m2m_100", "marian", "mbart", "mt5", "pegasus",
            "prophetnet", "switch_transformers", "t5", "t5gemma", "umt5", "whisper",
        ),
        ENCODER_DECODER,
    ),
    **dict.fromkeys(("bert", "electra", "roberta", "xlm-roberta"), ENCODER),
    **dict.fromkeys(
        (
            "gemma3", "gemma3n", "gemma4", "llama4", "llava", "mistral3", "mllama", "paligemma",
            "phi4_multimodal", "qwen2_5_vl", "qwen2_vl", "qwen3_5", "qwen3_5_moe", "qwen3_vl",
        ),
        SEVERAL_MEDIA,
    ),
    **dict.fromkeys(("deepseek_v32", "deepseek_v4", "glm_moe_dsa"), SPARSE),
    "llama4_text": CHUNKED,
    **dict.fromkeys(("nemotron", "stablelm"), DEAF),
    **dict.fromkeys(("bloom", "mpt"), ALIBI),
}  # fmt: skip
OTHER_MEDIA = ("vision_config", "audio_config")


def check_family(config: dict[str, Any]) -> Family:
    """The family of a checkpoint by its config.json.

    Raises InputError, with the model type and the reason, for a family that is not in FAMILIES, a
    kind of layer that packed documents cannot have, and settings that the packed path cannot
    compute.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise InputError("config.json names no model_type; not a checkpoint of transformers")
    reason = _reason_against(config, model_type)
    if reason is not None:
        raise InputError(f"models of the type {model_type} cannot be trained: {reason}")
    settings = _library_config(config, model_type)
    family = _read_family(settings, model_type)
    _check_settings(settings, model_type)
    return family


def _reason_against(config: dict[str, Any], model_type: str) -> str | None:
    if model_type in REFUSED:
        return REFUSED[model_type]
    if config.get("is_encoder_decoder"):
        return ENCODER_DECODER
    if any(config.get(key) for key in OTHER_MEDIA):
        return SEVERAL_MEDIA
    if model_type not in FAMILIES:
        return (
            "its family has not been tried; docs/models.md lists those that were, and what one "
            "has to pass"
        )
    return None


def _library_config(config: dict[str, Any], model_type: str) -> Any:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    try:
        return CONFIG_MAPPING[model_type].from_dict(dict(config))
    # the library's checks raise several kinds of exception, some of other packages
    except Exception as error:
        raise InputError(
            f"config.json of the type {model_type} is not valid: {' '.join(str(error).split())}"
        ) from None


def _read_family(settings: Any, model_type: str) -> Family:
    rule = FAMILIES[model_type]
    kinds, window = _read_layers(settings, rule, model_type)
    scale = 1.0 if rule.head_scale is None else float(rule.head_scale(settings))
    if not (math.isfinite(scale) and scale):
        raise InputError(f"config.json of the type {model_type}: logits multiplied by {scale}")
    adds_router_loss = rule.has_router_loss and settings.output_router_logits
    return Family(
        model_type,
        layers=kinds,
        window=window,
        softcap=getattr(settings, "attn_logit_softcapping", None),
        sinks=rule.sinks,
        head_scale=scale,
        final_softcap=getattr(settings, "final_logit_softcapping", None),
        aux_loss=float(settings.router_aux_loss_coef) if adds_router_loss else 0.0,
        uniform_positions=_uniform_positions(settings),
    )


def _read_layers(settings: Any, rule: Rule, model_type: str) -> tuple[tuple[str, ...], int | None]:
    """The kinds of attention layers and the window of those that slide."""
    window = getattr(settings, "sliding_window", None)
    listed = getattr(settings, "layer_types", None)
    unknown = sorted({*(listed or ())} - {*LAYER_KINDS})
    if unknown:
        raise InputError(
            f"config.json of the type {model_type}: layers of the kind {', '.join(unknown)}; "
            f"packed documents can have {' and '.join(LAYER_KINDS)} only"
        )
    if rule.layers == "window":
        kinds = (SLIDING,) if window is not None else (FULL,)
    else:
        kinds = tuple(sorted({*(listed or (FULL,))}))
    if SLIDING not in kinds:
        return kinds, None
    if not isinstance(window, int) or window < 1:
        raise InputError(
            f"config.json of the type {model_type}: sliding layers with sliding_window {window}"
        )
    return kinds, window


def _uniform_positions(settings: Any) -> int | None:
    """The tokens up to which a growing kind of rotary positions stays as it is; None without."""
    rope = getattr(settings, "rope_parameters", None) or {}
    # one mapping, or one per kind of layer
    parts = [part for part in rope.values() if isinstance(part, dict)] or [rope]
    limits = [
        part.get("original_max_position_embeddings") or settings.max_position_embeddings
        for part in parts
        if part.get("rope_type") in GROWING_ROPE
    ]
    return min(map(int, limits), default=None)


def _check_settings(settings: Any, model_type: str) -> None:
    """Raise InputError for settings that the packed path cannot compute."""
    dropout = getattr(settings, "attention_dropout", None)
    wrong = ""
    if dropout:
        wrong = f"attention_dropout {dropout}, which packed attention does not have; set it to 0.0"
    elif getattr(settings, "use_bidirectional_attention", None):
        wrong = "use_bidirectional_attention; such a model generates no text"
    elif getattr(settings, "quantization_config", None):
        wrong = (
            "quantization_config: its weights are quantised, and training needs them whole; take "
            "the unquantised checkpoint"
        )
    if wrong:
        raise InputError(f"config.json of the type {model_type}: {wrong}")
