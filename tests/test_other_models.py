"""Every lesson runs on another architecture: claims about wren's skill are shown there, and not judged."""

import pytest

from course_lib.models.loading import WREN, load_tokenizer
from course_lib.notebook.runner import run_lesson
from course_lib.notebook.syllabus import claims, lessons, lessons_folder


@pytest.fixture(scope="module")
def qwen3(tmp_path_factory):
    """A small Qwen3 with random weights: head size, layer shapes and an untied head that wren doesn't have."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("models") / "qwen3"
    tokenizer = load_tokenizer(WREN)
    tokens = {name: getattr(tokenizer, name) for name in ("pad_token_id", "eos_token_id", "bos_token_id")}
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=192,  # a multiple of 64: on CPUs with AVX512 bitsandbytes gets others wrong, and `load_model` refuses them
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        **tokens,
    )
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("lesson", lessons().values(), ids=lambda lesson: lesson.number)
def test_a_lesson_runs_on_another_architecture(lesson, qwen3):
    done = run_lesson(lessons_folder() / lesson.file, COURSE_MODEL=str(qwen3))
    assert done.status == 0, done.err[-1500:]
    if any(claim.learned for claim in claims().values() if claim.lesson == lesson.number):
        assert "not measured on this model" in done.out
