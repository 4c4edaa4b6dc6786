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

    `placeholder` stands for each of the `images` in a plain prompt; a chat template has its own, and raises DataError where it leaves out
    or changes what it is told. `stop_ids` end a response, so they never end a prompt: what the tokenizer adds behind the text by itself is
    left out, a template's raises ConfigError, the question's DataError.
    `turns`, if any, are what a chat template reads in place of the question (npo_pipeline.tasks.rows.messages).
    Example: style plain, template "{question}\\n": "1 + 1 =" -> ("1 + 1 =\\n", (52, 7, 52, 9, 1)).
    """
    texts = split_at_images(question, prompt.template, images)
    _check_question(question, tokenizer, stop_ids)
    if is_chat(prompt, tokenizer):
        messages = _messages(texts, prompt, images, turns)
        text = _chat(messages, prompt, tokenizer)
        _check_said(messages, text)
        # The template wrote the special tokens already: a second beginning-of-sequence would be one too many.
        ids = _ids(tokenizer, text, special=False)
        _check_end(ids, text, "the policy's chat template", tokenizer, stop_ids)
        return text, ids
    text = placeholder.join(texts)
    own = _ids(tokenizer, text, special=False)
    _check_end(own, text, "task.prompt.template", tokenizer, stop_ids)
    return text, _opened(own, _ids(tokenizer, text, special=True), stop_ids)


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
        return _chat(_messages(split_at_images(question, prompt.template, 0), whole), whole, tokenizer)

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


def _messages(texts: list[str], prompt: PromptConfig, images: int = 0, turns: Sequence[Turn] = ()) -> list[dict[str, Any]]:
    """What a chat template is told: the turns, or else the prompt's text as the user's; `task.prompt.system` before those without one."""
    own = prompt.system is None or any(turn["role"] == "system" for turn in turns)
    system = [] if own else [{"role": "system", "content": prompt.system}]
    return [*system, *(_shown(turns, images) if turns else [{"role": "user", "content": _content(texts)}])]


def _shown(turns: Sequence[Turn], images: int) -> list[dict[str, Any]]:
    """The turns with each image where one of them says <image>, in front of the last where none does."""
    tagged = images and any(TAG in turn["content"] for turn in turns)
    cut = [turn["content"].split(TAG) if tagged else [turn["content"]] for turn in turns]
    if images and not tagged:
        cut[-1] = split_at_images(turns[-1]["content"], "{question}", images)
    return [
        {"role": turn["role"], "content": _content(texts) if len(texts) > 1 else turn["content"]}
        for turn, texts in zip(turns, cut, strict=True)
    ]


def _chat(messages: Sequence[dict[str, Any]], prompt: PromptConfig, tokenizer: Any) -> str:
    if not tokenizer.chat_template:
        raise ConfigError(
            "task.prompt.style='chat': the policy's tokenizer has no chat template; "
            "set task.prompt.style=plain or auto, or choose an instruction-tuned policy.path"
        )
    try:
        return chat_text(messages, tokenizer)
    except Exception as error:  # a template is a program: it raises whatever it likes
        reason = one_line(f"{type(error).__name__}: {error}" if not str(error) or isinstance(error, KeyError) else str(error))
        raise ConfigError(
            f"task.prompt.style={prompt.style!r}: the policy's chat template refuses the prompt ({reason}); "
            "set task.prompt.system=null or task.prompt.style=plain"
        ) from None


def _check_said(messages: Sequence[dict[str, Any]], text: str) -> None:
    """A template may leave out a system turn, or all turns but the last, or cut what is long: the policy would be asked something else.

    White space is the template's matter, and so are earlier answers, whose thoughts many leave out, and switches such as /no_think.
    """
    whole = _words(text)
    for message in messages:
        content = message["content"]
        pieces = [content] if isinstance(content, str) else [part["text"] for part in content if "text" in part]
        for piece in pieces if message["role"] != "assistant" else []:
            if _words(piece) not in whole:
                raise DataError(
                    f"the policy's chat template leaves out or changes the {message['role']}'s text {piece.strip()[:80]!r}; "
                    "mend the template or the row, or set task.prompt.style=plain"
                )


def _words(text: str) -> str:
    return " ".join(word for word in text.split() if not word.startswith("/"))


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


def _opened(own: tuple[int, ...], ids: tuple[int, ...], stop_ids: Collection[int]) -> tuple[int, ...]:
    """`ids`, the text's `own` between special tokens, without those behind it, and with one beginning where the text has one too."""
    first = next((i for i in range(len(ids) - len(own) + 1) if ids[i : i + len(own)] == own), None)
    ids = ids if first is None else ids[: first + len(own)]
    while ids and ids[-1] in stop_ids:
        ids = ids[:-1]
    return ids[1:] if first == 1 and own[:1] == ids[:1] else ids


def _check_question(question: str, tokenizer: Any, stop_ids: Collection[int]) -> None:
    if found := _ending(question, tokenizer, stop_ids):
        raise DataError(f"the question ends with {found!r}, which ends a response; take it out")


def _check_end(ids: tuple[int, ...], text: str, who: str, tokenizer: Any, stop_ids: Collection[int]) -> None:
    """A policy that reads an end of sequence writes its answer after the end: nothing would be learnt, without a word."""
    found = _ending(text, tokenizer, stop_ids)
    if found is None and ids and ids[-1] in stop_ids:
        found = str(tokenizer.convert_ids_to_tokens(ids[-1]))
    if found is not None:
        raise ConfigError(
            f"task.prompt: {who} ends the prompt with {found!r}, which ends a response, so that none would follow; "
            "expected it to open the answer (add_generation_prompt); mend it, or set task.prompt.style=plain or another template"
        )


def _ending(text: str, tokenizer: Any, stop_ids: Collection[int]) -> str | None:
    """The stop token that the text ends with, as it is written; white space names none."""
    names = [name for name in tokenizer.convert_ids_to_tokens(list(stop_ids)) if name is not None]
    return next((name for name in names if name.strip() and text.rstrip().endswith(name)), None)
