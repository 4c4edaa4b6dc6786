"""From a question to what the policy reads: plain text, or the tokenizer's chat template. The tokenizer is passed in.

An image stands where a question with a tag for each of its images says <image>, else where the template says {image}; before the
text otherwise. The prompt holds one placeholder for it: how many tokens an image becomes is the policy's matter.
"""

from collections.abc import Collection, Sequence
from typing import Any

from npo_pipeline.configuration.settings import PromptConfig
from npo_pipeline.errors import ConfigError, DataError
from npo_pipeline.shown import one_line
from npo_pipeline.tasks.rows.messages import Turn
from npo_pipeline.tasks.templates import chat_text

MARK, TAG = "{image}", "<image>"


def render_prompt(
    question: str,
    prompt: PromptConfig,
    tokenizer: Any,
    images: int = 0,
    placeholder: str = "",
    stop_ids: Collection[int] = (),
    turns: Sequence[Turn] = (),
) -> tuple[str, tuple[int, ...]]:
    """The prompt's text and its token ids. Style auto is chat where the tokenizer has a template. Raises ConfigError without one for chat.

    `placeholder` stands for each of the `images` in a plain prompt; a chat template has its own. `stop_ids` end a response, so they
    never end a prompt: one that the tokenizer adds by itself is left out, another raises ConfigError, in the question DataError.
    `turns`, if any, are what a chat template reads in place of the question (npo_pipeline.tasks.rows.messages).
    Example: style plain, template "{question}\\n": "1 + 1 =" -> ("1 + 1 =\\n", (52, 7, 52, 9, 1)).
    """
    texts = split_at_images(question, prompt.template, images)
    if is_chat(prompt, tokenizer):
        text = _chat(texts, prompt, tokenizer, images, turns)
        # The template wrote the special tokens already: a second beginning-of-sequence would be one too many.
        ids = _ids(tokenizer, text, special=False)
        _check_end(ids, text, question, "the policy's chat template", tokenizer, stop_ids)
        return text, ids
    text = placeholder.join(texts)
    _check_end(_ids(tokenizer, text, special=False), text, question, "task.prompt.template", tokenizer, stop_ids)
    ids = _ids(tokenizer, text, special=True)
    while ids and ids[-1] in stop_ids:
        ids = ids[:-1]
    return text, ids


def is_chat(prompt: PromptConfig, tokenizer: Any) -> bool:
    return prompt.style == "chat" or (prompt.style == "auto" and bool(tokenizer.chat_template))


def check_prompt(prompt: PromptConfig, tokenizer: Any) -> None:
    """Whether the prompt says all that it should, tried once. Raises ConfigError where system text or question would be left out."""
    system = (prompt.system or "").strip()
    if not is_chat(prompt, tokenizer):
        if system:
            raise ConfigError(
                f"task.prompt.system: a prompt of style {prompt.style!r} without a chat template has no place for it; "
                "set it to null and begin task.prompt.template with that text"
            )
        return

    def said(question: str, instruction: str | None) -> str:
        whole = PromptConfig(prompt.style, prompt.template, instruction)
        return _chat(split_at_images(question, prompt.template, 0), whole, tokenizer)

    usual = said("1 + 1", prompt.system)
    if any(said("1 + 1", prompt.system) != usual for _ in range(8)):
        raise ConfigError("task.prompt.style: the policy's chat template draws at random; take a policy.path without, or style=plain")
    if said("1 + 2", prompt.system) == usual:
        raise ConfigError("task.prompt.style: the policy's chat template leaves the question out; mend it, or set style=plain")
    if system and said("1 + 1", f"{prompt.system} (1)") == usual:
        raise ConfigError(
            "task.prompt.system: the policy's chat template leaves it out; set it to null and begin task.prompt.template with that text"
        )


def check_tags(question: str, images: int, place: str) -> None:
    """Raises DataError, naming the row (`place`), if a question says <image> another number of times than it has images."""
    tags = question.count(TAG)
    if tags not in (0, images):
        raise DataError(
            f"{place}: the question says {TAG} {tags} times, but has {images} images; expected one tag for each image, or none (they then "
            "stand in front); mend the question, or task.image_column"
        )


def split_at_images(question: str, template: str, images: int) -> list[str]:
    """The prompt's text, cut where each image goes: one piece more than there are images. Raises DataError for tags that do not match.

    Example: ("How many?", "{image} {question}\\n", 2) -> ["", "", " How many?\\n"].
    """
    check_tags(question, images, f"question {question[:80]!r}")
    template = template.replace(TAG, MARK)
    if TAG in question:  # it says more exactly than the template, whose marks are for questions without
        return template.replace(MARK, "").replace("{question}", question).split(TAG)
    # Not str.format: questions hold braces of their own.
    pieces = [piece.replace("{question}", question) for piece in template.split(MARK)]
    places = min(len(pieces) - 1, images)
    first, last = pieces[:places], "".join(pieces[places:])
    return [""] * (images - places) + [*first, last]


def _chat(texts: list[str], prompt: PromptConfig, tokenizer: Any, images: int = 0, turns: Sequence[Turn] = ()) -> str:
    if not tokenizer.chat_template:
        raise ConfigError(
            "task.prompt.style='chat': the policy's tokenizer has no chat template; "
            "set task.prompt.style=plain or auto, or choose an instruction-tuned policy.path"
        )
    own = prompt.system is None or any(turn["role"] == "system" for turn in turns)
    system = [] if own else [{"role": "system", "content": prompt.system}]
    last = _last(turns[-1]["content"], images) if turns else _content(texts)
    try:
        return chat_text([*system, *turns[:-1], {"role": "user", "content": last}], tokenizer)
    except Exception as error:  # a template is a program: it raises whatever it likes
        reason = one_line(f"{type(error).__name__}: {error}" if not str(error) or isinstance(error, KeyError) else str(error))
        raise ConfigError(
            f"task.prompt.style={prompt.style!r}: the policy's chat template refuses the prompt ({reason}); "
            "set task.prompt.system=null or task.prompt.style=plain"
        ) from None


def _last(said: str, images: int) -> str | list[dict[str, str]]:
    """The content of a conversation's last turn: as it is, but for its images."""
    return _content(split_at_images(said, "{question}", images)) if images else said


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


def _check_end(ids: tuple[int, ...], text: str, question: str, who: str, tokenizer: Any, stop_ids: Collection[int]) -> None:
    """A policy that reads an end of sequence writes its answer after the end: nothing would be learnt, without a word."""
    names = [str(name) for name in tokenizer.convert_ids_to_tokens(list(stop_ids))]
    found = next((name for name in names if name.strip() and text.rstrip().endswith(name)), None)
    if found is None and ids and ids[-1] in stop_ids:
        found = str(tokenizer.convert_ids_to_tokens(ids[-1]))
    if found is None:
        return
    if question.rstrip().endswith(found):
        raise DataError(f"the question ends with {found!r}, which ends a response; take it out")
    raise ConfigError(
        f"task.prompt: {who} ends the prompt with {found!r}, which ends a response, so that none would follow; "
        "expected it to open the answer (add_generation_prompt); mend it, or set task.prompt.style=plain or another template"
    )
