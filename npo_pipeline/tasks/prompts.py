"""From a question to what the policy reads: plain text, or the tokenizer's chat template. The tokenizer is passed in.

An image stands where the template says {image}, or where a question with a tag for each of its images says <image>; before the
text otherwise. The prompt holds one placeholder for it: how many tokens an image becomes is the policy's matter.
"""

from typing import Any

from jinja2 import TemplateError

from npo_pipeline.configuration.settings import PromptConfig
from npo_pipeline.errors import ConfigError

MARK, TAG = "{image}", "<image>"


def render_prompt(
    question: str, prompt: PromptConfig, tokenizer: Any, images: int = 0, placeholder: str = ""
) -> tuple[str, tuple[int, ...]]:
    """The prompt's text and its token ids. Style auto is chat where the tokenizer has a template. Raises ConfigError without one for chat.

    `placeholder` stands for each of the `images` in a plain prompt; a chat template has its own.
    Example: style plain, template "{question}\\n": "1 + 1 =" -> ("1 + 1 =\\n", (52, 7, 52, 9, 1)).
    """
    texts = split_at_images(question, prompt.template, images)
    if prompt.style == "chat" or (prompt.style == "auto" and tokenizer.chat_template):
        text = _chat(texts, prompt, tokenizer)
        # The template wrote the special tokens already: a second beginning-of-sequence would be one too many.
        return text, _ids(tokenizer, text, special=False)
    text = placeholder.join(texts)
    return text, _ids(tokenizer, text, special=True)


def split_at_images(question: str, template: str, images: int) -> list[str]:
    """The prompt's text, cut where each image goes: one piece more than there are images.

    Example: ("How many?", "{image} {question}\\n", 2) -> ["", "", " How many?\\n"].
    """
    # Not str.format: questions hold braces of their own.
    pieces = [piece.replace("{question}", question) for piece in template.split(MARK)]
    if images and len(pieces) == 1 and question.count(TAG) == images:
        pieces = template.replace("{question}", question).split(TAG)
    places = min(len(pieces) - 1, images)
    first, last = pieces[:places], "".join(pieces[places:])
    return [""] * (images - places) + [*first, last]


def _chat(texts: list[str], prompt: PromptConfig, tokenizer: Any) -> str:
    if not tokenizer.chat_template:
        raise ConfigError(
            "task.prompt.style='chat': the policy's tokenizer has no chat template; "
            "set task.prompt.style=plain or auto, or choose an instruction-tuned policy.path"
        )
    system = [] if prompt.system is None else [{"role": "system", "content": prompt.system}]
    messages = [*system, {"role": "user", "content": _content(texts)}]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        raise ConfigError(
            f"task.prompt.style={prompt.style!r}: the policy's chat template refuses the prompt ({error}); "
            "set task.prompt.system=null or task.prompt.style=plain"
        ) from None


def _content(texts: list[str]) -> str | list[dict[str, str]]:
    """The message's text, or its parts where there are images."""
    if len(texts) == 1:
        return texts[0].strip()
    texts = [texts[0].lstrip(), *texts[1:-1], texts[-1].rstrip()]
    parts: list[dict[str, str]] = []
    for i, text in enumerate(texts):
        parts += [{"type": "image"}] if i else []
        parts += [{"type": "text", "text": text}] if text.strip() else []
    return parts


def _ids(tokenizer: Any, text: str, special: bool) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=special)["input_ids"])
