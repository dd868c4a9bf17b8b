"""The context of a checkpoint, also where its positions are stretched with YaRN (B12)."""

import pytest

from orion.errors import InputError
from orion.models import contexts

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


@pytest.mark.parametrize(
    ("config", "native", "longest"),
    [
        ({}, None, None),
        ({"max_position_embeddings": 4096}, 4096, 4096),
        ({"max_position_embeddings": 32768, "rope_scaling": YARN}, 32768, 131072),
        ({"max_position_embeddings": 32768, "rope_parameters": YARN}, 32768, 131072),
        # the older name of the kind, and no original context: that of the model
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "yarn", "factor": 2}}, 4096, 8192),
        # one description per kind of layer
        ({"max_position_embeddings": 32768, "rope_parameters": {"full_attention": YARN}}, 32768, 131072),
        # already counted, as DeepSeek-V3 does
        (
            {
                "max_position_embeddings": 163840,
                "rope_scaling": {**YARN, "factor": 40, "original_max_position_embeddings": 4096},
            },
            163840,
            163840,
        ),
        ({"text_config": {"max_position_embeddings": 32768, "rope_scaling": YARN}}, 32768, 131072),
        # other kinds say nothing of a longer context
        ({"max_position_embeddings": 4096, "rope_scaling": {**YARN, "rope_type": "linear"}}, 4096, 4096),
        ({"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "yarn"}}, 4096, 4096),
        ({"max_position_embeddings": 4096, "rope_scaling": {**YARN, "factor": "x"}}, 4096, 4096),
    ],
)  # fmt: skip
def test_how_far_a_context_may_be_set(config, native, longest, tmp_path):
    assert contexts.native_context_length(config) == native
    assert contexts.longest_context_length(config) == longest
    if longest is None:
        assert contexts.choose_context_length(tmp_path, config, 70) == 70
        with pytest.raises(InputError, match="no max_position_embeddings; set the model's"):
            contexts.choose_context_length(tmp_path, config, None)
        return
    assert contexts.choose_context_length(tmp_path, config, None) == native
    assert contexts.choose_context_length(tmp_path, config, longest) == longest
    with pytest.raises(
        InputError,
        match=rf"context_length: {longest + 1} is more than the {longest} tokens that .* allows; "
        r"lower it, or, .* rope_type yarn",
    ):
        contexts.choose_context_length(tmp_path, config, longest + 1)
