"""Chats without transformers at hand: what is refused here, threads, and what is missing."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers

from onnxpipe.errors import BundleError, ChatTemplateError, MissingDependencyError, UnknownArgumentError
from onnxpipe.processing.text.chat.sandbox import render
from onnxpipe.processing.text.files import TokenizerSettings
from onnxpipe.processing.text.tokenizer import Tokenizer

_TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }} {% endgeneration %}"
    "{% else %}{{ m.content }} {% endif %}{% endfor %}{{ 'THINK' if enable_thinking }}"
)


@pytest.fixture
def tokenizer() -> Tokenizer:
    backend = Backend(models.WordLevel({"[UNK]": 0, "a": 1, "b": 2, "c": 3}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return Tokenizer(backend, TokenizerSettings(named={"unk_token": "[UNK]"}, chat_template=_TEMPLATE))


CHAT = [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c a"}]


def test_misspelt_parameters(tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture) -> None:
    """They would be variables of the template, which does not use them; others are said to be of no use."""
    with pytest.raises(UnknownArgumentError, match="did you mean 'add_generation_prompt'"):
        tokenizer.apply_chat_template(CHAT, add_generation_promt=True)
    assert tokenizer.apply_chat_template(CHAT, tokenize=False, enable_thinking=True).endswith("THINK")
    assert not caplog.text
    tokenizer.apply_chat_template(CHAT, tokenize=False, xml_tools=[])
    assert "does not use xml_tools=" in caplog.text


def test_masks_of_threads(tokenizer: Tokenizer) -> None:
    """Threads that render the same template have each their own masks."""
    chats = [[*CHAT[:1] * n, CHAT[1]] for n in range(1, 9)]
    wanted = [tokenizer.apply_chat_template(chat, return_assistant_tokens_mask=True).data for chat in chats]
    wrong: list[Any] = []

    def work(i: int) -> None:
        for _ in range(100):
            encoding = tokenizer.apply_chat_template(chats[i], return_assistant_tokens_mask=True).data
            wrong.extend([encoding] if encoding != wanted[i] else [])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(chats))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_long_chats(tokenizer: Tokenizer) -> None:
    """A thousand turns of a thousand words are far from the limits that stop hostile templates."""
    chat = [{"role": "user", "content": "a b c " * 330}] * 1000
    begin = time.perf_counter()
    assert len(tokenizer.apply_chat_template(chat, tokenize=False)) > 1_900_000
    assert time.perf_counter() - begin < 2


def test_without_jinja(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Says what to install; tokenizers need no jinja2 for anything else."""
    for name in [name for name in sys.modules if name.split(".")[0] == "jinja2" or name.endswith(".sandbox")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delattr("onnxpipe.processing.text.chat.sandbox", raising=False)
    assert tokenizer("a b")["input_ids"] == [1, 2]
    with pytest.raises(MissingDependencyError, match="pip install"):
        tokenizer.apply_chat_template(CHAT)


def test_saved_templates(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """One template, or several by name, come back as they were."""
    for template in (_TEMPLATE, {"default": "d", "rag": "r"}, None):
        tokenizer.chat_template = template
        folder = tmp_path / str(type(template))
        tokenizer.save_pretrained(folder)
        assert Tokenizer.from_folder(folder).chat_template == template


@pytest.mark.parametrize(
    "template",
    ["{{ messages + 1 }}", "{{ messages() }}", "{{ messages | tojson(indent=[]) }}", "{{ messages | join(1, 2, 3) }}",
     "{% for a in 3 %}{% endfor %}", "{{ messages[0] < 1 }}"],
)  # fmt: skip
def test_a_template_that_takes_values_for_others(template: str) -> None:
    with pytest.raises(ChatTemplateError, match="does not go with this conversation, or is damaged") as caught:
        render(template, {"messages": [{"role": "user", "content": "hi"}]})
    assert isinstance(caught.value, TypeError) and isinstance(caught.value, BundleError)
