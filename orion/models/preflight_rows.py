"""Preflight without weights: a few real rows as prompts and as training documents.

Input: a model's tokenizer with its template. Output: figures, and the token ids of the documents,
on which ``orion.models.preflight_weights`` then runs the model.
"""

from typing import Any

from orion import prompts
from orion.errors import InputError
from orion.models import templates
from orion.models.document import ModelDocument
from orion.models.thinking import CHANNELS
from orion.models.training_documents import (
    IGNORED,
    REASONS,
    DocumentEncoder,
    RejectedRowError,
)

ROWS = {
    "chat": (
        (
            "Natalia sold clips to 48 of her friends in April, and then she sold half as many "
            "clips in May. How many clips did Natalia sell altogether?",
            "In May she sold $48 / 2 = 24$ clips.\n\nAltogether she sold $48 + 24 = 72$ clips.\n\n"
            "The final answer is \\boxed{72}.",
        ),
        (
            "Solve $x^2 - 5x + 6 = 0$ over $\\mathbb{R}$.\n\n  Give the larger root.",
            "We factor: \\[x^2 - 5x + 6 = (x - 2)(x - 3).\\]\n\n\n- The roots are 2 and 3.\n"
            "\t- The larger one is \\boxed{3}.",
        ),
        # control tokens of several vendors, and an answer that is one letter
        (
            "What does `<|im_end|>` stand for, what `</s>`, and is $i^2 = -1$? <|eot_id|>",
            "i",
        ),
    ),
    "demo": (
        (
            "Raj has 35 pens , then has 2 times as many , ends with 2 times as many . how many "
            "pens now ?",
            "35 * 2 = 70 ; 70 * 2 = 140 ; \\boxed{ 140 }",
        ),
        (
            "Ana has 224 shells , sells 191 , gives away 8 . how many shells now ?",
            "okay first we need 224 - 191 . ones : 4 minus 1 is 3 . so 224 - 191 = 33 . next we "
            "need 33 - 8 . so 33 - 8 = 25 . the answer is \\boxed{ 25 }",
        ),
    ),
}
THINKING = "<think>\nHalf of 48 is 24, and 48 + 24 = 72.\n</think>\n\nThe answer is \\boxed{72}."

Ids = tuple[list[int], list[int]]


def list_rows(prompt_set: str) -> tuple[tuple[str, str], ...]:
    """The problems and solutions: those of the set, and for a set of the user's own the chat's."""
    return ROWS.get(prompt_set, ROWS["chat"])


def list_texts(prompt_set: str) -> list[str]:
    """The texts of the rows."""
    return [text for row in list_rows(prompt_set) for text in row]


def check_end_token(eos: set[int], vocabulary: int) -> str:
    """The end tokens, which must be tokens of the model."""
    outside = sorted(token for token in eos if not 0 <= token < vocabulary)
    if outside:
        raise InputError(
            f"the end token {outside[0]} is not among the model's {vocabulary} tokens; correct "
            "eos_token_id in generation_config.json, or take the tokenizer of the same checkpoint"
        )
    return f"end tokens {', '.join(map(str, sorted(eos)))}"


def encode_documents(
    tokenizer: Any, eos: set[int], prompt_set: str, enable_thinking: bool | None
) -> tuple[list[Ids], str]:
    """The training documents of the rows, and in words what becomes of thinking.

    Raises InputError for a row that cannot be trained as it is served.
    """
    encoder = DocumentEncoder(
        tokenizer,
        eos=eos,
        enable_thinking=enable_thinking,
        opening=prompts.opening(prompt_set),
    )
    documents = []
    for number, (problem, completion) in enumerate(list_rows(prompt_set), 1):
        turn = prompts.solve_messages(prompt_set, problem)
        prompt = turn[-1]["content"]
        try:
            ids, labels = encoder.encode(prompt, completion)
        except RejectedRowError as error:
            raise InputError(
                f"the chat template cannot carry test row {number}: {error.reason} "
                f"({REASONS[error.reason]}); give a template that can as the model's "
                "`chat_template:`"
            ) from None
        served = templates.render(tokenizer, turn, enable_thinking=enable_thinking)
        _check_document(tokenizer, (ids, labels), served, completion, eos, number)
        documents.append((ids, labels))
    return documents, _describe_thinking(encoder, prompt_set)


def _describe_thinking(encoder: DocumentEncoder, prompt_set: str) -> str:
    if not any(mark in encoder.template for mark in (templates.END_THINK, CHANNELS)):
        return "the template knows no thinking"
    problem = list_rows(prompt_set)[0][0]
    try:
        encoder.encode(prompts.solve(prompt_set, problem), THINKING)
    except RejectedRowError as error:
        return f"rows with thinking are rejected ({error.reason})"
    return "rows with thinking are trained"


def _check_document(
    tokenizer: Any, document: Ids, served: str, completion: str, eos: set[int], number: int
) -> None:
    """The document is the serving prompt, the words and an end token, in known tokens."""
    ids, labels = document
    [prompt] = templates.encode(tokenizer, [served])
    trained = ids[len(prompt) :]
    if ids[: len(prompt)] != prompt or labels != [IGNORED] * len(prompt) + trained:
        raise InputError(
            f"test row {number} is not trained as it is served; its prompt has other tokens"
        )
    if trained[-1] not in eos or eos & set(trained[:-1]):
        raise InputError(f"test row {number} does not end with its only end token")
    unknown = tokenizer.unk_token_id
    words = _letters(completion)
    text = tokenizer.decode(trained, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if words not in _letters(text):
        lost = f", {trained.count(unknown)} of them unknown" if unknown in trained else ""
        raise InputError(
            f"test row {number} is read back from its {len(trained)} tokens{lost} as {text!r}; "
            "take the tokenizer of the same checkpoint, or one that can write mathematics"
        )


def _letters(text: str) -> str:
    """A text without white space, which tokenizers of words do not keep."""
    return "".join(text.split())


def check_tokens(document: ModelDocument, documents: list[Ids]) -> str:
    """The longest test document, whose ids must be tokens of the model."""
    largest = max(max(ids) for ids, _ in documents)
    if document.vocab_size is not None and largest >= document.vocab_size:
        raise InputError(
            f"the tokenizer gives token {largest}, and the model has {document.vocab_size}; take "
            "the tokenizer of the same checkpoint"
        )
    longest = max(len(ids) for ids, _ in documents)
    return f"{len(documents)} documents of up to {longest} tokens"
