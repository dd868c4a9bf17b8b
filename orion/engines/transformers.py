"""The embedded engine: batched generation over a transformers model, a pool of rows that is refilled as rows end.

Input: a model.json document, sampling parameters, requests. Output: completions. A row's tokens depend on its own prompt and
seed only (``orion.engines.sampling``): batch size, order and neighbours matter no further than the last bits of the model's own
arithmetic. The loop is our own because ``model.generate`` keeps finished rows until the last one ends and copies the whole
cache for every token. It uses the model's forward and the public cache classes; models with layers that are no attention are
refused.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, Cache, DynamicLayer

from orion.engines import Completion, Request, RuntimeOptions, Sampling
from orion.engines.sampling import draw, penalise
from orion.engines.tokens import encoded, max_prompt_tokens
from orion.errors import InputError
from orion.models import checkpoints
from orion.models.document import ModelDocument

ATTENTION_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
# share of a pool's rows that may have ended before it is compacted and refilled; 0.1 to 0.4 measure alike
IDLE_SHARE = 0.2
DEFAULT_BATCH_SIZE = 256  # rows generated together
# tokens for which a cache has room before its buffers grow
ROOM = 64


def _grouped_attention(module, query, key, value, attention_mask, scaling=None, **kwargs):
    """The library's sdpa attention, but one new token attends without copying keys and values for each query head.

    With a mask the library repeats the whole cache first, which torch's CPU kernel does not need; on CUDA it does.
    """
    if query.shape[2] > 1 or kwargs.get("position_bias") is not None:
        return SDPA(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=True
    )
    return output.transpose(1, 2).contiguous(), None  # (rows, 1, heads, width)


GROUPED = "orion_grouped_sdpa"
SDPA = AttentionInterface()["sdpa"]
AttentionInterface.register(GROUPED, _grouped_attention)
AttentionMaskInterface.register(GROUPED, AttentionMaskInterface()["sdpa"])


@dataclass
class _Row:
    request: Request
    ids: list[int]
    new: list[int] = field(default_factory=list)

    @property
    def text(self) -> list[int]:
        return self.ids + self.new


def _taken(cache: Cache) -> list[tuple[torch.Tensor, ...]]:
    """The cache's keys and values, which it no longer holds."""
    layers = [(layer.keys, layer.values) for layer in cache.layers]  # type: ignore[union-attr]
    cache.layers.clear()
    return layers  # type: ignore[return-value]


class _GrowingLayer(DynamicLayer):
    """Keys and values in buffers with room at the end: a new token is written in place instead of copying the past."""

    def __init__(
        self, keys: torch.Tensor, values: torch.Tensor, length: int
    ):  # (rows, heads, capacity, width)
        super().__init__()
        self.buffers = [keys, values]
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._show(length)

    def _show(self, length: int) -> None:
        self.keys, self.values = (buffer[:, :, :length] for buffer in self.buffers)

    def update(self, key_states, value_states, *args, **kwargs):
        past = self.get_seq_length()
        length = past + key_states.shape[-2]
        if length > self.buffers[0].shape[-2]:
            more = ROOM + length // 4
            self.buffers = [
                torch.nn.functional.pad(buffer, (0, 0, 0, more)) for buffer in self.buffers
            ]
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, past:length] = states
        self._show(length)
        return self.keys, self.values


@dataclass
class _Block:
    """Cached keys and values, and the rows that go on from them: row ``i`` from cache row ``take[i]``.

    The cache holds all tokens of a row but the last, from position ``offsets[i]`` on.
    """

    layers: list[
        tuple[torch.Tensor, ...]
    ]  # keys and values, (cache rows, heads, length, width) each
    rows: list[_Row]
    take: list[int]
    offsets: list[int]


class _Pool:
    """Rows generated together: caches aligned at the right end, and the tensors of the next step, all (rows,)."""

    def __init__(self, blocks: list[_Block], max_tokens: int):
        self.rows = [row for block in blocks for row in block.rows]
        cached = [len(row.text) - 1 for row in self.rows]
        self.length = max(1, *cached, 1)
        self.starts = [self.length - n for n in cached]
        device = blocks[0].layers[0][0].device
        layers: list[Any] = []
        for i in range(len(blocks[0].layers)):
            layers.append(self._merged(blocks, i))
            # the old caches go layer by layer, so that both never stand in memory whole
            for block in blocks:
                block.layers[i] = ()
        self.cache = Cache(layers=layers)
        places = torch.arange(self.length + max_tokens, device=device)
        self.mask = (
            places >= torch.tensor(self.starts, device=device)[:, None]
        ).long()  # (rows, places)
        self.token = torch.tensor([row.text[-1] for row in self.rows], device=device)
        self.position = torch.tensor(cached, device=device)
        self.step = torch.tensor([len(row.new) for row in self.rows], device=device)
        self.seed = torch.tensor([row.request.seed for row in self.rows], device=device)
        self.seen: torch.Tensor | None = (
            None  # (rows, vocabulary) bool, kept where a repetition penalty wants it
        )

    def _merged(self, blocks: list[_Block], layer: int) -> _GrowingLayer:
        sides = []
        for side in (0, 1):
            first = blocks[0].layers[layer][side]
            buffer = first.new_zeros(
                len(self.rows), first.shape[1], self.length + ROOM, first.shape[3]
            )
            done = 0
            for block in blocks:
                source = block.layers[layer][side]
                end = done + len(block.rows)
                shift = torch.tensor(block.offsets) - torch.tensor(self.starts[done:end])
                # before a row's start stands some finite value that the mask hides
                places = (
                    (torch.arange(self.length) + shift[:, None])
                    .clamp(0, source.shape[2] - 1)
                    .to(source.device)
                )
                take = torch.tensor(block.take, device=source.device)[:, None]
                buffer[done:end, :, : self.length] = source[take, :, places].transpose(1, 2)
                done = end
            sides.append(buffer)
        return _GrowingLayer(sides[0], sides[1], self.length)

    def block(self, alive: list[int]) -> _Block:
        """What these rows go on from; the pool is of no more use."""
        return _Block(
            _taken(self.cache),
            [self.rows[i] for i in alive],
            alive,
            [self.starts[i] for i in alive],
        )


class TransformersEngine:
    """See ``orion.engines.Engine`` and ``RuntimeOptions``.

    Where memory runs out, ``batch_size`` and ``prefill_tokens`` are halved and no row is lost.
    """

    def __init__(
        self,
        document: ModelDocument,
        sampling: Sampling,
        options: RuntimeOptions,
    ):
        self.sampling = sampling
        self.batch_size = options.batch_size or DEFAULT_BATCH_SIZE
        self.prefill_tokens = options.prefill_tokens
        self.max_prompt_tokens = max_prompt_tokens(document, sampling)
        self.tokenizer = checkpoints.load_tokenizer(document)
        self.model = checkpoints.load_model(document, options.device)
        self.device = self.model.device
        strange = set(getattr(self.model.config, "layer_types", None) or ()) - ATTENTION_LAYERS
        if strange:
            raise InputError(
                f"engine transformers: layers of the kind {', '.join(sorted(strange))} need another engine"
            )
        if self.device.type == "cpu" and self.model.config._attn_implementation == "sdpa":
            self.model.set_attn_implementation(GROUPED)
        self.eos = checkpoints.eos_ids(document, self.tokenizer)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """One completion a request; raises InputError for a prompt without any token."""
        fitting = []
        for request, ids in encoded(self.tokenizer, requests):
            if len(ids) > self.max_prompt_tokens:
                yield Completion(request.key, "", "prompt_too_long", len(ids), 0)
            else:
                fitting.append(_Row(request, ids))
        # longest first: memory runs out at the start or never; equal prompts stand together and are read once
        queue = deque(sorted(fitting, key=lambda row: (-len(row.ids), row.ids, row.request.key)))
        pool: _Pool | None = None
        alive: list[int] = []
        while queue or alive:
            try:
                if pool is None or len(alive) <= len(pool.rows) * (1 - IDLE_SHARE):
                    pool = self._refilled(pool, alive, queue)
                    alive = list(range(len(pool.rows)))
                tokens = self._step(pool)
            except torch.OutOfMemoryError:
                tokens = None
            if tokens is None or pool is None:
                # outside the except block, where the traceback still holds the tensors
                if pool is not None:
                    queue.extendleft(pool.rows[i] for i in reversed(alive))
                pool, alive = None, []
                if self.batch_size == 1:
                    row = queue.popleft()
                    yield Completion(row.request.key, "", "error", len(row.ids), 0)
                self._halve()
                continue
            reasons = {i: self._take(pool.rows[i], tokens[i]) for i in alive}
            alive = [i for i in alive if reasons[i] is None]
            ended = [(pool.rows[i], reason) for i, reason in reasons.items() if reason]
            if ended:
                yield from self._completions(ended)

    def _refilled(self, pool: _Pool | None, alive: list[int], queue: deque[_Row]) -> _Pool:
        blocks = [pool.block(alive)] if pool and alive else []
        chosen = list(islice(queue, self.batch_size - len(alive)))
        new = _Pool(blocks + self._prefill(chosen), self.sampling.max_tokens)
        if self.sampling.repetition_penalty != 1:
            new.seen = torch.zeros(
                len(new.rows),
                self.model.config.vocab_size,
                dtype=torch.bool,
                device=new.seed.device,
            )
            for seen, row in zip(new.seen, new.rows, strict=True):
                seen[row.text] = True
        # only now, so that a refill that runs out of memory loses no row
        for _ in chosen:
            queue.popleft()
        return new

    @torch.inference_mode()
    def _prefill(self, rows: list[_Row]) -> list[_Block]:
        """Read all tokens but the last of each distinct prompt; padding on the right, which causal attention never sees."""
        groups: dict[tuple[int, ...], list[_Row]] = {}
        for row in rows:
            groups.setdefault(tuple(row.text), []).append(row)
        blocks, waiting = [], sorted(groups, key=len, reverse=True)
        while waiting:
            width = max(1, len(waiting[0]) - 1)
            texts, waiting = _split(waiting, max(1, self.prefill_tokens // width))
            ids = torch.tensor(
                [[*text[:-1], *[text[-1]] * width][:width] for text in texts], device=self.device
            )
            cache = Cache(layer_class_to_replicate=DynamicLayer)
            self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            members = [(i, row) for i, text in enumerate(texts) for row in groups[text]]
            blocks.append(
                _Block(
                    _taken(cache),
                    [row for _, row in members],
                    [i for i, _ in members],
                    [0] * len(members),
                )
            )
        return blocks

    @torch.inference_mode()
    def _step(self, pool: _Pool) -> list[int]:
        """One token for every row of the pool."""
        logits = self.model(
            input_ids=pool.token[:, None],
            attention_mask=pool.mask[:, : pool.length + 1],
            position_ids=pool.position[:, None],
            past_key_values=pool.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        logits = logits.float()  # (rows, vocabulary)
        if pool.seen is not None:
            logits = penalise(logits, pool.seen, self.sampling.repetition_penalty)
        temperature, top_p = self.sampling.temperature, self.sampling.top_p
        pool.token = draw(logits, pool.seed, pool.step, temperature=temperature, top_p=top_p)
        if pool.seen is not None:
            pool.seen.scatter_(1, pool.token[:, None], True)
        pool.position += 1
        pool.step += 1
        pool.length += 1
        return pool.token.tolist()

    def _take(self, row: _Row, token: int) -> str | None:
        row.new.append(token)
        if token in self.eos:
            return "stop"
        return "length" if len(row.new) == self.sampling.max_tokens else None

    def _completions(self, ended: list[tuple[_Row, str]]) -> Iterator[Completion]:
        texts = self.tokenizer.batch_decode(
            [row.new for row, _ in ended],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        for (row, reason), text in zip(ended, texts, strict=True):
            yield Completion(row.request.key, text, reason, len(row.ids), len(row.new))

    def _halve(self) -> None:
        self.batch_size = max(1, self.batch_size // 2)
        self.prefill_tokens = max(1, self.prefill_tokens // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _split(items: list, n: int) -> tuple[list, list]:
    return items[:n], items[n:]
