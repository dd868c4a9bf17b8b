"""Where a server of the OpenAI protocol is and what it is shown: address, key, headers, query.

Input: the server's block of the configuration. Output: the address and what every request carries.
``$NAME`` is looked up in the environment, so that no secret is in a configuration. None of it is
part of a completion's key.
"""

import os
import re
import string
from collections.abc import Mapping

import httpx2

from orion.errors import InputError

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# of a shorter value in an answer nobody can say that it is the secret
MIN_SECRET_LENGTH = 8


def read_base_url(base_url: str, config_key: str) -> str:
    """The server's address, with ``$NAME`` looked up in the environment.

    Raises InputError for an invalid address.
    """
    try:
        text = string.Template(base_url).substitute(os.environ).rstrip("/")
        url = httpx2.URL(text)
    except KeyError as error:
        raise InputError(
            f"{config_key}.base_url: the environment has no {error.args[0]}; set it to the address"
        ) from None
    except (ValueError, httpx2.InvalidURL):
        raise InputError(
            f"{config_key}.base_url: not an address; give http(s)://host:port/v1"
        ) from None
    if (
        url.scheme not in ("http", "https")
        or not url.host
        or url.userinfo
        or url.query
        or url.fragment
    ):
        raise InputError(
            f"{config_key}.base_url: give http(s)://host:port/v1, without a user, a query or a key "
            "in it (api_key_env)"
        )
    return text


def read_api_key(variable: str | None, config_key: str) -> str | None:
    """The key from the environment; None where no variable is configured.

    Raises InputError, which does not show the key, where it is unset or not valid.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise InputError(
            f"{config_key}.api_key_env: the environment has no {variable}; export it where the "
            "stage runs"
        )
    if not key.isascii() or not key.isprintable():
        raise InputError(
            f"{config_key}.api_key_env: {variable} holds characters that no key can have"
        )
    return key


def read_headers(
    headers: Mapping[str, str], config_key: str, place: str = "headers"
) -> tuple[dict[str, str], list[str]]:
    """The headers (or query parameters) with ``$NAME`` looked up, and the values looked up.

    Raises InputError, which shows no value, for a name or a value that no header can have.
    """
    found, secrets = {}, []
    for name, template in headers.items():
        key = f"{config_key}.{place}.{name}"
        names = string.Template(template).get_identifiers()
        absent = [each for each in names if not os.environ.get(each, "").strip()]
        if absent:
            raise InputError(
                f"{key}: the environment has no {absent[0]}; export it where the stage runs"
            )
        values = {each: os.environ[each].strip() for each in names}
        try:
            text = string.Template(template).substitute(values)
        except ValueError:
            raise InputError(f"{key}: a $ that begins no name; write $$ for the sign") from None
        if not HEADER_NAME.fullmatch(name) or not text.isascii() or not text.isprintable():
            raise InputError(f"{key}: holds characters that no {place} can have")
        found[name] = text
        secrets += [value for value in values.values() if len(value) >= MIN_SECRET_LENGTH]
    return found, secrets
