"""Prompts with real tokenizers: plain templates, and a chat template."""

import dataclasses

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from npo_pipeline.configuration.settings import PromptConfig
from npo_pipeline.errors import ConfigError
from npo_pipeline.tasks.prompts import render_prompt

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
