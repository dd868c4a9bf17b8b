"""Chat templates: messages as the text that a model reads."""

from typing import Any

from orion.errors import InputError


def render(
    tokenizer: Any,
    messages: list[dict],
    *,
    enable_thinking: bool | None = None,
    add_generation_prompt: bool = True,
) -> str:
    """Messages as the text that the model reads; raises InputError if the template refuses them."""
    switch = {} if enable_thinking is None else {"enable_thinking": enable_thinking}
    # imported late: only a process that loads a tokenizer renders a template
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
