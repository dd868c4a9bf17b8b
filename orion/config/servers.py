"""Pydantic models of a model's block ``server``: where it is, and how its requests differ."""

import re
import string
from collections.abc import Iterator
from typing import Any

from pydantic import Field, field_validator, model_validator

from orion.config.base import Block

# what orion/engines/openai_protocol.py sends beside the model and the prompt
PARAMETERS = (
    "chat_template_kwargs",
    "frequency_penalty",
    "max_tokens",
    "min_p",
    "presence_penalty",
    "repetition_penalty",
    "return_token_ids",
    "seed",
    "stop",
    "temperature",
    "top_k",
    "top_p",
)
FIXED = ("model", "messages", "prompt", "stream", "n")
# what the sampling keys of a server must say that gets no such parameter: its own values
WITHOUT = {"temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0}
SECRET = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)


class RequestMapping(Block):
    """How this server's requests differ from those of the protocol."""

    rename: dict[str, str] = Field(
        default_factory=dict,
        description="parameter: the server's name of it, such as max_tokens: max_completion_tokens",
    )
    drop: list[str] = Field(
        default_factory=list, description="parameters that the server refuses, such as temperature"
    )
    add: dict[str, Any] = Field(
        default_factory=dict,
        description="further parameters, such as reasoning_effort: low; part of a completion's key",
    )

    @model_validator(mode="after")
    def _check(self) -> "RequestMapping":
        for name in (*self.rename, *self.drop):
            if name not in PARAMETERS:
                raise ValueError(f"no request has {name}; one of {', '.join(PARAMETERS)}")
        if "max_tokens" in self.drop:
            raise ValueError(
                "max_tokens cannot be dropped, since a completion needs a limit; rename it, such "
                "as `rename: {max_tokens: max_completion_tokens}`"
            )
        names = [*self.rename.values(), *self.add]
        for name in sorted({*self.rename} & {*self.drop}):
            raise ValueError(f"{name} is both renamed and dropped; choose one")
        for name in names:
            if name in FIXED or not name:
                raise ValueError(f"{name or 'an empty name'}: is not for a mapping to set")
            sent = name in PARAMETERS and name not in self.drop and name not in self.rename
            if sent or names.count(name) > 1:
                raise ValueError(
                    f"{name} would be in the request twice; sampling parameters are keys of "
                    "sample, reflect, evaluate and teacher"
                )
        if any(value is None for value in _list_values(self.add)):
            raise ValueError("add: a null is never sent; leave the key out")
        return self


def _list_values(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _list_values(each)
    else:
        yield value


class Server(Block):
    """An OpenAI-compatible server.

    ``base_url``, ``api_key_env``, ``headers`` and ``query`` are not part of a completion's key.
    Changing them reruns only the report.
    """

    base_url: str = Field(
        pattern=r"^(https?://[^\s@?#]+|\$[^\s@?#]+)$",
        description="http(s)://host:port/v1; $NAME is taken from the environment",
    )
    api_key_env: str | None = Field(
        None,
        pattern=r"^[A-Z_][A-Z0-9_]*$",
        description="the environment variable, in capitals, that holds the API key",
    )
    served_model: str | None = Field(
        None,
        description="the name the server knows a checkpoint by, where it is not its repo or path",
    )
    headers: dict[str, str] = Field(
        default_factory=dict,
        description="further headers of every request; $NAME is taken from the environment",
    )
    query: dict[str, str] = Field(
        default_factory=dict,
        description="query parameters of every request, such as api-version",
    )
    request: RequestMapping | None = Field(
        None, description="parameters that are renamed, dropped or added for this server"
    )

    @field_validator("headers", "query")
    @classmethod
    def _check_secrets(cls, values: dict[str, str]) -> dict[str, str]:
        for name, text in values.items():
            template = string.Template(text)
            if not template.is_valid():
                raise ValueError(f"{name}: a $ that begins no name; write $$ for the sign")
            if SECRET.search(name) and not template.get_identifiers():
                raise ValueError(
                    f"{name}: a secret is not written into a configuration; export it as an "
                    "environment variable and name that, such as $SERVER_KEY"
                )
        return values
