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

import torch

from orion.engines import logits
from orion.engines.attention import GROUPED
from orion.engines.cache import Block, merge_blocks, take_layers
from orion.engines.prefill import Trunk, read_texts
from orion.engines.prefixes import family_order, shared_beginning
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


@dataclass
class _Row:
    request: Request
    ids: list[int]
    new: list[int] = field(default_factory=list)

    @property
    def tokens(self) -> list[int]:
        return self.ids + self.new


class _Pool:
    """Rows generated together: their caches, aligned at the right end, and the next step's input.

    ``token``, ``position``, ``step`` and ``seed`` have the shape (rows,).
    """

    def __init__(self, blocks: list[Block], rows: list[_Row], max_tokens: int):
        self.rows = rows
        cached = [len(row.tokens) - 1 for row in rows]
        self.length = max(1, *cached, 1)
        self.starts = [self.length - n for n in cached]
        device = blocks[0].layers[0][0].device
        self.cache = merge_blocks(blocks, self.starts, self.length, free=True)
        places = torch.arange(self.length + max_tokens, device=device)
        self.mask = (
            places >= torch.tensor(self.starts, device=device)[:, None]
        ).long()  # (rows, places)
        self.token = torch.tensor([row.tokens[-1] for row in rows], device=device)
        self.position = torch.tensor(cached, device=device)
        self.step = torch.tensor([len(row.new) for row in rows], device=device)
        self.seed = torch.tensor([row.request.seed for row in rows], device=device)
        # (rows, vocabulary) bool, where there is a repetition penalty
        self.seen: torch.Tensor | None = None
        # (rows, vocabulary), how often each token was generated, where penalties ask for it
        self.counts: torch.Tensor | None = None

    def take_block(self, alive: list[int]) -> Block:
        """The block from which these rows continue; the pool cannot be used afterwards."""
        return Block(take_layers(self.cache), alive, [self.starts[i] for i in alive])


class TransformersEngine:
    """See ``protocol.Engine`` and ``RuntimeOptions``.

    When memory runs out, ``batch_size`` and ``prefill_tokens`` are halved and no row is lost.
    """

    def __init__(self, document: ModelDocument, sampling: Sampling, options: RuntimeOptions):
        self.sampling = sampling
        self.batch_size = options.batch_size or DEFAULT_BATCH_SIZE
        self.prefill_tokens, self.is_stopped = options.prefill_tokens, options.is_stopped
        self.max_prompt_tokens = max_prompt_tokens(document, sampling)
        self.last_position = document.context_length - 1
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
        queue, trunk = self._arrange(fitting)
        pool: _Pool | None = None
        alive: list[int] = []
        while queue or alive:
            try:
                if queue and self.is_stopped():
                    queue.clear()
                    continue
                if pool is None or len(alive) <= len(pool.rows) * (1 - MAX_IDLE_FRACTION):
                    pool = self._refill(pool, alive, queue, trunk)
                    alive = list(range(len(pool.rows)))
                tokens = self._step(pool)
            except torch.OutOfMemoryError:
                tokens = None
            if tokens is None or pool is None:
                # not in the except block, where the traceback still holds the tensors
                if pool is not None:
                    queue.extendleft(pool.rows[i] for i in reversed(alive))
                pool, alive = None, []
                if self.batch_size == 1 and trunk.ids:
                    trunk = Trunk([])  # its memory may be what is missing
                elif self.batch_size == 1:
                    row = queue.popleft()
                    yield Completion(row.request.key, "", "error", len(row.ids), 0)
                self._halve_batch()
                continue
            reasons = {i: self._append_token(pool.rows[i], tokens[i]) for i in alive}
            alive = [i for i in alive if reasons[i] is None]
            ended = [(pool.rows[i], reason) for i, reason in reasons.items() if reason]
            if ended:
                yield from self._make_completions(ended)

    def _arrange(self, rows: list[_Row]) -> tuple[deque[_Row], Trunk]:
        """The queue of rows, and what all prompts begin with.

        Longest first, so that memory runs out at the start or never. Equal prompts, and those that
        share more than all do, are neighbours: they are read once.
        """
        groups: dict[tuple[int, ...], list[_Row]] = {}
        for row in rows:
            groups.setdefault(tuple(row.ids), []).append(row)
        texts = list(groups)
        trunk = Trunk(shared_beginning([text[:-1] for text in texts]))
        order = family_order(texts, self.batch_size)
        queue = deque(
            row for i in order for row in sorted(groups[texts[i]], key=lambda row: row.request.key)
        )
        return queue, trunk

    def _refill(
        self, pool: _Pool | None, alive: list[int], queue: deque[_Row], trunk: Trunk
    ) -> _Pool:
        blocks = [pool.take_block(alive)] if pool and alive else []
        rows = [pool.rows[i] for i in alive] if pool else []
        chosen = list(islice(queue, self.batch_size - len(alive)))
        for block, members in self._prefill(chosen, trunk):
            blocks.append(block)
            rows += members
        new = _Pool(blocks, rows, self.sampling.max_tokens)
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

    def _prefill(self, rows: list[_Row], trunk: Trunk) -> list[tuple[Block, list[_Row]]]:
        """Read all tokens but the last of each distinct prompt; the blocks with their rows."""
        groups: dict[tuple[int, ...], list[_Row]] = {}
        for row in rows:
            groups.setdefault(tuple(row.tokens[:-1]), []).append(row)
        texts = list(groups)
        read = []
        for block, found in read_texts(self.model, texts, self.prefill_tokens, trunk):
            members = [(i, row) for i, text in enumerate(found) for row in groups[texts[text]]]
            take = [block.take[i] for i, _ in members]
            offsets = [block.offsets[i] for i, _ in members]
            read.append((Block(block.layers, take, offsets), [row for _, row in members]))
        return read

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
        pool.token = self._draw(pool, scores)
        if pool.seen is not None:
            pool.seen.scatter_(1, pool.token[:, None], True)
        if pool.counts is not None:
            pool.counts.scatter_add_(1, pool.token[:, None], torch.ones_like(pool.counts[:, :1]))
        # rows that ended go on until the pool is refilled; learned positions have an end
        pool.position = (pool.position + 1).clamp(max=self.last_position)
        pool.step += 1
        pool.length += 1
        tokens: list[int] = pool.token.tolist()
        return tokens

    def _draw(self, pool: _Pool, scores: torch.Tensor) -> torch.Tensor:
        """Token ids (rows,) from the model's logits (rows, vocabulary)."""
        if pool.seen is not None:
            penalty = self.sampling.repetition_penalty
            scores = penalise_repetition(scores, pool.seen, penalty)
        if pool.counts is not None:
            scores = logits.penalise_generated(scores, pool.counts, self.sampling)
        return draw_tokens(
            logits.leave_out(scores, self.sampling),
            pool.seed,
            pool.step,
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
        )

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
