#!/usr/bin/env python3
"""Whole runs of training by PyTorch, from the same weights and on the same batches as hybrid's.

    python tests/oracle/make_run.py mini            data/run-gpt2-mini.txt: the losses of 20 steps (seconds)
    python tests/oracle/make_run.py 124M            data/run-gpt2-124M.txt: of 100 steps of a GPT-2 (minutes)
    python tests/oracle/make_run.py smollm2         data/run-smollm2.txt: of 50 steps of fine-tuning (minutes)

needs torch, transformers, gguf, a C compiler, and for the last one models/SmolLM2-135M-Instruct.Q4_1.gguf and
tinyshakespeare.txt of the test data.

The first weights are hybrid's own (run.c exports them; of SmolLM2: what gguf-py makes of the file's blocks), the model,
its gradients, clipping and AdamW are PyTorch's: transformers' GPT2LMHeadModel and LlamaForCausalLM, in float32, with
one thread. Stored are PyTorch's losses; printed is how far hybrid's are from them, step by step. Of the long run also
those in float64: what differs in the last digit grows tenfold in some 17 steps, and that shows what floats lose.
"""
import os
import subprocess
import sys

import gguf
import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.path.join(ROOT, "tests", "oracle", "data")
SHARED = os.environ.get("HYBRID_DATA", os.path.join(ROOT, "..", "shared", "data"))
MODEL = os.path.join(os.environ.get("HYBRID_MODELS", os.path.join(ROOT, "models")), "SmolLM2-135M-Instruct.Q4_1.gguf")
RUN = os.path.join(ROOT, "build", "oracle-run")
TUNED = 50


def run(*words):
    done = subprocess.run([RUN] + list(words), stdout=subprocess.PIPE)
    if done.returncode:
        raise SystemExit("run %s failed" % " ".join(words))
    return done.stdout.decode().split("\n")[:-1]


def build():
    os.makedirs(os.path.dirname(RUN), exist_ok=True)
    made = [os.path.getmtime(p) for p in (RUN, os.path.join(ROOT, "hybrid.h")) if os.path.exists(p)]
    if len(made) == 2 and made[0] > made[1]:
        return
    subprocess.run(["cc", "-O2", "-w", os.path.join("tests", "oracle", "run.c"), "-I.", "-o", RUN, "-lm", "-lpthread"],
                   cwd=ROOT, check=True)


def tensors(path):
    """{name: float32 array (rows first)} of a GGUF."""
    found = {}
    for t in gguf.GGUFReader(path).tensors:
        shape = [int(n) for n in reversed(t.shape)]
        found[t.name] = np.asarray(gguf.dequantize(t.data, t.tensor_type), np.float32).reshape(shape)
    return found


def gpt2(found, heads):
    """transformers' model with those weights; its matrices lie the other way round (Conv1D)."""
    layers = 1 + max(int(n.split(".")[1]) for n in found if n.startswith("blk."))
    vocab, width = found["token_embd.weight"].shape
    config = GPT2Config(vocab_size=vocab, n_positions=found["position_embd.weight"].shape[0], n_embd=width,
                        n_layer=layers, n_head=heads, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0,
                        attn_implementation="eager")
    model = GPT2LMHeadModel(config)
    names = {"transformer.wte.weight": "token_embd.weight", "transformer.wpe.weight": "position_embd.weight",
             "transformer.ln_f.weight": "output_norm.weight", "transformer.ln_f.bias": "output_norm.bias"}
    parts = {"ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
             "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}
    for i in range(layers):
        for theirs, ours in parts.items():
            for kind in ("weight", "bias"):
                names["transformer.h.%d.%s.%s" % (i, theirs, kind)] = "blk.%d.%s.%s" % (i, ours, kind)
    state = {}
    for theirs, ours in names.items():
        a = found[ours]
        state[theirs] = torch.tensor(a.T.copy() if ".c_" in theirs and a.ndim == 2 else a)
    missing = model.load_state_dict(state, strict=False)
    if missing.unexpected_keys or set(missing.missing_keys) - {"lm_head.weight"}:
        raise SystemExit("other tensors: %s" % (missing,))
    model.tie_weights()
    return model


def unpermute(a, heads):
    """Rows of q or k as Hugging Face has them, of those that llama.cpp's rotation wants."""
    n, k = a.shape
    return a.reshape(heads, n // heads // 2, 2, k).swapaxes(1, 2).reshape(n, k)


def llama(path, found):
    """transformers' Llama with the weights and numbers of a GGUF."""
    reader = gguf.GGUFReader(path)

    def key(name):
        return reader.fields["llama." + name].contents()
    heads, kv = key("attention.head_count"), key("attention.head_count_kv")
    config = LlamaConfig(vocab_size=found["token_embd.weight"].shape[0], hidden_size=key("embedding_length"),
                         intermediate_size=key("feed_forward_length"), num_hidden_layers=key("block_count"),
                         num_attention_heads=heads, num_key_value_heads=kv,
                         rms_norm_eps=key("attention.layer_norm_rms_epsilon"),
                         rope_parameters={"rope_type": "default", "rope_theta": key("rope.freq_base")},
                         max_position_embeddings=key("context_length"), tie_word_embeddings=True,
                         attn_implementation="eager")
    model = LlamaForCausalLM(config)
    state = {"model.embed_tokens.weight": found["token_embd.weight"], "model.norm.weight": found["output_norm.weight"]}
    parts = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
             "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    for i in range(config.num_hidden_layers):
        for theirs, ours in parts.items():
            a = found["blk.%d.%s.weight" % (i, ours)]
            if ours in ("attn_q", "attn_k"):
                a = unpermute(a, heads if ours == "attn_q" else kv)
            state["model.layers.%d.%s.weight" % (i, theirs)] = a
    missing = model.load_state_dict({k: torch.tensor(v) for k, v in state.items()}, strict=False)
    if missing.unexpected_keys or set(missing.missing_keys) - {"lm_head.weight"}:
        raise SystemExit("other tensors: %s" % (missing,))
    model.tie_weights()
    model.get_input_embeddings().padding_idx = None
    return model


def learn(model, batches, rate, betas, decay, warmup=0):
    """The losses of AdamW with decay of matrices, gradients of a norm of at most 1, after `warmup` slower steps."""
    model.train()
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0}],
                                  lr=rate, betas=betas, eps=1e-8)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: min(1, (done + 1) / (warmup + 1)))
    losses = []
    for ids, targets in batches:
        logits = model(torch.tensor(ids), use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        print("step %d  %.6f" % (len(losses), losses[-1]), end="\r", flush=True)
    return losses


def store(name, losses, ours, exact=None):
    apart = [abs(float(b) - a) for a, b in zip(losses, ours)]
    with open(os.path.join(DATA, "run-%s.txt" % name), "w", encoding="utf-8") as f:
        for i, a in enumerate(losses):
            f.write("%.9f %.9f\n" % (a, exact[i]) if exact else "%.9f\n" % a)
    if exact:
        print("%s: from float64 PyTorch is at most %.1e away, hybrid %.1e" %
              (name, max(abs(a - b) for a, b in zip(losses, exact)),
               max(abs(float(a) - b) for a, b in zip(ours, exact))))
    print("%s: %d losses, %.4f to %.4f; hybrid is at most %.1e away (the first %.1e, the last %.1e)" %
          (name, len(losses), losses[0], losses[-1], max(apart), apart[0], apart[-1]))


def from_nothing(name, heads, n_seq, warmup, exact=False):
    path = os.path.join(ROOT, "build", "run-%s.gguf" % name)
    run("export", name, path)
    rows = [np.array(line.split(), np.int64).reshape(2, n_seq, -1) for line in run("batches", name)]
    batches, runs = [(r[0], r[1]) for r in rows], []
    for kind in (torch.float32, torch.float64)[:1 + exact]:
        runs.append(learn(gpt2(tensors(path), heads).to(kind), batches, 3e-4, (0.9, 0.95), 0.1, warmup))
    os.remove(path)
    store(name, runs[0], run("steps", name), runs[1] if exact else None)


def fine_tuning():
    text = os.path.join(SHARED, "corpus", "tinyshakespeare.txt")
    ids = np.array(run("tokens", MODEL, text, str(TUNED * 128 + 1)), np.int64)
    batches = [(ids[i:i + 128].reshape(2, 64), ids[i + 1:i + 129].reshape(2, 64)) for i in range(0, TUNED * 128, 128)]
    losses = learn(llama(MODEL, tensors(MODEL)), batches, 2e-5, (0.9, 0.999), 0.01)
    store("smollm2", losses, run("tune", MODEL, text, str(TUNED)))


def main():
    torch.set_num_threads(1)
    what = sys.argv[1:] or ["mini"]
    build()
    if "mini" in what:
        from_nothing("gpt2-mini", 4, 4, 0)
    if "124M" in what:
        from_nothing("gpt2-124M", 12, 1, 50, True)
    if "smollm2" in what:
        fine_tuning()


if __name__ == "__main__":
    main()
