"""Exact sines and cosines of the multiples of 15 degrees, as sums of square roots.

Input: an angle as a multiple of pi. Output: polynomials in the square roots of 2 and 3.
"""

from __future__ import annotations

from fractions import Fraction

from orion.answers.algebra.polynomials import ONE, Poly, Ratio

_HALF = Fraction(1, 2)
_ROOT2, _ROOT3, _ROOT6 = (("#2", _HALF),), (("#3", _HALF),), (("#2", _HALF), ("#3", _HALF))
# sin(k pi / 12) for k from 0 to 6
_SINES: tuple[Poly, ...] = (
    {},
    {_ROOT6: Fraction(1, 4), _ROOT2: Fraction(-1, 4)},
    {(): _HALF},
    {_ROOT2: _HALF},
    {_ROOT3: _HALF},
    {_ROOT6: Fraction(1, 4), _ROOT2: Fraction(1, 4)},
    {(): Fraction(1)},
)


def sine(turns: Fraction) -> Poly | None:
    """sin(turns * pi) if it is one of the known values, else None."""
    steps = turns * 12
    if steps.denominator != 1:
        return None
    k = int(steps) % 24
    sign, k = (-1, k - 12) if k > 12 else (1, k)
    return {monomial: sign * value for monomial, value in _SINES[min(k, 12 - k)].items()}


def cosine(turns: Fraction) -> Poly | None:
    """cos(turns * pi) if it is one of the known values, else None."""
    return sine(turns + _HALF)


def half_turns(angle: Ratio) -> Fraction | None:
    """The angle as a rational multiple of pi, None if it is not one."""
    top, bottom = angle
    if bottom != ONE:
        return None
    if not top:
        return Fraction(0)
    return top.get((("@pi", Fraction(1)),)) if len(top) == 1 else None
