"""What every chat template does to six kinds of rows; writes docs/templates.md.

Run: ``python -m tests.helpers.template_table FOLDER``, where FOLDER holds ``*.jinja`` files.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from orion.models import templates
from orion.models.training_documents import REASONS, DocumentEncoder, RejectedRowError

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

QUESTION = "What is 6 * 7?"
KINDS = {
    "plain answer": "6 * 7 = 42, so it is \\boxed{42}.",
    "closed thinking": "<think>6 sevens.</think>It is \\boxed{42}.",
    "thinking of its own": None,
    "control tokens": "Say {end}, not {start}: it is <tool_call>\\boxed{{42}}.",
    "empty lines": "\n\n6 * 7\n\n\n= 42\n\n \n\\boxed{42}\n\n",
    "one letter": "i",
}


@dataclass(frozen=True)
class Outcome:
    """One row trained on, or the reason against it; ``words`` is the trained text."""

    kind: str
    prompt: str = ""
    words: str = ""
    reason: str = ""


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
    if kind == "thinking of its own":
        if "<|channel|>" in encoder.template:
            # as decoded by an engine, without the control tokens
            return "analysis6 sevens.assistantfinalIt is \\boxed{42}."
        opened = encoder.prompt.rstrip().endswith("<think>")
        opening = "" if opened else "<think>\n"
        return opening + "6 sevens.\n</think>\n\nIt is \\boxed{42}."
    if kind == "control tokens":
        return text.format(end=encoder.tokenizer.eos_token, start=START)
    return text


def encode_row(encoder: DocumentEncoder, kind: str, question: str = QUESTION) -> Outcome:
    """One row of the table."""
    is_own = kind == "thinking of its own"
    try:
        ids, labels = encoder.encode(
            question, write_completion(kind, encoder), is_own_sample=is_own
        )
    except RejectedRowError as error:
        return Outcome(kind, reason=error.reason)
    start = next(i for i, label in enumerate(labels) if label != -100)
    decode = encoder.tokenizer.decode
    return Outcome(kind, decode(ids[:start]), decode(ids[start:]))


if __name__ == "__main__":
    for f in sorted(Path(sys.argv[1]).glob("*.jinja")):
        for th in (True, False):
            e = make_encoder(f.read_text(), th)
            print(
                "==",
                f.stem,
                th,
                {k: v if isinstance(v, Exception) else v for k, v in e.layouts.items()},
                e.end,
            )
            for k in KINDS:
                o = encode_row(e, k)
                print("   ", k, "|", o.reason or (o.prompt[-25:], o.words))
