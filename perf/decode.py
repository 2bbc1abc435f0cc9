"""Measure decoding speed: a llama of 135M parameters (SmolLM's shape, random weights), one row, greedy.

    python -m perf.decode --work DIR [--rounds 5] [--new 64] [--prompt 32]

Peers take turns, each in a process of its own: onnxpipe fp32, int8 and q4, transformers fp32, and, where the packages
llama-cpp-python and gguf are installed, llama.cpp Q8_0 and Q4_0. Figures are medians of tokens per second (the prompt
apart), and ratios against transformers and against llama.cpp Q8_0. The models are made in DIR once.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SHAPE = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    "rope_theta": 10000.0,
}
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def make(work: Path) -> None:
    """Make the checkpoint, the bundle and, where the packages are installed, the GGUF files."""
    if not (work / "llama" / "config.json").is_file():
        _checkpoint(work / "llama")
    if not (work / "bundle" / "bundle.json").is_file():
        from onnxpipe_export import export

        export(work / "llama", work / "bundle", precision=("fp32", "int8", "q4"), progress=print)
    if _has_llama_cpp():
        for kind in ("Q8_0", "Q4_0"):
            if not (work / f"{kind}.gguf").is_file():
                _gguf(work / f"{kind}.gguf", kind)


def _checkpoint(folder: Path) -> None:
    """Make random weights, with embeddings large enough that the next token is clear, to certify quantised graphs."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SHAPE, bos_token_id=0, eos_token_id=0, pad_token_id=0))
    with torch.no_grad():
        model.model.embed_tokens.weight.normal_(std=0.5)
    model.save_pretrained(folder)
    vocabulary = {symbol: i for i, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()), 1)}
    tokenizer = Tokenizer(models.BPE({"<|endoftext|>": 0, **vocabulary}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end).save_pretrained(
        folder
    )


def _gguf(path: Path, kind: str) -> None:
    """Write the same shape for llama.cpp. Weights are drawn anew: speed does not depend on their values."""
    import gguf

    quantised = gguf.GGMLQuantizationType[kind]
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(SHAPE["max_position_embeddings"])
    writer.add_embedding_length(SHAPE["hidden_size"])
    writer.add_block_count(SHAPE["num_hidden_layers"])
    writer.add_feed_forward_length(SHAPE["intermediate_size"])
    writer.add_head_count(SHAPE["num_attention_heads"])
    writer.add_head_count_kv(SHAPE["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(SHAPE["hidden_size"] // SHAPE["num_attention_heads"])
    writer.add_vocab_size(SHAPE["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if kind == "Q8_0" else gguf.LlamaFileType.MOSTLY_Q4_0)

    def add(name: str, *shape: int) -> None:
        if len(shape) == 1:
            writer.add_tensor(name, np.ones(shape, np.float32))
            return
        data = gguf.quants.quantize((0.02 * random.standard_normal(shape)).astype(np.float32), quantised)
        writer.add_tensor(name, data, raw_dtype=quantised)

    wide, inner = SHAPE["hidden_size"], SHAPE["intermediate_size"]
    kv = wide // SHAPE["num_attention_heads"] * SHAPE["num_key_value_heads"]
    add("token_embd.weight", SHAPE["vocab_size"], wide)
    add("output_norm.weight", wide)
    for i in range(SHAPE["num_hidden_layers"]):
        for name, out in (("attn_q", wide), ("attn_k", kv), ("attn_v", kv), ("attn_output", wide)):
            add(f"blk.{i}.{name}.weight", out, wide)
        for name in ("ffn_gate", "ffn_up"):
            add(f"blk.{i}.{name}.weight", inner, wide)
        add(f"blk.{i}.ffn_down.weight", wide, inner)
        for name in ("attn_norm", "ffn_norm"):
            add(f"blk.{i}.{name}.weight", wide)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _has_llama_cpp() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("llama_cpp", "gguf"))


# -- peers: each returns a function (prompt ids, new tokens) -> seconds for the tokens after the first ----------------
Decode = Callable[[list[int], int], float]


class _Clock:
    """A streamer that notes when tokens come."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: Any) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass

    @property
    def seconds(self) -> float:
        """From the first new token to the last; the prompt comes before it."""
        return self.times[-1] - self.times[1]


def _onnxpipe(work: Path, dtype: str) -> Decode:
    from onnxpipe import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(work / "bundle", dtype=dtype, threads=THREADS, device="cpu")

    def decode(prompt: list[int], count: int) -> float:
        clock = _Clock()
        model.generate(np.array([prompt]), max_new_tokens=count, min_new_tokens=count, do_sample=False, streamer=clock)
        return clock.seconds

    return decode


def _transformers(work: Path, dtype: str) -> Decode:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(THREADS)
    model = AutoModelForCausalLM.from_pretrained(work / "llama", dtype=torch.float32).eval()

    def decode(prompt: list[int], count: int) -> float:
        clock = _Clock()
        ids = torch.tensor([prompt])
        model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            streamer=clock,
        )
        return clock.seconds

    return decode


def _llama_cpp(work: Path, kind: str) -> Decode:
    import llama_cpp as lib

    silent = lib.llama_log_callback(lambda *_: None)
    lib.llama_log_set(silent, None)
    lib.llama_backend_init()
    model = lib.llama_model_load_from_file(str(work / f"{kind}.gguf").encode(), lib.llama_model_default_params())
    if not model:
        raise RuntimeError(f"llama.cpp cannot load {kind}.gguf")
    params = lib.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 1024, THREADS, THREADS

    def decode(prompt: list[int], count: int, _kept: Any = silent) -> float:
        context = lib.llama_init_from_model(model, params)
        tokens = list(prompt)
        times = []
        for _ in range(count):
            array = (lib.llama_token * len(tokens))(*tokens)  # the batch only points to it
            if lib.llama_decode(context, lib.llama_batch_get_one(array, len(tokens))):
                raise RuntimeError("llama.cpp failed")
            logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(context, -1), (SHAPE["vocab_size"],))
            tokens = [int(logits.argmax())]
            times.append(time.perf_counter())
        lib.llama_free(context)
        return times[-1] - times[0]

    return decode


_PEERS = {"onnxpipe": _onnxpipe, "transformers": _transformers, "llama.cpp": _llama_cpp}


def worker(work: Path, peer: str, prompt: int, count: int) -> None:
    """Run a peer's process: one round for every line on stdin."""
    kind, _, dtype = peer.partition(":")
    decode = _PEERS[kind](work, dtype)
    ids = np.random.default_rng(1).integers(300, SHAPE["vocab_size"], prompt).tolist()
    decode(ids, 8)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps((count - 1) / decode(ids, count)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="where the models are made")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--worker")
    args = parser.parse_args()
    if args.worker:
        worker(args.work, args.worker, args.prompt, args.new)
        return
    make(args.work)
    peers = ["onnxpipe:fp32", "onnxpipe:int8", "onnxpipe:q4", "transformers:fp32"]
    peers += ["llama.cpp:Q8_0", "llama.cpp:Q4_0"] if _has_llama_cpp() else []
    speeds = _measure(args, peers)
    base = statistics.median(speeds["transformers:fp32"])
    other = statistics.median(speeds["llama.cpp:Q8_0"]) if "llama.cpp:Q8_0" in speeds else None
    print(
        f"{args.prompt} tokens of prompt, {args.new} new, {THREADS} threads, medians of {args.rounds} rounds in turns"
    )
    for peer, rates in speeds.items():
        middle = statistics.median(rates)
        beside = f"{middle / other:6.2f} x llama.cpp Q8_0" if other else ""
        print(f"{peer:18} {middle:7.1f} tokens/s  {middle / base:6.2f} x transformers  {beside}")


def _measure(args: argparse.Namespace, peers: list[str]) -> dict[str, list[float]]:
    processes = {}
    for peer in peers:
        command = [sys.executable, "-m", "perf.decode", "--work", str(args.work), "--worker", peer]
        command += ["--new", str(args.new), "--prompt", str(args.prompt)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None and process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{peer} did not start")
        processes[peer] = process
    speeds: dict[str, list[float]] = {peer: [] for peer in peers}
    for _ in range(args.rounds):
        for peer, process in processes.items():
            assert process.stdin is not None and process.stdout is not None
            print(file=process.stdin, flush=True)
            speeds[peer].append(json.loads(process.stdout.readline()))
    for process in processes.values():
        process.communicate()
    return speeds


if __name__ == "__main__":
    main()
