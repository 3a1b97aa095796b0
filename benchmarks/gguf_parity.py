"""How near llama.cpp, given our GGUF files, comes to torch: wren's logits and greedy answers, for each type of weights.

    python -m benchmarks.gguf_parity

It needs llama.cpp's Python binding, which is built from source (about ten minutes): pip install llama-cpp-python. Keys and
values are cached in float32 as in torch; llama.cpp's own default is float16, which is measured beside it.
"""

import json
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from benchmarks.onnx_parity import answers, questions
from course_lib.export.gguf import TYPES, export_gguf
from course_lib.models.loading import WREN, load_model, load_tokenizer
from course_lib.versions import versions

RESULTS = Path(__file__).parent / "results" / "gguf_parity.json"
LENGTH = 1024
F32, F16 = 0, 1  # ggml's numbers for them


def open_llama(file: Path, cache: int = F32):
    import llama_cpp

    return llama_cpp.Llama(
        str(file),
        n_ctx=LENGTH,
        n_threads=2,
        logits_all=True,
        type_k=cache,
        type_v=cache,
        flash_attn=False,
        verbose=False,
    )


def llama_cpp_logits(file: Path | object, tokens: list[int], cache: int = F32) -> torch.Tensor:
    """llama.cpp's logits after each token, tokens x vocabulary."""
    llama = open_llama(file, cache) if isinstance(file, Path) else file
    llama.reset()
    llama.eval(tokens)
    return torch.tensor(np.array(llama.scores[: len(tokens)]))


def llama_cpp_answer(llama, tokens: list[int], end: int, limit: int) -> list[int]:
    """Greedy tokens after a prompt, without the end token."""
    llama.reset()
    said: list[int] = []
    new = tokens
    while len(said) < limit:
        llama.eval(new)
        token = int(np.argmax(llama.scores[llama.n_tokens - 1]))
        if token == end:
            break
        said.append(token)
        new = [token]
    return said


def rows(result: dict) -> list[str]:
    """The table of docs/export.md."""
    return [
        f"| `{dtype}` | {found['bytes'] / 1e6:.1f} | {found['read_back']:.1g} | {found['rounding']:.2g} | {found['llama_cpp']:.2g} "
        f"| {found['llama_cpp_with_float16_cache']:.2g} | {found['same_text']} | {found['same_tokens']} |"
        for dtype, found in result["dtypes"].items()
    ]


def main() -> None:
    model, tokenizer = load_model(WREN), load_tokenizer(WREN)
    asked = questions()
    prompts = [
        tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        for text in asked
    ]
    with torch.inference_mode():
        wanted = [model(torch.tensor([ids])).logits[0] for ids in prompts]
    largest = max(logits.abs().max().item() for logits in wanted)
    said = answers(model, tokenizer, asked)
    dtypes = {}
    with tempfile.TemporaryDirectory() as work:
        for dtype in TYPES:
            file = Path(work) / f"{dtype}.gguf"
            report = export_gguf(WREN, file, dtype=dtype)
            llama = open_llama(file)
            rough = open_llama(file, F16)
            tokens = [llama.tokenize(text.encode(), add_bos=False, special=True) for text in asked]
            pairs = list(zip(prompts, wanted, strict=True))
            texts = [
                tokenizer.decode(llama_cpp_answer(llama, ids, tokenizer.eos_token_id, 64), skip_special_tokens=True).strip()
                for ids in prompts
            ]
            dtypes[dtype] = {
                "bytes": report.size,
                "read_back": report.difference,
                "rounding": report.rounding,
                "llama_cpp": max((llama_cpp_logits(llama, ids) - logits).abs().max().item() for ids, logits in pairs),
                "llama_cpp_with_float16_cache": max(
                    (llama_cpp_logits(rough, ids) - logits).abs().max().item() for ids, logits in pairs
                ),
                "same_text": sum(a == b for a, b in zip(texts, said, strict=True)),
                "same_tokens": sum(a == tokenizer(text).input_ids for a, text in zip(tokens, asked, strict=True)),
            }
            print(dtype, dtypes[dtype])
    packages = {name: metadata.version(name) for name in ("gguf", "llama-cpp-python")}
    result = {
        "command": "python -m benchmarks.gguf_parity",
        "versions": versions() | packages,
        "model": "wren",
        "prompts": len(asked),
        "largest_logit": largest,
        "dtypes": dtypes,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
