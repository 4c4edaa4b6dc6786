"""Prompts with real tokenizers: plain templates, and a chat template."""

import dataclasses
import logging
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from npo_pipeline.configuration.compose import load_root
from npo_pipeline.configuration.settings import PromptConfig
from npo_pipeline.errors import ConfigError, DataError
from npo_pipeline.tasks.prompts import check_prompt, render_prompt
from npo_pipeline.tasks.rows.dataset import load_problems

CHAT = "<s>{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
PLAIN = PromptConfig("plain", "Q: {question}\n", None)


def tokenizer(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """Bytes, and a beginning of sequence that it adds by itself, as Llama's does."""
    vocabulary = {"<s>": 0} | {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 1)}
    core = Tokenizer(models.BPE(vocabulary, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", chat_template=chat_template)


def test_plain_replaces_the_question_only() -> None:
    text, ids = render_prompt("{x} {question} {0}", dataclasses.replace(PLAIN, template="{a} {question}\n"), tokenizer())
    assert text == "{a} {x} {question} {0}\n"
    assert (ids[0], len(ids)) == (0, 1 + len(text))


def test_chat_has_one_beginning_and_an_opening_for_the_answer() -> None:
    text, ids = render_prompt("1 + 1?", PromptConfig("chat", "Q: {question}\n", "Be brief."), tokenizer(CHAT))
    assert text == "<s>[system]Be brief.[user]Q: 1 + 1?[assistant]"
    assert ids.count(0) == 1


def test_auto_follows_the_tokenizer() -> None:
    prompt = dataclasses.replace(PLAIN, style="auto")
    assert render_prompt("1?", prompt, tokenizer())[0] == "Q: 1?\n"
    assert render_prompt("1?", prompt, tokenizer(CHAT))[0] == "<s>[user]Q: 1?[assistant]"


def test_chat_without_a_template_names_the_key() -> None:
    with pytest.raises(
        ConfigError, match=r"task.prompt.style='chat': the policy's tokenizer has no chat template; set task.prompt.style=plain"
    ):
        render_prompt("1?", dataclasses.replace(PLAIN, style="chat"), tokenizer())


def test_template_that_refuses_a_system_message_names_the_key() -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    with pytest.raises(ConfigError, match=r"refuses the prompt \(no system role\); set task.prompt.system=null"):
        render_prompt("1?", PromptConfig("chat", "{question}", "Be brief."), tokenizer(refusing))


def ending(template: str) -> PreTrainedTokenizerFast:
    """One that puts an end of sequence after every text, as add_eos_token=true does."""
    made = tokenizer(template or None)
    made.add_special_tokens({"eos_token": "</s>"})
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", made.eos_token_id)]
    )
    return made


def test_an_end_that_the_tokenizer_adds_is_no_part_of_a_prompt() -> None:
    made = ending("")
    stop = made.eos_token_id
    assert made("1?")["input_ids"][-1] == stop
    text, ids = render_prompt("1?", PLAIN, made, stop_ids=(stop,))
    assert (text, ids[0], ids[-1] != stop, len(ids)) == ("Q: 1?\n", 0, True, 1 + len(text))


def test_a_prompt_that_says_the_end_itself_is_refused() -> None:
    made = ending("<s>{% for m in messages %}{{ m.content }}</s>\n{% endfor %}")
    stops = (made.eos_token_id,)
    with pytest.raises(ConfigError, match=r"the policy's chat template ends the prompt with '</s>'.*add_generation_prompt"):
        render_prompt("1?", dataclasses.replace(PLAIN, style="auto"), made, stop_ids=stops)
    with pytest.raises(ConfigError, match=r"task.prompt.template ends the prompt with '</s>'"):
        render_prompt("1?", dataclasses.replace(PLAIN, template="{question}</s>"), made, stop_ids=stops)
    with pytest.raises(DataError, match=r"the question ends with '</s>'"):
        render_prompt("1?</s>", PLAIN, made, stop_ids=stops)


@pytest.mark.parametrize(
    ("template", "prompt", "message"),
    [
        (None, PromptConfig("plain", "{question}", "Be brief."), r"task.prompt.system: .* no place for it; set it to null"),
        (None, PromptConfig("auto", "{question}", "Be brief."), r"task.prompt.system: .* no place for it; set it to null"),
        ("{{ messages[-1].content }}", PromptConfig("auto", "{question}", "Be brief."), r"task.prompt.system: the policy's chat template"),
        ("{{ messages | length }}", PromptConfig("auto", "{question}", None), r"leaves the question out"),
        ("{{ messages[0].content }}{{ [1, 2] | random }}", PromptConfig("auto", "{question}", None), r"draws at random"),
    ],
)
def test_a_prompt_that_leaves_something_out_is_refused(template: str | None, prompt: PromptConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_prompt(prompt, tokenizer(template))


def test_a_prompt_that_says_all_is_fine() -> None:
    check_prompt(PromptConfig("auto", "{question}", "Be brief."), tokenizer(CHAT))
    check_prompt(PromptConfig("auto", "{image}{question}", None), tokenizer())


RAISING = [
    "{{ messages[0].content + 1 }}",
    "{{ 1 / 0 }}",
    "{% for %}",
    "{{ messages[9].content }}",
    "{{ range(999999999) | list }}",
    "{{ messages[0]['x']['y'] }}",
    "{{ 'a' | nothing }}",
    "{{ [] | max | int(base=99) }}{{ 'x' % 3 }}",
    "{{ f() }}",
]


@pytest.mark.parametrize("template", RAISING)
def test_a_template_that_raises_anything_is_one_line(template: str) -> None:
    with pytest.raises(ConfigError, match=r"the policy's chat template refuses the prompt \(.+\)") as caught:
        render_prompt("1?", PromptConfig("auto", "{question}", None), tokenizer(template))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 78


def test_the_clock_of_a_template_stands_still(caplog: pytest.LogCaptureFixture) -> None:
    made = tokenizer("{{ strftime_now('%d %b %Y %H:%M:%S') }} {{ messages[0].content }}")
    with caplog.at_level(logging.WARNING):
        texts = {render_prompt("1?", PromptConfig("auto", "{question}", None), made)[0] for _ in range(3)}
    assert texts == {"26 Jul 2024 00:00:00 1?"}
    assert caplog.text.count("its chat template writes the date") <= 1  # once in a process


@pytest.mark.parametrize(("question", "images"), [("<image> which?", 2), ("<image> <image>", 1), ("<image>?", 0)])
def test_tags_that_do_not_match_the_images_are_refused(question: str, images: int) -> None:
    with pytest.raises(DataError, match=rf"says <image> {question.count('<image>')} times, but has {images} images"):
        render_prompt(question, PLAIN, tokenizer(), images, "#")


def test_the_row_of_such_tags_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "q", "answer": 1}\n{"question": "<image> which?", "answer": 1}\n')
    settings = load_root("default", ["task=dataset", f"task.train={path}"]).task
    with pytest.raises(DataError, match=r"rows.jsonl, line 2: the question says <image> 1 times, but has 0 images"):
        load_problems(settings)


@pytest.mark.parametrize(
    ("template", "left_out"),
    [
        ("{% for m in messages if m.role != 'system' %}{{ m.content }}\n{% endfor %}", "the system's text 'Be brief.'"),
        ("{{ messages[0].content }}{{ messages[-1].content }}", "the user's text '1 + 1 ='"),
        ("{% for m in messages %}{{ m.content[:9] }}\n{% endfor %}", r"the user's text 'And  what is 2 + 2?'"),
        ("{% for m in messages %}{{ m.content | upper }}\n{% endfor %}", "the system's text 'Be brief.'"),
    ],
)
def test_a_template_that_leaves_out_or_changes_a_turn_is_refused(template: str, left_out: str) -> None:
    turns = [("system", "Be brief."), ("user", "1 + 1 ="), ("assistant", "2"), ("user", "And  what is 2 + 2?")]
    asked = [{"role": role, "content": content} for role, content in turns]
    with pytest.raises(DataError, match=re.escape(f"the policy's chat template leaves out or changes {left_out}")):
        render_prompt("...", dataclasses.replace(PLAIN, style="auto"), tokenizer(template), turns=asked)


def test_a_template_may_leave_out_thoughts_and_white_space() -> None:
    template = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content.split() | join(' ') }}\n{% endif %}{% endfor %}"
    turns = [
        {"role": "user", "content": "1 +\n  1 ="},
        {"role": "assistant", "content": "<think>well</think>2"},
        {"role": "user", "content": "2?"},
    ]
    text, _ = render_prompt("...", dataclasses.replace(PLAIN, style="auto"), tokenizer(template), turns=turns)
    assert text == "1 + 1 =\n2?\n"


def test_a_template_may_take_a_switch_for_itself() -> None:
    template = "{% for m in messages %}{{ m.content | replace('/no_think', '') | trim }}|{% endfor %}"
    prompt = dataclasses.replace(PLAIN, style="auto", system="Be brief. /no_think")
    assert render_prompt("1 + 1 =", prompt, tokenizer(template))[0].startswith("Be brief.|")


SEEING = (
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for p in m.content %}{{ '[picture]' if p.type == 'image' else p.text }}{% endfor %}{% endif %}|{% endfor %}"
)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        ("<image> this", "and this?", "[picture] this|yes|and this?|"),
        ("<image> this", "and <image>?", "[picture] this|yes|and [picture]?|"),
        ("this", "and this?", "this|yes|[picture]and this?|"),
    ],
)
def test_an_image_stands_in_the_turn_that_says_so(first: str, last: str, expected: str) -> None:
    turns = [{"role": "user", "content": first}, {"role": "assistant", "content": "yes"}, {"role": "user", "content": last}]
    images = max(1, (first + last).count("<image>"))
    question = "\n".join(turn["content"] for turn in turns)
    text, _ = render_prompt(question, dataclasses.replace(PLAIN, style="auto"), tokenizer(SEEING), images, turns=turns)
    assert text == expected


def test_a_question_never_ends_with_a_stop_token_also_in_a_chat() -> None:
    made = ending("{% for m in messages %}{{ m.content }}\n{% endfor %}")
    with pytest.raises(DataError, match=r"the question ends with '</s>'"):
        render_prompt("1?</s>", dataclasses.replace(PLAIN, style="auto"), made, stop_ids=(made.eos_token_id,))


def test_a_token_behind_the_prompt_is_left_out_also_where_it_ends_nothing() -> None:
    made = tokenizer()
    made.add_special_tokens({"sep_token": "[SEP]"})
    made.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A [SEP]", special_tokens=[("<s>", 0), ("[SEP]", made.sep_token_id)]
    )
    text, ids = render_prompt("1?", PLAIN, made)
    assert (ids[0], made.sep_token_id in ids, len(ids)) == (0, False, 1 + len(text))


def test_a_beginning_that_the_template_writes_is_the_only_one() -> None:
    _, ids = render_prompt("1?", dataclasses.replace(PLAIN, template="<s>{question}"), ending(""), stop_ids=())
    assert ids.count(0) == 1
