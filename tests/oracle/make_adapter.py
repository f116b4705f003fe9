#!/usr/bin/env python3
"""Adapters (LoRA) that PEFT made, in the form of llama.cpp's converter, and what the models of make_models.py say with
them.

    python tests/oracle/make_adapter.py             needs torch, transformers, peft, gguf
    python tests/oracle/make_adapter.py --check     compares all of them with llama.cpp (f32 KV cache)
    python tests/oracle/make_adapter.py --check MODEL ADAPTER TOKENS...     llama.cpp's greedy text with an adapter

For each NAME in data/adapters:
  NAME.a.gguf, NAME.b.gguf   an adapter of every matrix of rank 4 (F32) and one of two matrices of rank 6 (F16)
  NAME.ref.gguf   ref.ids    the input ids of models/NAME.ref.gguf, as floats
                  ref.a, ref.both         (n_vocab, LAST) logits of the last LAST ids with the first, and with the first
                                          and B_SCALE times the second
                  ref.greedy, ref.gap     (24) the greedy continuation with the first; best minus second-best logit

As convert_lora_to_gguf.py does it: A and B as they are, and in models of the llama family the rows of B of q and k
change places like those of the matrices.

In mixtures of experts (EXPERTS) the adapters are of the experts' matrices: "a" of all three, "b" of the downs. Those
are not PEFT's, but numbers of our own: A (n_expert, rank, k) and B (n_expert, out, rank), which the weights of the
model in transformers get as W_e + scale B_e A_e, in double.
"""
import os
import sys

import gguf
import numpy as np

import crosscheck
from make_models import MODELS, finish, rope_permute

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "data", "adapters")
NAMES = ("llama", "gpt2", "phi3")
ALL = {"gpt2": ["c_attn", "c_proj", "c_fc"], "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"],
       "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]}
FEW = {"gpt2": ["c_attn"], "phi3": ["qkv_proj", "down_proj"], "llama": ["q_proj", "v_proj"]}
EXPERTS = ("mixtral", "qwen2moe")
A_RANK, A_ALPHA, B_RANK, B_ALPHA, B_SCALE = 4, 8, 6, 3, 0.5
LAST, N_GREEDY = 6, 24


def adapted(name):
    """The model with adapters "a" and "b", B not zero, values of b that halves hold."""
    import peft
    import torch
    import make_models
    base = make_models.make_model(name)
    torch.manual_seed(7)
    flip = MODELS[name][0] == "GPT2"
    model = peft.get_peft_model(base, peft.LoraConfig(r=A_RANK, lora_alpha=A_ALPHA, target_modules=ALL[name],
                                                      lora_dropout=0.0, bias="none", fan_in_fan_out=flip), "a")
    model.add_adapter("b", peft.LoraConfig(r=B_RANK, lora_alpha=B_ALPHA, target_modules=FEW[name], lora_dropout=0.0,
                                           bias="none", fan_in_fan_out=flip))
    for key, p in model.named_parameters():
        if ".lora_" not in key:
            continue
        if ".lora_B." in key:
            p.data = torch.randn(p.shape) * 0.1
        if key.endswith(".b.weight"):
            p.data = p.data.half().float()
    return model.eval()


def convert(model, name, which, alpha, path):
    """What the adapter is as a GGUF."""
    import peft
    _, arch, _, _ = MODELS[name]
    config = model.base_model.model.config
    names = gguf.get_tensor_name_map(next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch),
                                     config.num_hidden_layers)
    w = gguf.GGUFWriter(path, arch)
    w.add_type(gguf.GGUFType.ADAPTER)
    w.add_string(gguf.Keys.Adapter.TYPE, "lora")
    w.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(alpha))
    for key, p in sorted(peft.get_peft_model_state_dict(model, adapter_name=which).items()):
        hf, ab = key[len("base_model.model."):-len(".weight")].rsplit(".lora_", 1)
        x = p.numpy()
        if arch == "llama" and ab == "B" and hf.endswith(("q_proj", "k_proj")):
            x = rope_permute(x, config.num_attention_heads if hf.endswith("q_proj") else config.num_key_value_heads)
        w.add_tensor("%s.weight.lora_%s" % (names.get_name(hf), ab.lower()),
                     np.ascontiguousarray(x, np.float16 if which == "b" else np.float32))
    finish(w)


def logits_of(model, ids):
    import torch
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].numpy()


# ---------------------------------------------------------------- adapters of experts
def expert_pairs(model, which):
    """(GGUF name, weights in the model, A, B) for each matrix of experts that the adapter changes."""
    rng = np.random.default_rng(11 if which == "a" else 12)
    rank, kind = (A_RANK, np.float32) if which == "a" else (B_RANK, np.float16)
    pairs = []
    for key, p in model.named_parameters():
        part = key.rsplit(".", 1)[-1]
        if ".experts." not in key or part not in ("gate_up_proj", "down_proj"):
            continue
        blk, half = "blk.%d." % int(key.split("layers.")[1].split(".")[0]), p.shape[1] // 2
        views = ([("ffn_down_exps", p)] if part == "down_proj" else
                 [("ffn_gate_exps", p[:, :half]), ("ffn_up_exps", p[:, half:])])
        for name, w in views:
            if which == "b" and name != "ffn_down_exps":
                continue
            n, out, k = w.shape
            a = (rng.standard_normal((n, rank, k)) * 0.2).astype(kind)
            b = (rng.standard_normal((n, out, rank)) * 0.2).astype(kind)
            pairs.append((blk + name + ".weight", w, a, b))
    return pairs


def add_experts(pairs, alpha, scale):
    """The weights of the model get what the adapter adds."""
    import torch
    with torch.no_grad():
        for _, w, a, b in pairs:
            more = np.einsum("eor,erk->eok", b.astype(np.float64), a.astype(np.float64))
            w.copy_(torch.from_numpy((w.numpy().astype(np.float64) + scale * alpha / a.shape[1] * more)
                                     .astype(np.float32)))


def write_experts(pairs, name, alpha, path):
    w = gguf.GGUFWriter(path, MODELS[name][1])
    w.add_type(gguf.GGUFType.ADAPTER)
    w.add_string(gguf.Keys.Adapter.TYPE, "lora")
    w.add_float32(gguf.Keys.Adapter.LORA_ALPHA, float(alpha))
    for tensor, _, a, b in pairs:
        w.add_tensor(tensor + ".lora_a", a)
        w.add_tensor(tensor + ".lora_b", b)
    finish(w)


def make_experts(name):
    import make_models
    model = make_models.make_model(name).eval()
    for which, alpha in (("a", A_ALPHA), ("b", B_ALPHA)):
        write_experts(expert_pairs(model, which), name, alpha, os.path.join(OUT, "%s.%s.gguf" % (name, which)))
    ids = ids_of(name)
    add_experts(expert_pairs(model, "a"), A_ALPHA, 1)
    one = logits_of(model, ids)
    text, gaps = continued(model, ids)
    add_experts(expert_pairs(model, "b"), B_ALPHA, B_SCALE)
    write_ref(name, ids, one, logits_of(model, ids), text, gaps)


# ---------------------------------------------------------------- references
def ids_of(name):
    reader = gguf.GGUFReader(os.path.join(HERE, "data", "models", name + ".ref.gguf"))
    return [int(x) for x in next(t for t in reader.tensors if t.name == "ref.ids").data][:30]


def continued(model, ids):
    """The greedy continuation, and how sure it is."""
    text, gaps = [], []
    for _ in range(N_GREEDY):
        row = logits_of(model, ids + text)[-1]
        best = np.sort(row)
        gaps.append(best[-1] - best[-2])
        text.append(int(row.argmax()))
    return text, gaps


def write_ref(name, ids, one, both, text, gaps):
    w = gguf.GGUFWriter(os.path.join(OUT, name + ".ref.gguf"), "ref")
    w.add_float32("ref.scale", B_SCALE)
    w.add_tensor("ref.ids", np.float32(ids))
    w.add_tensor("ref.a", np.float32(one[-LAST:]))
    w.add_tensor("ref.both", np.float32(both[-LAST:]))
    w.add_tensor("ref.greedy", np.float32(text))
    w.add_tensor("ref.gap", np.float32(gaps))
    finish(w)
    print("%-8s both differ by %.3f from one, gaps from %.4f on" % (name, np.abs(both - one).max(), min(gaps)))


def make(name):
    model = adapted(name)
    ids = ids_of(name)
    for which, alpha in (("a", A_ALPHA), ("b", B_ALPHA)):
        convert(model, name, which, alpha, os.path.join(OUT, "%s.%s.gguf" % (name, which)))
    model.set_adapter("a")
    one = logits_of(model, ids)
    text, gaps = continued(model, ids)
    model.base_model.set_adapter(["a", "b"])
    for module in model.modules():
        if isinstance(getattr(module, "scaling", None), dict) and "b" in module.scaling:
            module.scaling["b"] *= B_SCALE
    write_ref(name, ids, one, logits_of(model, ids), text, gaps)


# ---------------------------------------------------------------- llama.cpp
def llama_logits(path, adapters, ids):
    """Logits of all ids."""
    import ctypes
    import llama_cpp as L
    model = L.llama_model_load_from_file(path.encode(), L.llama_model_default_params())
    p = L.llama_context_default_params()
    p.n_ctx = p.n_batch = p.n_ubatch = 256
    p.n_threads = p.n_threads_batch = 1
    p.type_k = p.type_v = 0                              # GGML_TYPE_F32
    p.flash_attn_type = 0                                # disabled
    ctx = L.llama_init_from_model(model, p)
    made = [L.llama_adapter_lora_init(model, a.encode()) for a, _ in adapters]
    if not all(made):
        raise SystemExit("llama.cpp cannot load an adapter of " + path)
    if hasattr(L, "llama_set_adapters_lora"):
        n = len(made)
        L.llama_set_adapters_lora(ctx, (type(made[0]) * n)(*made) if n else None, n,
                                  (ctypes.c_float * n)(*[s for _, s in adapters]) if n else None)
    else:
        for a, (_, s) in zip(made, adapters):
            L.llama_set_adapter_lora(ctx, a, s)
    b = L.llama_batch_init(256, 0, 1)
    b.n_tokens = len(ids)
    for i, t in enumerate(ids):
        b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = int(t), i, 1, 1
        b.seq_id[i][0] = 0
    if L.llama_decode(ctx, b):
        raise SystemExit("llama.cpp cannot decode " + path)
    n_vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    out = np.stack([np.ctypeslib.as_array(L.llama_get_logits_ith(ctx, i), shape=(n_vocab,)).copy()
                    for i in range(len(ids))])
    L.llama_batch_free(b)
    L.llama_free(ctx)
    for a in made:
        L.llama_adapter_lora_free(a)
    L.llama_model_free(model)
    return out


def greedy(path, adapters, ids, n):
    text = []
    for _ in range(n):
        text.append(int(llama_logits(path, adapters, ids + text)[-1].argmax()))
    return text


def check():
    bad = 0
    for name in NAMES + EXPERTS:
        ref = {t.name: np.array(t.data) for t in gguf.GGUFReader(os.path.join(OUT, name + ".ref.gguf")).tensors}
        path = os.path.join(HERE, "data", "models", name + ".gguf")
        a, b = (os.path.join(OUT, "%s.%s.gguf" % (name, x)) for x in "ab")
        ids = [int(x) for x in ref["ref.ids"]]
        far = [np.abs(llama_logits(path, use, ids)[-LAST:] - ref[key].reshape(LAST, -1)).max() / np.abs(ref[key]).max()
               for use, key in (([(a, 1)], "ref.a"), ([(a, 1), (b, B_SCALE)], "ref.both"))]
        same = sum(x == int(y) for x, y in zip(greedy(path, [(a, 1)], ids, N_GREEDY), ref["ref.greedy"]))
        print("%-8s one %.1e, both %.1e, greedy %d of %d" % (name, *far, same, N_GREEDY))
        # its GELU is a table of halves, and it multiplies halves with halves
        bad += far[0] > (2e-3 if name == "gpt2" else 1e-5) or far[1] > 2e-3 or same < N_GREEDY
    return bad != 0


def main():
    if "--check" in sys.argv:
        crosscheck.be_silent()
        if len(sys.argv) == 2:
            return check()
        path, adapter, ids = sys.argv[2], sys.argv[3], [int(x) for x in sys.argv[4:]]
        print(*greedy(path, [(adapter, 1)] if adapter != "none" else [], ids, N_GREEDY))
        return 0
    os.makedirs(OUT, exist_ok=True)
    for name in NAMES:
        make(name)
    for name in EXPERTS:
        make_experts(name)


if __name__ == "__main__":
    sys.exit(main())
