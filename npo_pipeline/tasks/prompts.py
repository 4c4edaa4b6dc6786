"""From a question to what the policy reads: plain text, or the tokenizer's chat template. The tokenizer is passed in."""

from typing import Any

from jinja2 import TemplateError

from npo_pipeline.errors import ConfigError
from npo_pipeline.settings import PromptConfig


def render_prompt(question: str, prompt: PromptConfig, tokenizer: Any) -> tuple[str, tuple[int, ...]]:
    """The prompt's text and its token ids. Style auto is chat where the tokenizer has a template. Raises ConfigError without one for chat.

    Example: style plain, template "{question}\\n": "1 + 1 =" -> ("1 + 1 =\\n", (52, 7, 52, 9, 1)).
    """
    text = prompt.template.replace("{question}", question)  # not str.format: questions hold braces of their own
    if prompt.style == "chat" or (prompt.style == "auto" and tokenizer.chat_template):
        text = _chat(text.strip(), prompt, tokenizer)
        # The template wrote the special tokens already: a second beginning-of-sequence would be one too many.
        return text, _ids(tokenizer, text, special=False)
    return text, _ids(tokenizer, text, special=True)


def _chat(text: str, prompt: PromptConfig, tokenizer: Any) -> str:
    if not tokenizer.chat_template:
        raise ConfigError(
            "task.prompt.style='chat': the policy's tokenizer has no chat template; "
            "set task.prompt.style=plain or auto, or choose an instruction-tuned policy.path"
        )
    system = [] if prompt.system is None else [{"role": "system", "content": prompt.system}]
    messages = [*system, {"role": "user", "content": text}]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    except TemplateError as error:
        raise ConfigError(
            f"task.prompt.style={prompt.style!r}: the policy's chat template refuses the prompt ({error}); "
            "set task.prompt.system=null or task.prompt.style=plain"
        ) from None


def _ids(tokenizer: Any, text: str, special: bool) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=special)["input_ids"])
