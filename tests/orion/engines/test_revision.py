"""An edit of code that decides a completion must be deliberate: same answers or a new revision."""

import pytest

from orion import engines
from orion.provenance import _code_tokens, digest_text

# engine → the sources that decide its requests and answers; retries.py only sends them again
SOURCES = {
    "transformers": [
        "attention.py",
        "cache.py",
        "logits.py",
        "prefill.py",
        "prefixes.py",
        "sampling.py",
        "stop_strings.py",
        "transformers.py",
    ],
    "vllm": ["stop_strings.py", "tokens.py", "vllm.py"],
    "openai": [
        "openai.py",
        "openai_answers.py",
        "openai_protocol.py",
        "stop_strings.py",
        "tokens.py",
    ],
}
# engine and revision → digest of those sources
PINNED = {
    ("transformers", 2): "c2aa64a8b575639e0fd00411588d66950a02d3346612439265ec50801648cb7b",
    ("vllm", 1): "a750063246cd1b8e387972b58d51da794a55b6a3f2fdea0ece8d797c853d1c7b",
    ("openai", 1): "96d483820da09e268b878fb301ac09aefa4b371a2c8db00b79c02e772e565b9d",
}


@pytest.mark.parametrize("kind", sorted(engines.REVISIONS))
def test_the_engine_is_the_one_its_revision_names(root, kind):
    sources = [root / "orion/engines" / name for name in SOURCES[kind]]
    found = digest_text("".join(_code_tokens(path.read_text()) for path in sources))
    assert found == PINNED[kind, engines.REVISIONS[kind]], (
        f"the code of the engine {kind} changed: if its answers may change, raise "
        "engines.REVISIONS (stored completions are then generated again); if they cannot, pin "
        "this digest"
    )
