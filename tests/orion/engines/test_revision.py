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
    ("transformers", 1): "2da7d42fdf5e29dd2932932237fc90c1ec0f7d474c50898f789277366c28c29a",
    ("vllm", 1): "5853a673485d8b4542cfd0510ab7237deda9c3fc7025b3e6d8537e7bb4ceced4",
    ("openai", 1): "9ae21e10cd78d5a26d38953e430f64f4d8fb3b447771e7145f835f2efde4ad13",
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
