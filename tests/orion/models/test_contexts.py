"""The context of a checkpoint, also where its positions are stretched with YaRN (B12)."""

import pytest

from orion.errors import InputError
from orion.models import contexts

N, LONG = 32768, 131072
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": N}
DEEPSEEK = {**YARN, "factor": 40, "original_max_position_embeddings": 4096}


def config(tokens, rope, key="rope_scaling"):
    return {"max_position_embeddings": tokens, key: rope}


@pytest.mark.parametrize(
    ("config", "native", "longest"),
    [
        ({}, None, None),
        ({"max_position_embeddings": N}, N, N),
        (config(N, YARN), N, LONG),
        (config(N, YARN, "rope_parameters"), N, LONG),
        # the older name of the kind, and no original context: that of the model
        (config(N, {"type": "yarn", "factor": 2}), N, 2 * N),
        # one description per kind of layer
        (config(N, {"full_attention": YARN}, "rope_parameters"), N, LONG),
        # already counted, as DeepSeek-V3 does
        (config(163840, DEEPSEEK), 163840, 163840),
        ({"text_config": config(N, YARN)}, N, LONG),
        # other kinds say nothing of a longer context
        (config(N, {**YARN, "rope_type": "linear"}), N, N),
        (config(N, {"rope_type": "yarn"}), N, N),
        (config(N, {**YARN, "factor": "x"}), N, N),
        (config(N, None), N, N),
    ],
)
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
