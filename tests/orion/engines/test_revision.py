"""An edit of what decides a completion must be a decision: the same cells still, or a new revision."""

from orion import engines
from orion.provenance import _strip, digest_text

# revision of the transformers engine → digest of the sources that decide what it answers
PINNED = {1: "97d1db13161c122cca2c9f510cb3557957262e6b2b0620d06c9eb64ece670eec"}


def test_the_engine_is_the_one_its_revision_names(root):
    sources = [root / "orion/engines" / name for name in ("draw.py", "transformers.py")]
    found = digest_text("".join(_strip(path.read_text()) for path in sources))
    assert found == PINNED[engines.REVISIONS["transformers"]], (
        "the engine's code changed: if it may answer otherwise, raise engines.REVISIONS (stored cells are then generated "
        "again); if it cannot, pin this digest"
    )
