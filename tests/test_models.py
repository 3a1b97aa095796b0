"""wren, its tokenizer, and how models are found and loaded."""

import itertools

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from course_lib.data.rows import legal_rows
from course_lib.errors import CourseError
from course_lib.models import loading
from course_lib.models.loading import WREN, load_model, resolve
from course_lib.models.tokenizer import PAD, render
from course_lib.training.sft import labels_of
from course_lib.world.corpus import documents


def test_wren_loads_with_plain_transformers():
    model = AutoModelForCausalLM.from_pretrained(WREN)
    assert model.config.model_type == "llama"
    assert 6e6 <= model.num_parameters() <= 8e6
    assert (WREN / "model.safetensors").stat().st_size <= 16e6
    tokenizer = AutoTokenizer.from_pretrained(WREN)
    assert tokenizer.pad_token == PAD != tokenizer.eos_token


def test_chat_template_writes_what_pretraining_read(wren):
    _, tokenizer = wren
    chats = [d for d in itertools.islice(documents(5), 300) if not isinstance(d, str)]
    assert len(chats) > 100
    for chat in chats:
        assert tokenizer.apply_chat_template(chat, tokenize=False) == render(chat)


def test_digits_are_single_tokens_and_any_text_survives(wren):
    _, tokenizer = wren
    assert len(tokenizer(" 7041").input_ids) == 5  # a space and four digits
    text = " Größe, 価格 and 🦉 cost 10 %\n"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_loss_falls_on_the_answer_and_its_end_only(wren):
    model, tokenizer = wren
    row = legal_rows(1)[0]
    _, labels = labels_of(row, model, tokenizer)
    carrying = [label for label in labels if label != -100]
    assert tokenizer.decode(carrying) == f" {row.answer}{tokenizer.eos_token}"
    # The template's {% generation %} marks say the same, for TRL's assistant_only_loss.
    chat = [*row.prompt, {"role": "assistant", "content": row.answer}]
    marked = tokenizer.apply_chat_template(chat, return_dict=True, return_assistant_tokens_mask=True)
    assert [i for i, m in zip(marked["input_ids"], marked["assistant_masks"], strict=True) if m] == carrying


def test_the_dial(tmp_path, monkeypatch):
    monkeypatch.delenv(loading.ENVIRONMENT, raising=False)
    assert resolve() == resolve("tiny") == WREN
    monkeypatch.setenv(loading.ENVIRONMENT, str(WREN))
    assert resolve() == WREN
    with pytest.raises(CourseError, match=r"no config\.json"):
        resolve(str(tmp_path))
    with pytest.raises(CourseError, match="there is no model"):
        resolve("nonsense")


def test_four_bit_weights_stay_as_they_were_loaded(wren):
    """bitsandbytes repacks 4-bit weights at the first forward on some CPUs; what is dequantised afterwards must not change."""
    import bitsandbytes

    model = load_model(WREN, four_bit=True)
    layer = model.model.layers[0].mlp.up_proj

    def weights() -> torch.Tensor:
        return bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)

    before = weights().clone()
    with torch.no_grad():
        model(torch.arange(8)[None])
    assert torch.equal(before, weights())
    full = wren[0].model.layers[0].mlp.up_proj.weight
    assert (before - full).norm() / full.norm() < 0.15
