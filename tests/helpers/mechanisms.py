"""Chat templates of our own, one for each thing that vendors' templates do to a turn."""

START_TURN = "{{ '<|im_start|>' + m.role + '\\n' }}"
END_TURN = "{{ '<|im_end|>\\n' }}"
USER = f"{START_TURN}{{{{ m.content }}}}{END_TURN}"
PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"


def conversation(assistant: str, prompt: str = PROMPT + "{% endif %}") -> str:
    """A template of ``assistant``, what it prints for that role, and the generation prompt."""
    loop = "{% for m in messages %}{% if m.role == 'assistant' %}"
    return f"{loop}{assistant}{{% else %}}{USER}{{% endif %}}{{% endfor %}}{prompt}"


# thinking of a message, in its key or in its words
SPLIT = (
    "{% set t = m.reasoning_content or '' %}{% set c = m.content %}{% if '</think>' in c %}"
    "{% set t = c.split('</think>')[0].split('<think>')[-1] %}"
    "{% set c = c.split('</think>')[-1] %}{% endif %}"
)
BLOCK = f"{SPLIT}{START_TURN}{{{{ '<think>\\n' + t.strip() + '\\n</think>\\n\\n' + c }}}}{END_TURN}"
CUT = "{{ m.content.split('</think>')[-1] }}"
SWITCH = (
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}"
)
CHANNEL = "{{ '<|channel|>analysis<|message|>' + m.thinking + '<|end|><|start|>assistant' }}"

MECHANISMS = {
    "words as they are": conversation(f"{START_TURN}{{{{ m.content }}}}{END_TURN}"),
    "words trimmed": conversation(f"{START_TURN}{{{{ m.content | trim }}}}{END_TURN}"),
    "empty thinking printed": conversation(BLOCK, PROMPT + SWITCH + "{% endif %}{% endif %}"),
    "thinking opened": conversation(
        BLOCK, PROMPT + SWITCH + "{% else %}{{ '<think>\\n' }}{% endif %}{% endif %}"
    ),
    "thinking opened and cut": conversation(
        START_TURN + CUT + END_TURN, PROMPT + "{{ '<think>\\n' }}{% endif %}"
    ),
    "thinking opened, never closed": conversation(
        START_TURN + "{{ '<think>\\n' + m.content }}" + END_TURN,
        PROMPT + "{{ '<think>\\n' }}{% endif %}",
    ),
    "thinking cut": conversation(START_TURN + CUT + END_TURN),
    "channels": conversation(
        "{{ '<|start|>assistant' }}{% if m.thinking %}" + CHANNEL + "{% endif %}"
        "{{ '<|channel|>final<|message|>' + m.content + '<|return|>' }}",
        "{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}",
    ),
    "no end of its own": "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{# <|user|> #}",
    "text behind the end": conversation(
        f"{START_TURN}{{{{ m.content }}}}{END_TURN}",
        PROMPT + "{% else %}{{ eos_token }}{% endif %}",
    ),
    "date": "{{ '<|im_start|>' + strftime_now('%d %b %Y') + '<|im_end|>' }}"
    + conversation(f"{START_TURN}{{{{ m.content }}}}{END_TURN}"),
    "case changed": conversation(f"{START_TURN}{{{{ m.content | upper }}}}{END_TURN}"),
    "paragraphs cut": conversation(START_TURN + "{{ m.content.split('\\n\\n')[0] }}" + END_TURN),
    "another header": conversation(f"{{{{ '<|im_start|>model\\n' + m.content }}}}{END_TURN}"),
    "empty lines refused": conversation(
        "{% if '\\n\\n' in m.content %}{{ raise_exception('no paragraphs') }}{% endif %}"
        f"{START_TURN}{{{{ m.content }}}}{END_TURN}"
    ),
    "thinking ends the turn": conversation(
        "{% set t = m.reasoning_content or '' %}{% if t %}"
        + START_TURN
        + "{{ t }}"
        + END_TURN
        + "{% endif %}"
        f"{START_TURN}{{{{ m.content }}}}{END_TURN}{{# <think> #}}"
    ),
}
