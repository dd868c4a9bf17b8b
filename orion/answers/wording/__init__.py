"""The words around a value: the table of cues, phrases of units and nouns, and the lexicon."""
