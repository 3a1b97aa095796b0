"""Shapes of well-known models, written out, so that they can be counted with nothing downloaded.

Each is what the model's own ``config.json`` says. A model of such a shape built on the meta device holds no numbers and takes no memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from course_lib.errors import CourseError

if TYPE_CHECKING:
    from transformers import LlamaConfig

# vocabulary, width, width of the MLP, layers, attention heads, key-value heads
_SHAPES: dict[str, tuple[int, int, int, int, int, int]] = {
    "Llama-2-7B": (32_000, 4096, 11_008, 32, 32, 32),
    "Llama-3-8B": (128_256, 4096, 14_336, 32, 32, 8),
    "Llama-2-13B": (32_000, 5120, 13_824, 40, 40, 40),
    "LLaMA-65B": (32_000, 8192, 22_016, 80, 64, 64),
}
SHAPES = tuple(_SHAPES)


def shape(name: str) -> LlamaConfig:
    """The config of a well-known model.

    Args:
        name: one of `SHAPES`.

    Raises:
        CourseError: for any other name.
    """
    from transformers import LlamaConfig

    if name not in _SHAPES:
        raise CourseError(f"no shape is called {name!r}: choose from {', '.join(SHAPES)}")
    vocabulary, width, inner, layers, heads, kv_heads = _SHAPES[name]
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        tie_word_embeddings=False,
    )
