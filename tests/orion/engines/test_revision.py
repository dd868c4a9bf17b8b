"""An edit of code that decides a completion must be deliberate: same answers or a new revision."""

import pytest

from orion import engines
from orion.provenance import _code_tokens, digest_text

# engine → the sources that decide its requests and answers; retries.py only sends them again
SOURCES = {
    "transformers": ["sampling.py", "transformers.py"],
    "vllm": ["tokens.py", "vllm.py"],
    "openai": ["openai.py", "openai_answers.py", "openai_protocol.py", "tokens.py"],
}
# engine and revision → digest of those sources
PINNED = {
    ("transformers", 1): "be14caabccdb83262fd968be59bcb917651e255cbdd062447deb6014d7e14366",
    ("vllm", 1): "39cf605bd82a35fce68d3d8ded5400825f3857ab3242148bee565cb4d87f76e2",
    ("openai", 1): "d00de08deb0aef48317ad4743ef32903c008af19e7f7383e423b90391357da27",
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
