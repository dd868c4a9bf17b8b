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
    ("transformers", 2): "19582ec138554cb0591a02dc136d67efb6d7b19bbbae2dec98ac035bc7399508",
    ("vllm", 1): "b22fcbad7515f5d359fa68ec8ce91b94793fd3b3e514107606509c4dd1d63779",
    ("openai", 1): "a2532c83bb28a367fedb21b2eac8075a929194cbafc8e213df7a4e2285f18132",
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
