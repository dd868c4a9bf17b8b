"""Documents for the bench of training: token ids with labels, lengths lognormal.

Inputs: a folder with teacher traces and short answers, or none; a tokenizer or a vocabulary.
Output: the same documents for everybody, as `pack` has them: (input_ids, labels), the label of a
prompt's token is -100. From texts, a prompt is rendered with the chat template; the first text that
is long enough is cut to the length that was drawn, so that short lengths are answers of GSM8K and
long ones are teacher traces.
"""

import json
import random
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from orion.data import streams
from orion.models import templates
from orion.models.training_documents import IGNORED
from orion.training.best_fit import best_fit_bins

Document = tuple[list[int], list[int]]

SHORT = ("gsm8k_train.jsonl.zst", "solution")
TRACES = ("teacher_traces.jsonl.zst", "response")
SIGMA = 1.0  # of the logarithm of a length
MIN_LENGTH = 16
# of a synthetic document, about what it is in the texts
PROMPT_FRACTION = 0.3
# rows of a file that are tokenised at most
POOL = 400
SEED = 3


def draw_lengths(documents: int, bins: int, max_length: int) -> list[int]:
    """Lognormal lengths whose sum nearly fills ``bins`` sequences of ``max_length`` tokens.

    They are packed into exactly so many. The shortest ones have to fit.
    """
    assert documents * MIN_LENGTH <= bins * max_length, "too many documents for the sequences"
    draw = random.Random(SEED)
    raw = [draw.lognormvariate(0, SIGMA) for _ in range(documents)]
    scale = 4.0 * bins * max_length / sum(raw)
    while True:
        lengths = [min(max_length, max(MIN_LENGTH, round(scale * value))) for value in raw]
        if len(best_fit_bins(np.array(lengths), max_length)) <= bins:
            return lengths
        scale *= 0.99


def warm_up_lengths(documents: int, bins: int, max_length: int) -> list[int]:
    """Equal lengths, ``bins`` sequences of a quarter of ``max_length``."""
    return [max(MIN_LENGTH, bins * max_length // (4 * documents))] * documents


def synthetic_documents(lengths: list[int], vocabulary: int) -> list[Document]:
    """Documents of random token ids, small ids more often, as in a vocabulary made by merges."""
    draw = random.Random(SEED)
    documents = []
    for length in lengths:
        ids = [int(vocabulary ** draw.random()) - 1 for _ in range(length)]
        documents.append(_with_labels(ids, round(PROMPT_FRACTION * length)))
    return documents


def text_documents(lengths: list[int], folder: Path, tokenizer: Any) -> list[Document]:
    """Documents from the folder's texts; raises SystemExit where they are too few or too short."""
    pools = [deque(_tokenised(folder / name, field, tokenizer)) for name, field in (SHORT, TRACES)]
    documents = []
    for length in lengths:
        found = next((pair for pool in pools if (pair := _take(pool, length))), None)
        if found is None:
            raise SystemExit(f"{folder}: no text of {length} tokens is left; lower --max-length")
        prompt, completion = found
        # a prompt never takes more than half of a document
        prompt = prompt[-(length // 2) :]
        documents.append(_with_labels((prompt + completion)[:length], len(prompt)))
    return documents


def _take(pool: deque[tuple[list[int], list[int]]], length: int) -> Any:
    """The first pair of the pool that is long enough; those before it go to the end."""
    for _ in range(len(pool)):
        prompt, completion = pool.popleft()
        if len(completion) >= length - min(len(prompt), length // 2):
            return prompt, completion
        pool.append((prompt, completion))
    return None


def _with_labels(ids: list[int], prompt: int) -> Document:
    return ids, [IGNORED] * prompt + ids[prompt:]


def _tokenised(path: Path, field: str, tokenizer: Any) -> Iterator[tuple[list[int], list[int]]]:
    """Prompt and completion of the file's first rows."""
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; leave out --data to train on random token ids")
    for line in islice(streams.read_lines(path), POOL):
        row = json.loads(str(line))
        text = templates.render(tokenizer, [{"role": "user", "content": row["problem"]}])
        completion = tokenizer(row[field], add_special_tokens=False)["input_ids"]
        yield templates.encode(tokenizer, [text])[0], [*completion, tokenizer.eos_token_id]
