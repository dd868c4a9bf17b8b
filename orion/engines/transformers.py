"""The engine transformers: batched generation with a pool of rows, refilled as rows end.

Input: a ModelDocument, sampling parameters, requests. Output: completions. The tokens of a row
depend on its own prompt and seed only (``orion.engines.sampling``). Batch size, order and the other
rows change nothing but the last bits of the model's own arithmetic.

The loop is our own because ``model.generate`` keeps finished rows until the last one ends and
copies the whole cache for every token. It calls the model's forward with the library's public cache
classes. Models with layers other than attention are refused.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, Cache, DynamicLayer

from orion.engines import logits
from orion.engines.protocol import Completion, Request, RuntimeOptions, Sampling
from orion.engines.sampling import draw_tokens, penalise_repetition
from orion.engines.stop_strings import StopStrings
from orion.engines.tokens import encode_prompts, max_prompt_tokens
from orion.errors import InputError
from orion.models import checkpoints
from orion.models.document import ModelDocument

ATTENTION_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
# fraction of a pool's rows that may have ended before it is refilled; 0.1 to 0.4 are equally fast
MAX_IDLE_FRACTION = 0.2
DEFAULT_BATCH_SIZE = 256  # rows generated together
# free places for new tokens in the buffers of a cache
SPARE_TOKENS = 64


def _grouped_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> Any:
    """The library's sdpa attention, without a copy of keys and values per query head.

    With a mask, the library repeats the whole cache for every new token. Torch's CUDA kernel needs
    the copies; its CPU kernel does not.
    """
    if query.shape[2] > 1 or kwargs.get("position_bias") is not None:
        return SDPA(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=True
    )
    return output.transpose(1, 2).contiguous(), None  # (rows, 1, heads, width)


GROUPED = "orion_grouped_sdpa"
SDPA = AttentionInterface()["sdpa"]  # type: ignore[no-untyped-call]
AttentionInterface.register(GROUPED, _grouped_attention)
AttentionMaskInterface.register(
    GROUPED,
    AttentionMaskInterface()["sdpa"],  # type: ignore[no-untyped-call]
)


@dataclass
class _Row:
    request: Request
    ids: list[int]
    new: list[int] = field(default_factory=list)

    @property
    def tokens(self) -> list[int]:
        return self.ids + self.new


def _take_layers(cache: Cache) -> list[tuple[torch.Tensor, ...]]:
    """Keys and values of each layer, removed from the cache."""
    layers = [(layer.keys, layer.values) for layer in cache.layers]  # type: ignore[union-attr]
    cache.layers.clear()
    return layers  # type: ignore[return-value]


class _GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values in buffers with free places, so that a new token copies no old ones.

    ``keys`` and ``values``: (rows, heads, capacity, width), of which ``length`` places are in use.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, length: int):
        super().__init__()  # type: ignore[no-untyped-call]
        self.buffers = [keys, values]
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True
        self._set_length(length)

    def _set_length(self, length: int) -> None:
        self.keys, self.values = (buffer[:, :, :length] for buffer in self.buffers)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append the new tokens' keys and values; returns all, as the library's layers do."""
        past = self.get_seq_length()
        length = past + key_states.shape[-2]
        if length > self.buffers[0].shape[-2]:
            more = SPARE_TOKENS + length // 4
            self.buffers = [
                torch.nn.functional.pad(buffer, (0, 0, 0, more)) for buffer in self.buffers
            ]
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, past:length] = states
        self._set_length(length)
        return self.keys, self.values  # type: ignore[return-value]


@dataclass
class _Block:
    """Cached keys and values, and the rows that continue from them.

    ``layers``: keys and values, each (cache rows, heads, length, width). Row ``i`` continues from
    cache row ``take[i]``, which holds all its tokens but the last, from position ``offsets[i]`` on.
    """

    layers: list[tuple[torch.Tensor, ...]]
    rows: list[_Row]
    take: list[int]
    offsets: list[int]


class _Pool:
    """Rows generated together: their caches, aligned at the right end, and the next step's input.

    ``token``, ``position``, ``step`` and ``seed`` have the shape (rows,).
    """

    def __init__(self, blocks: list[_Block], max_tokens: int):
        self.rows = [row for block in blocks for row in block.rows]
        cached = [len(row.tokens) - 1 for row in self.rows]
        self.length = max(1, *cached, 1)
        self.starts = [self.length - n for n in cached]
        device = blocks[0].layers[0][0].device
        layers: list[Any] = []
        for i in range(len(blocks[0].layers)):
            layers.append(self._merge_layer(blocks, i))
            # freed layer by layer, so that the old and the new cache are never in memory whole
            for block in blocks:
                block.layers[i] = ()
        self.cache = Cache(layers=layers)
        places = torch.arange(self.length + max_tokens, device=device)
        self.mask = (
            places >= torch.tensor(self.starts, device=device)[:, None]
        ).long()  # (rows, places)
        self.token = torch.tensor([row.tokens[-1] for row in self.rows], device=device)
        self.position = torch.tensor(cached, device=device)
        self.step = torch.tensor([len(row.new) for row in self.rows], device=device)
        self.seed = torch.tensor([row.request.seed for row in self.rows], device=device)
        # (rows, vocabulary) bool, where there is a repetition penalty
        self.seen: torch.Tensor | None = None
        # (rows, vocabulary), how often each token was generated, where penalties ask for it
        self.counts: torch.Tensor | None = None

    def _merge_layer(self, blocks: list[_Block], layer: int) -> _GrowingLayer:
        sides = []
        for side in (0, 1):
            first = blocks[0].layers[layer][side]
            buffer = first.new_zeros(
                len(self.rows), first.shape[1], self.length + SPARE_TOKENS, first.shape[3]
            )
            done = 0
            for block in blocks:
                source = block.layers[layer][side]
                end = done + len(block.rows)
                shift = torch.tensor(block.offsets) - torch.tensor(self.starts[done:end])
                # places before a row's start get any finite value; the mask hides them
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

    def take_block(self, alive: list[int]) -> _Block:
        """The block from which these rows continue; the pool cannot be used afterwards."""
        return _Block(
            _take_layers(self.cache),
            [self.rows[i] for i in alive],
            alive,
            [self.starts[i] for i in alive],
        )


class TransformersEngine:
    """See ``protocol.Engine`` and ``RuntimeOptions``.

    When memory runs out, ``batch_size`` and ``prefill_tokens`` are halved and no row is lost.
    """

    def __init__(self, document: ModelDocument, sampling: Sampling, options: RuntimeOptions):
        self.sampling = sampling
        self.batch_size = options.batch_size or DEFAULT_BATCH_SIZE
        self.prefill_tokens = options.prefill_tokens
        self.max_prompt_tokens = max_prompt_tokens(document, sampling)
        self.tokenizer = checkpoints.load_tokenizer(document)
        self.model = checkpoints.load_model(document, options.device)
        self.device = self.model.device
        # a loss of the router, for training; with a cache the library cannot compute it
        if getattr(self.model.config, "output_router_logits", None):
            self.model.config.output_router_logits = False
        unknown = set(getattr(self.model.config, "layer_types", None) or ()) - ATTENTION_LAYERS
        if unknown:
            raise InputError(
                f"engine transformers: layers of the kind {', '.join(sorted(unknown))} need "
                "another engine"
            )
        if self.device.type == "cpu" and self.model.config._attn_implementation == "sdpa":
            self.model.set_attn_implementation(GROUPED)
        self.eos = checkpoints.eos_ids(document, self.tokenizer)
        self.stop = StopStrings(sampling.stop, self.tokenizer)

    def generate(self, requests: Iterable[Request]) -> Iterator[Completion]:
        """One completion per request; raises InputError for a prompt without any token."""
        fitting = []
        for request, ids in encode_prompts(self.tokenizer, requests):
            if len(ids) > self.max_prompt_tokens:
                yield Completion(request.key, "", "prompt_too_long", len(ids), 0)
            else:
                fitting.append(_Row(request, ids))
        # longest first, so that memory runs out at the start or never; equal prompts are
        # neighbours and are read once
        queue = deque(sorted(fitting, key=lambda row: (-len(row.ids), row.ids, row.request.key)))
        pool: _Pool | None = None
        alive: list[int] = []
        while queue or alive:
            try:
                if pool is None or len(alive) <= len(pool.rows) * (1 - MAX_IDLE_FRACTION):
                    pool = self._refill(pool, alive, queue)
                    alive = list(range(len(pool.rows)))
                tokens = self._step(pool)
            except torch.OutOfMemoryError:
                tokens = None
            if tokens is None or pool is None:
                # not in the except block, where the traceback still holds the tensors
                if pool is not None:
                    queue.extendleft(pool.rows[i] for i in reversed(alive))
                pool, alive = None, []
                if self.batch_size == 1:
                    row = queue.popleft()
                    yield Completion(row.request.key, "", "error", len(row.ids), 0)
                self._halve_batch()
                continue
            reasons = {i: self._append_token(pool.rows[i], tokens[i]) for i in alive}
            alive = [i for i in alive if reasons[i] is None]
            ended = [(pool.rows[i], reason) for i, reason in reasons.items() if reason]
            if ended:
                yield from self._make_completions(ended)

    def _refill(self, pool: _Pool | None, alive: list[int], queue: deque[_Row]) -> _Pool:
        blocks = [pool.take_block(alive)] if pool and alive else []
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
                seen[row.tokens] = True
        if logits.counts_tokens(self.sampling):
            new.counts = torch.zeros(
                len(new.rows), self.model.config.vocab_size, device=new.seed.device
            )
            for counts, row in zip(new.counts, new.rows, strict=True):
                generated = torch.tensor(row.new, dtype=torch.long, device=counts.device)
                counts += torch.bincount(generated, minlength=len(counts))
        # removed only now, so that a refill that runs out of memory loses no row
        for _ in chosen:
            queue.popleft()
        return new

    @torch.inference_mode()
    def _prefill(self, rows: list[_Row]) -> list[_Block]:
        """Read all tokens but the last of each distinct prompt.

        Padding is on the right, where causal attention never sees it.
        """
        groups: dict[tuple[int, ...], list[_Row]] = {}
        for row in rows:
            groups.setdefault(tuple(row.tokens), []).append(row)
        blocks, waiting = [], sorted(groups, key=len, reverse=True)
        while waiting:
            width = max(1, len(waiting[0]) - 1)
            count = max(1, self.prefill_tokens // width)
            texts, waiting = waiting[:count], waiting[count:]
            ids = torch.tensor(
                [[*text[:-1], *[text[-1]] * width][:width] for text in texts], device=self.device
            )
            cache = Cache(layer_class_to_replicate=DynamicLayer)
            self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
            members = [(i, row) for i, text in enumerate(texts) for row in groups[text]]
            blocks.append(
                _Block(
                    _take_layers(cache),
                    [row for _, row in members],
                    [i for i, _ in members],
                    [0] * len(members),
                )
            )
        return blocks

    @torch.inference_mode()
    def _step(self, pool: _Pool) -> list[int]:
        """One new token per row of the pool."""
        scores = self.model(
            input_ids=pool.token[:, None],
            attention_mask=pool.mask[:, : pool.length + 1],
            position_ids=pool.position[:, None],
            past_key_values=pool.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        scores = scores.float()  # (rows, vocabulary)
        if pool.seen is not None:
            scores = penalise_repetition(scores, pool.seen, self.sampling.repetition_penalty)
        if pool.counts is not None:
            scores = logits.penalise_generated(scores, pool.counts, self.sampling)
        scores = logits.leave_out(scores, self.sampling)
        temperature, top_p = self.sampling.temperature, self.sampling.top_p
        pool.token = draw_tokens(scores, pool.seed, pool.step, temperature=temperature, top_p=top_p)
        if pool.seen is not None:
            pool.seen.scatter_(1, pool.token[:, None], True)
        if pool.counts is not None:
            pool.counts.scatter_add_(1, pool.token[:, None], torch.ones_like(pool.counts[:, :1]))
        pool.position += 1
        pool.step += 1
        pool.length += 1
        tokens: list[int] = pool.token.tolist()
        return tokens

    def _append_token(self, row: _Row, token: int) -> str | None:
        row.new.append(token)
        if token in self.eos:
            return "stop"
        if self.stop.is_reached(row.new):
            return "stop"
        return "length" if len(row.new) == self.sampling.max_tokens else None

    def _make_completions(self, ended: list[tuple[_Row, str]]) -> Iterator[Completion]:
        texts = self.tokenizer.batch_decode(
            [row.new for row, _ in ended],
            skip_special_tokens=True,
            clean_up_tokenization_spaces=False,
        )
        for (row, reason), text in zip(ended, texts, strict=True):
            text = self.stop.cut(text)
            yield Completion(row.request.key, text, reason, len(row.ids), len(row.new))

    def _halve_batch(self) -> None:
        self.batch_size = max(1, self.batch_size // 2)
        self.prefill_tokens = max(1, self.prefill_tokens // 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
