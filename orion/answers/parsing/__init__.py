"""Read an answer: normalise its text, split it into tokens, parse it to a small expression tree."""
