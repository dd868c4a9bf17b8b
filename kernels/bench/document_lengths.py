"""Regimes of document lengths for the benchmark of packed_attention."""

from __future__ import annotations

import torch


def draw_lognormal(tokens: int, seed: int, device: str = "cpu") -> list[int]:
    """Mean 2048 and sigma 1, at most 16384 (scaled down for short rows), cut to the row."""
    scale = min(1.0, tokens / 32768)
    generator = torch.Generator().manual_seed(seed)
    mean = torch.tensor(2048.0 * scale).log() - 0.5
    lengths = (
        (mean + torch.randn(4096, generator=generator))
        .exp()
        .clamp(1, 16384 * scale)
        .long()
        .tolist()
    )
    return fill_row(lengths, tokens)


def fill_row(lengths: list[int], tokens: int) -> list[int]:
    """The first lengths that fill a row of `tokens` tokens, the last one cut."""
    taken: list[int] = []
    for length in lengths:
        taken.append(min(length, tokens - sum(taken)))
        if sum(taken) == tokens:
            break
    return taken


def regime_lengths(name: str, tokens: int) -> list[int]:
    """The document lengths of a named regime, `tokens` in all."""
    generator = torch.Generator().manual_seed(0)
    if name.startswith("lognormal"):
        return draw_lognormal(tokens, int(name.removeprefix("lognormal") or 0))
    if name.startswith("equal"):
        return fill_row([int(name.removeprefix("equal"))] * tokens, tokens)
    if name == "one":
        return [tokens]
    if name == "short":
        return fill_row(torch.randint(64, 257, (tokens,), generator=generator).tolist(), tokens)
    if name == "bimodal":
        return fill_row(
            [n for _ in range(tokens) for n in (max(1, tokens // 4), 64, 96, 128, 160)], tokens
        )
    raise SystemExit(
        f"--regimes: {name} is unknown; lognormal[seed], equal<length>, one, short or bimodal"
    )
