"""The lexicon: nouns that may be what a number counts, and words between a number and its noun.

Input: none. Output: NOUNS and MODIFIERS. No word here changes the value before it ("dozen",
"halves") or denies it; such words are in `cues`.
"""

from __future__ import annotations

from orion.answers.wording import modifiers, nouns_a_to_l, nouns_m_to_z

NOUNS = frozenset(nouns_a_to_l.WORDS.split()) | frozenset(nouns_m_to_z.WORDS.split())
MODIFIERS = frozenset(modifiers.WORDS.split())
