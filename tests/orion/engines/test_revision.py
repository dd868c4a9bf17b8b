"""An edit of code that decides a completion must be deliberate: same answers or a new revision."""

import pytest

from orion import engines
from orion.provenance import _strip, digest_text

# engine → the sources that decide its requests and answers; retries.py only sends them again
SOURCES = {
    "transformers": ["sampling.py", "transformers.py"],
    "vllm": ["tokens.py", "vllm.py"],
    "openai": ["openai.py", "openai_protocol.py", "tokens.py"],
}
# engine and revision → digest of those sources
PINNED = {
    ("transformers", 1): "b8dc7f16e308e15f4c91efeb6b0d83162c35ffd21d1738c04375fa4b87200584",
    ("vllm", 1): "4c8bfdae0964f8b201609a77dc91f6972b1569ed9709da619870dcde73b133b8",
    ("openai", 1): "ed08a78aa4debcb233a41694c14e93b5003dc4cb2b2452dd866ec8349250b70c",
}


@pytest.mark.parametrize("kind", sorted(engines.REVISIONS))
def test_the_engine_is_the_one_its_revision_names(root, kind):
    sources = [root / "orion/engines" / name for name in SOURCES[kind]]
    found = digest_text("".join(_strip(path.read_text()) for path in sources))
    assert found == PINNED[kind, engines.REVISIONS[kind]], (
        f"the code of the engine {kind} changed: if its answers may change, raise "
        "engines.REVISIONS (stored completions are then generated again); if they cannot, pin "
        "this digest"
    )
