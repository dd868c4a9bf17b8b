"""What every chat template does to six kinds of rows: the tables of docs/templates.md.

Run: ``python -m tests.helpers.template_table FOLDER`` writes them anew; FOLDER holds ``*.jinja``
files.
"""

import re
import sys
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from orion.models.training_documents import IGNORED, REASONS, DocumentEncoder, RejectedRowError
from tests.helpers.mechanisms import MECHANISMS

PAGE = Path(__file__).parents[2] / "docs/templates.md"

# the token that ends a turn: the first of these that a template contains
ENDS = (
    "<|return|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
    "<|end|>",
    "<|user|>",
)
SPECIAL = re.compile(r"<[|｜][^<>{}\s]{1,40}[|｜]>|</?s>|<sop>|<(?:start|end)_of_turn>|\[gMASK\]")
# added tokens that are not special, as in the vendors' tokenizers
TAGS = re.compile(r"</?think>|</?tool_call>|</?tool_response>")
START, FALLBACK_END = "<s>", "</s>"

OWN = "thinking of its own"
QUESTION = "What is 6 * 7?"
KINDS = {
    "plain answer": "6 * 7 = 42, so it is \\boxed{42}.",
    "closed thinking": "<think>6 sevens.</think>It is \\boxed{42}.",
    OWN: "",
    "control tokens": "Say {end}, not {start}: it is <tool_call>\\boxed{{42}}.",
    "empty lines": "\n\n6 * 7\n\n\n= 42\n\n \n\\boxed{42}\n\n",
    "one letter": "i",
}


def build_tokenizer(template: str) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per byte and the control tokens that a template contains."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    found = sorted({*SPECIAL.findall(template), START, FALLBACK_END})
    core.add_special_tokens(found)
    core.add_tokens([AddedToken(t, normalized=False) for t in sorted({*TAGS.findall(template)})])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        chat_template=template,
        bos_token=START,
        eos_token=next((end for end in ENDS if end in template), FALLBACK_END),
        clean_up_tokenization_spaces=False,
    )


def make_encoder(template: str, thinking: bool | None) -> DocumentEncoder:
    tokenizer = build_tokenizer(template)
    tokenizer.prompt_date = "2025-01-01"
    return DocumentEncoder(tokenizer, eos={tokenizer.eos_token_id}, enable_thinking=thinking)


def write_completion(kind: str, encoder: DocumentEncoder) -> str:
    """The completion of a kind of row for this model."""
    text = KINDS[kind]
    if kind == OWN:
        if "<|channel|>" in encoder.template:
            # as decoded by an engine, without the control tokens
            return "analysis6 sevens.assistantfinalIt is \\boxed{42}."
        opened = encoder.prompt.rstrip().endswith("<think>")
        opening = "" if opened else "<think>\n"
        return opening + "6 sevens.\n</think>\n\nIt is \\boxed{42}."
    if kind == "control tokens":
        return text.format(end=encoder.tokenizer.eos_token, start=START)
    return text


def encode_kind(
    encoder: DocumentEncoder, kind: str, question: str = QUESTION
) -> tuple[list[int], list[int]]:
    """Prompt ids and trained ids of one kind of row; raises RejectedRowError."""
    completion = write_completion(kind, encoder)
    ids, labels = encoder.encode(question, completion, is_own_sample=kind == OWN)
    start = next(i for i, label in enumerate(labels) if label != IGNORED)
    return ids[:start], ids[start:]


def make_tables(found: dict[str, str]) -> str:
    """Two Markdown tables of the templates: what is trained on, and what becomes of each kind."""
    first = [("template", "thinking", "prompt ends with", "answer", "thinking and answer")]
    second = [("template", "thinking", *KINDS)]
    for name, template in found.items():
        printed, outcomes = {}, {}
        for switch, thinking in (("on", True), ("off", False)):
            encoder = make_encoder(template, thinking)
            printed[switch] = (
                show(encoder.prompt.rpartition("QuestionWords")[2]),
                *(show_words(encoder, words) for words in ("A", "<think>T</think>A")),
            )
            outcomes[switch] = tuple(find_outcome(encoder, kind) for kind in KINDS)
        first += [(name, *row) for row in merge(printed)]
        second += [(name, *row) for row in merge(outcomes)]
    return "\n\n".join(map(format_table, (first, second)))


def merge(rows: dict[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """One row where the switch changes nothing."""
    if len({*rows.values()}) == 1:
        return [("either", *rows["on"])]
    return [(switch, *row) for switch, row in rows.items()]


def find_outcome(encoder: DocumentEncoder, kind: str) -> str:
    try:
        encode_kind(encoder, kind)
    except RejectedRowError as error:
        return f"`{error.reason}`"
    return "trained"


def show_words(encoder: DocumentEncoder, completion: str) -> str:
    try:
        ids, labels = encoder.encode("Q", completion)
    except RejectedRowError as error:
        return f"rejected: `{error.reason}`"
    trained = [token for token, label in zip(ids, labels, strict=True) if label != IGNORED]
    return show(encoder.tokenizer.decode(trained))


def show(text: str) -> str:
    """A text as Markdown code in a table's cell; line breaks are shown as ⏎."""
    return "`" + text.replace("\n", "⏎").replace("|", "\\|") + "`"


def format_table(rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def read_templates(folder: Path) -> dict[str, str]:
    """The vendors' templates of a folder by name."""
    paths = sorted(folder.glob("*.jinja"))
    return {path.stem: path.read_text(encoding="utf-8") for path in paths}


def replace_section(page: str, name: str, body: str) -> str:
    """The page with ``body`` between the comments that begin and end the section."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, rest = page.split(begin)
    return f"{before}{begin}\n{body}\n{end}{rest.split(end)[1]}"


def write_page(page: str, folder: Path) -> str:
    """docs/templates.md with its generated sections; the vendors' one only if there is a folder."""
    reasons = [("reason", "meaning"), *((f"`{name}`", text) for name, text in REASONS.items())]
    page = replace_section(page, "reasons", format_table(reasons))
    page = replace_section(page, "mechanisms", make_tables(MECHANISMS))
    if folder.is_dir():
        page = replace_section(page, "vendors", make_tables(read_templates(folder)))
    return page


if __name__ == "__main__":
    PAGE.write_text(
        write_page(PAGE.read_text(encoding="utf-8"), Path(sys.argv[1])), encoding="utf-8"
    )
