"""An edit of code that decides a completion must be deliberate: same answers or a new revision."""

import pytest

from orion import engines
from orion.provenance import _code_tokens, digest_text

# engine → the sources that decide its requests and answers; retries.py only sends them again
SOURCES = {
    "transformers": ["cache.py", "prefill.py", "prefixes.py", "sampling.py", "transformers.py"],
    "vllm": ["tokens.py", "vllm.py"],
    "openai": ["openai.py", "openai_protocol.py", "tokens.py"],
}
# engine and revision → digest of those sources
PINNED = {
    ("transformers", 2): "31acc39b2d868091bb0a853a8439ec1fd34b898405caca80c2e244802bbd37e4",
    ("vllm", 1): "39cf605bd82a35fce68d3d8ded5400825f3857ab3242148bee565cb4d87f76e2",
    ("openai", 1): "aeb931f035a28dc0055543b0f4ae43880bda50d6fb4c8c3e168f0cec9c53a0fa",
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
