"""llama.cpp through llama-cpp-python, built on this machine: GGUF files quantised by its own function.

Q4_0 is what its tool makes by default, with a finer token table; in "Q4_0-pure" every matrix has four bits.

    python -m perf.peers.llama_cpp      # what the build uses of the processor
"""

from __future__ import annotations

import ctypes
import json
import time
from pathlib import Path
from typing import Any

NAME, PACKAGE = "llama.cpp", "llama_cpp"
BUILD = {"CMAKE_ARGS": "-DGGML_NATIVE=ON", "FORCE_CMAKE": "1"}
"""Variables of the build: every instruction set of this processor."""
INSTRUCTIONS = {
    "AVX512_VBMI": "avx512vbmi", "AVX512_VNNI": "avx512_vnni", "AVX512_BF16": "avx512_bf16", "AVX512": "avx512f",
    "AVX_VNNI": "avx_vnni", "AMX_INT8": "amx_int8", "AVX2": "avx2", "BMI2": "bmi2", "FMA": "fma", "F16C": "f16c",
}  # fmt: skip
"""What llama.cpp calls an instruction set, and the processor."""


def check_build() -> str:
    """Say which instruction sets the build uses, and which that the processor has it does not."""
    import llama_cpp

    said = llama_cpp.llama_print_system_info().decode()
    lines = Path("/proc/cpuinfo").read_text("ascii").splitlines()
    has = set(next(line for line in lines if line.startswith("flags")).split())
    used = [name for name in INSTRUCTIONS if f"{name} = 1" in said]
    missing = [name for name, flag in INSTRUCTIONS.items() if flag in has and name not in used]
    return f"uses {', '.join(used)}" + (f"; BUILT WITHOUT {', '.join(missing)}" if missing else "; nothing is missing")


def convert(checkpoint: Path, task: str, precision: str, target: Path) -> None:
    """Write a llama's weights as a GGUF file of float32, and quantise it."""
    import llama_cpp

    target.mkdir(parents=True)
    whole = target / "float32.gguf"
    _write(checkpoint, whole)
    settings = llama_cpp.llama_model_quantize_default_params()
    name, _, pure = precision.partition("-")
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{name}")
    settings.pure = bool(pure)
    if llama_cpp.llama_model_quantize(str(whole).encode(), str(target / "model.gguf").encode(), ctypes.byref(settings)):
        raise RuntimeError(f"llama.cpp cannot quantise to {precision}")
    whole.unlink()


def _write(checkpoint: Path, path: Path) -> None:
    import gguf
    import numpy as np
    from safetensors.numpy import load_file

    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    size = config.get("head_dim") or config["hidden_size"] // heads
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base((config.get("rope_parameters") or config)["rope_theta"])
    writer.add_rope_dimension_count(size)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_vocabulary(writer, checkpoint, config["vocab_size"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for name, array in load_file(checkpoint / "model.safetensors").items():
        if name == "lm_head.weight" and config.get("tie_word_embeddings"):
            continue
        if name.endswith(("q_proj.weight", "k_proj.weight")):  # llama.cpp rotates pairs that lie side by side
            count = heads if "q_proj" in name else kv_heads
            array = array.reshape(count, 2, size // 2, -1).swapaxes(1, 2).reshape(array.shape)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), np.ascontiguousarray(array, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: Any, checkpoint: Path, size: int) -> None:
    """Add the tokens of a byte-level BPE tokenizer, so that the file's size is that of a whole model."""
    model = json.loads((checkpoint / "tokenizer.json").read_text("utf-8"))["model"]
    tokens = {number: token for token, number in model["vocab"].items()}
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list([tokens.get(number, f"[unused{number}]") for number in range(size)])
    writer.add_token_types([1] * size)
    writer.add_token_merges(merges)


def generate(model: str, precision: str, threads: int) -> dict[str, Any]:
    """Token ids to the next ones, greedily; `forced` is what would come after each token of a given text."""
    import llama_cpp as lib
    import numpy as np

    lib.llama_backend_init()
    loaded = lib.llama_model_load_from_file(str(Path(model, "model.gguf")).encode(), lib.llama_model_default_params())
    if not loaded:
        raise RuntimeError(f"llama.cpp cannot load {model}")
    vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(loaded))
    params = lib.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 1024, threads, threads
    context = lib.llama_init_from_model(loaded, params)

    def best(tokens: list[int]) -> int:
        array = (lib.llama_token * len(tokens))(*tokens)  # the batch only points to it
        if lib.llama_decode(context, lib.llama_batch_get_one(array, len(tokens))):
            raise RuntimeError("llama.cpp failed")
        return int(np.ctypeslib.as_array(lib.llama_get_logits_ith(context, -1), (vocabulary,)).argmax())

    def follow(prompt: list[int], count: int, text: list[int] | None) -> dict[str, Any]:
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        began, tokens, times, given = time.perf_counter(), [], [], prompt
        for place in range(count):
            tokens.append(best(given))
            given = [tokens[-1] if text is None else text[place]]
            times.append(time.perf_counter())
        return {"tokens": tokens, "first": times[0] - began, "rest": times[-1] - times[0]}

    return {
        "call": lambda prompt, count: follow(prompt, count, None),
        "forced": lambda prompt, text: follow(prompt, len(text), text)["tokens"],
    }


if __name__ == "__main__":
    print(check_build())
