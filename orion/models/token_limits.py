"""The room that a model's context leaves: token limits of the configuration that cannot work."""

from collections.abc import Mapping

from orion.errors import InputError


def check_token_limits(model: str, context_length: int, limits: Mapping[str, int]) -> None:
    """Raise InputError for limits that the context of a model does not allow.

    ``limits``: key of the configuration → tokens. A ``max_tokens`` must leave room for a prompt of
    one token at least; ``max_length`` may fill the context.
    """
    wrong = []
    for key, tokens in limits.items():
        if key.endswith("max_tokens") and tokens >= context_length:
            wrong.append(f"{key} = {tokens} leaves no room for a prompt")
        elif not key.endswith("max_tokens") and tokens > context_length:
            wrong.append(f"{key} = {tokens} is longer")
    if wrong:
        raise InputError(
            f"models.{model} has a context of {context_length} tokens: {', '.join(wrong)}; lower "
            "it, or take a model with a longer context"
        )
