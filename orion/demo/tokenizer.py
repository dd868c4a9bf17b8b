"""The student's tokenizer: one token per word and per digit, about 100 entries, a chat template.

Input: the word list of the problem family. Output: a `transformers` fast tokenizer, which
`save_pretrained` writes and `AutoTokenizer.from_pretrained` reads. Encoding and decoding leave a
text unchanged if single spaces separate its words. Decoding joins adjacent digits, so no text may
contain two numbers side by side.
"""

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from orion.demo.problems import list_vocabulary

PAD, EOS, UNK, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|unknown|>", "<|user|>", "<|assistant|>"
PROMPT_WORDS = ("Question:", "Teacher:", "Attempt:", "Refine:", "New:", "vs", "ok", "wrong")

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'user' -%}" + USER + " {{ message['content'] }} "
    "{%- elif message['role'] == 'assistant' -%}"
    + ASSISTANT
    + " {{ message['content'] }} "
    + EOS
    + " "
    "{%- else -%}"
    "{{ raise_exception('this student knows the roles user and assistant only') }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}" + ASSISTANT + "{%- endif -%}"
)


def build_tokenizer(max_length: int = 512) -> PreTrainedTokenizerFast:
    """The tokenizer; ids 0..4 are pad, end, unknown, user, assistant, then the words sorted."""
    special = [PAD, EOS, UNK, USER, ASSISTANT]
    words = special + sorted({*list_vocabulary(), *PROMPT_WORDS})
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=UNK))
    core.normalizer = normalizers.Strip()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits(individual_digits=True)]
    )
    # the wordpiece decoder puts a space before every token; the replacement removes it in numbers
    core.decoder = decoders.Sequence(
        [
            decoders.WordPiece(prefix="<|never|>", cleanup=False),
            decoders.Fuse(),
            decoders.Replace(Regex(r"(?<=\d) (?=\d)"), ""),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )
