"""Prompt sets: jinja files of blocks, read into one text per block.

Input: the name of a built-in set or the path of a file. Output: a ``PromptSet``. Outside its
blocks a file has comments only, and perhaps ``{% extends "chat" %}``: the blocks that it does not
define are then those of that set.
"""

import difflib
import textwrap
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orion.errors import InputError

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

BUILT_IN = ("chat", "demo")
SUFFIXES = (".jinja", ".jinja2", ".j2")
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class PromptSet:
    """The blocks of a prompt set, each a jinja text without its comments; None: there is none.

    ``system``: the system message. ``solve`` asks for a solution, ``reflect`` for a refined chain,
    ``answer`` states an answer. ``examples`` and ``reflect_examples``: worked examples, as YAML,
    that become earlier turns of the conversation. ``prefill``: words with which the assistant's
    turn of a reflection is opened. ``marker``: behind it the refined chain begins. ``leak``: one
    regular expression per line, for the filter of that name. ``reflect_answer`` asks for a chain
    with the answer in view and no trace, ``shorten`` for a shorter trace, ``review`` asks another
    model than the student for a refined chain. ``self_correction`` is a training text that takes a
    wrong attempt back. ``judge`` asks which of two solutions is the more coherent one.
    """

    system: str | None = None
    solve: str | None = None
    examples: str | None = None
    reflect: str | None = None
    reflect_examples: str | None = None
    prefill: str | None = None
    answer: str | None = None
    marker: str | None = None
    leak: str | None = None
    reflect_answer: str | None = None
    shorten: str | None = None
    self_correction: str | None = None
    review: str | None = None
    judge: str | None = None

    def block(self, name: str) -> str:
        """The text of a block; raises InputError where the set has none."""
        text: str | None = getattr(self, name)
        if text is None:
            raise InputError(f"prompts: the set has no block {name}; add it")
        return text

    def keep(self, *names: str) -> dict[str, str]:
        """The blocks of these names that the set has: what a stage is given."""
        return {name: text for name in names if (text := getattr(self, name)) is not None}


BLOCKS = tuple(field.name for field in fields(PromptSet))
# the others may be left out
REQUIRED = ("solve", "reflect", "answer", "marker")


def resolve(prompt_set: PromptSet | str) -> PromptSet:
    """The prompt set itself, or the one of this name or path."""
    return load(prompt_set) if isinstance(prompt_set, str) else prompt_set


def load(name: str) -> PromptSet:
    """The prompt set that ``prompts`` in the configuration names; ``validate`` checks its blocks.

    Raises InputError, with the line, for a file that cannot be read.
    """
    return parse(read(name), name)


def read(name: str) -> str:
    """The text of a prompt set's file; raises InputError where there is none."""
    if name in BUILT_IN:
        return (FOLDER / f"{name}.jinja").read_text(encoding="utf-8")
    if not name.endswith(SUFFIXES):
        raise InputError(
            f"{name}: no prompt set; one of {', '.join(BUILT_IN)}, or the path of a file of your "
            f"own whose name ends in {SUFFIXES[0]}"
        )
    try:
        return Path(name).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{name}: {error.strerror or error}; name a prompt file as seen from the working "
            "directory"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: not UTF-8 ({error}); save it as UTF-8 text") from None


@lru_cache(maxsize=16)
def parse(source: str, name: str) -> PromptSet:
    """The blocks of a file's text; ``name`` is for messages. Raises InputError with the line."""
    from jinja2 import TemplateSyntaxError

    reader = _Reader(name)
    try:
        for line, kind, value in environment().lex(source):
            reader.add(line, kind, value)
    except TemplateSyntaxError as error:
        raise InputError(f"{name}, line {error.lineno}: {error.message}") from None
    blocks = reader.finish()
    base = PromptSet()
    if reader.base is not None:
        if reader.base not in BUILT_IN:
            raise InputError(
                f"{name}: extends {reader.base}; a prompt set can extend {' or '.join(BUILT_IN)}"
            )
        base = load(reader.base)
    missing = [key for key in REQUIRED if key not in blocks and getattr(base, key) is None]
    if missing:
        raise InputError(
            f"{name}: no block {', '.join(missing)}; add it, or begin the file with "
            '{% extends "chat" %} to take from there what the file leaves out'
        )
    if base.leak is None and "leak" not in blocks:
        blocks["leak"] = load("chat").block("leak")
    # an empty block takes away what the set that is extended has
    found = {key: text or None for key, text in blocks.items()}
    empty = [key for key in REQUIRED if found.get(key, "") is None]
    if empty:
        raise InputError(f"{name}: the block {empty[0]} is empty; write its text")
    return replace(base, **found)


@lru_cache(maxsize=1)
def environment() -> "ImmutableSandboxedEnvironment":
    """The jinja environment of all prompt sets: data is never read as a template.

    What a block may not use: other files, unknown names, and chance, since the same problem has the
    same prompt.
    """
    # imported here, so that Snakemake starts without it
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    made = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    made.filters.pop("random")
    made.globals.pop("lipsum")
    return made


def _trim(name: str, text: str) -> str:
    """A block without its margins; the lines of worked examples, which are YAML, stay aligned."""
    if name.endswith("examples"):
        return textwrap.dedent(text.rstrip()).strip("\n")
    return text.strip()


class _Reader:
    """Takes a file's tokens and puts together the source of each block, without comments."""

    def __init__(self, name: str):
        self.name = name
        self.blocks: dict[str, str] = {}
        self.base: str | None = None
        self.current: str | None = None
        self.parts: list[str] = []
        # the tag under way, {% ... %}: its source and its words
        self.tag: list[str] = []
        self.words: list[str] = []
        self.line = 1

    def add(self, line: int, kind: str, value: Any) -> None:
        self.line = line
        if kind.startswith("comment"):
            return
        if value in ("{{-", "{%-"):
            # the lexer has removed the white space before it, which may keep two braces apart
            value = f" {value}"
        if kind == "block_begin":
            self.tag, self.words = [value], []
        elif self.tag:
            self.tag.append(value)
            if kind != "whitespace" and kind != "block_end":
                self.words.append(value)
            if kind == "block_end":
                self._close_tag()
        elif self.current is not None:
            self.parts.append(value)
        elif kind != "whitespace" and value.strip():
            raise self._fault(
                f"{value.strip()[:40]!r} stands outside of a block; put it into one of "
                f"{', '.join(BLOCKS)}"
            )

    def finish(self) -> dict[str, str]:
        if self.current is not None:
            raise self._fault(f"the block {self.current} has no {{% endblock %}}")
        return self.blocks

    def _close_tag(self) -> None:
        tag, words = self.tag, self.words
        self.tag = []
        first = words[0] if words else ""
        if first == "block":
            self._open_block(words[1] if len(words) > 1 else "")
        elif first == "endblock" and self.current is not None:
            # white space at both ends is the file's layout; that of the data is kept
            self.blocks[self.current] = _trim(self.current, "".join(self.parts))
            self.current = None
        elif self.current is not None:
            self.parts += tag
        elif first == "extends" and len(words) == 2 and not self.blocks and self.base is None:
            self.base = words[1].strip("\"'")
        else:
            raise self._fault(
                f"{{% {first} %}} stands outside of a block; put it into one, or begin the file "
                'with {% extends "chat" %}'
            )

    def _open_block(self, name: str) -> None:
        if self.current is not None:
            raise self._fault(f"the block {name} is inside of {self.current}; close that first")
        if name not in BLOCKS:
            near = difflib.get_close_matches(name, BLOCKS, 1)
            hint = f"did you mean {near[0]}?" if near else f"the blocks are {', '.join(BLOCKS)}"
            raise self._fault(f"unknown block {name}; {hint}")
        if name in self.blocks:
            raise self._fault(f"the block {name} is there twice; keep one")
        self.current, self.parts = name, []

    def _fault(self, message: str) -> InputError:
        return InputError(f"{self.name}, line {self.line}: {message}")
