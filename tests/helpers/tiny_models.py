"""A word tokenizer with a chat template, and how a random checkpoint is written with it."""

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedTokenizerFast

PAD, EOS, USER, ASSISTANT = range(4)
TEMPLATE = (
    "{%- for message in messages -%}<user> {{ message['content'] }} {% endfor -%}"
    "{%- if add_generation_prompt -%}<assistant>{%- endif -%}"
)


def save(folder, model) -> None:
    words = [
        "<pad>",
        "<end>",
        "<user>",
        "<assistant>",
        *(f"w{i}" for i in range(model.config.vocab_size - 4)),
    ]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    extra = {"additional_special_tokens": ["<user>", "<assistant>"], "chat_template": TEMPLATE}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<end>", **extra
    )
    model.generation_config = GenerationConfig(eos_token_id=[EOS, PAD], pad_token_id=PAD)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
