"""Compares the reference models with llama.cpp (llama-cpp-python), f32 KV cache, no flash attention: this proves the
GGUF files themselves."""
import ctypes
import glob
import os

import gguf
import numpy as np

# Known differences of llama.cpp from transformers: the positions from which the logits differ, and why.
KNOWN = {
    "mistral": (16, "llama.cpp has no window for the architecture llama: it ignores llama.attention.sliding_window, "
                    "and its converter does not write the "
                    "key, so a file of Mistral 7B v0.1 is run without its window of 4096. This file has the key, and "
                    "transformers applies the window: "
                    "we apply it where the key is present and not 0."),
    "phi3-window": (12, "llama.cpp reads phi3.attention.sliding_window and switches the window off (its pull request "
                        "13676); transformers applies it. "
                    "0 means no window."),
}


# Not compared: what llama.cpp computes wrongly or refuses.
LEFT_OUT = {
    "rwkv7": "llama.cpp's kernels with vectors take the heads of RWKV-7 as a multiple of 32 wide; these are of 16. "
             "`make_rwkv.py --check` compares larger siblings.",
    "arwkv7": "the same, with heads of 8.",
    "llama-layers": "llama.cpp takes the first entry of the arrays for every layer and refuses the file.",
    "qwen3-layers": "the same.",
}


def be_silent():
    import llama_cpp as L
    be_silent.kept = L.llama_log_callback(lambda level, text, user: None)
    L.llama_log_set(be_silent.kept, ctypes.c_void_p(0))
    L.llama_backend_init()


def llama_logits(path, ids, n_batch=256):
    import llama_cpp as L
    model = L.llama_model_load_from_file(path.encode(), L.llama_model_default_params())
    if not model:
        raise SystemExit("llama.cpp cannot load " + path)
    p = L.llama_context_default_params()
    p.n_ctx = p.n_batch = p.n_ubatch = 256
    p.n_threads = p.n_threads_batch = 1
    p.type_k = p.type_v = 0                              # GGML_TYPE_F32
    p.flash_attn_type = 0                                # disabled
    ctx = L.llama_init_from_model(model, p)
    n_vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    b = L.llama_batch_init(n_batch, 0, 1)
    out = []
    for at in range(0, len(ids), n_batch):
        part = ids[at:at + n_batch]
        b.n_tokens = len(part)
        for i, t in enumerate(part):
            b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = int(t), at + i, 1, 1
            b.seq_id[i][0] = 0
        if L.llama_decode(ctx, b):
            raise SystemExit("llama.cpp cannot decode " + path)
        out += [np.ctypeslib.as_array(L.llama_get_logits_ith(ctx, i), shape=(n_vocab,)).copy()
                for i in range(len(part))]
    L.llama_batch_free(b)
    L.llama_free(ctx)
    L.llama_model_free(model)
    return np.stack(out)


def compare(path, ref_path, name, gelu_logits):
    ref = {t.name: np.array(t.data).reshape([int(x) for x in t.shape[::-1]]) for t in gguf.GGUFReader(ref_path).tensors}
    ids = ref["ref.ids"].astype(int)
    greedy = ref.get("ref.greedy", np.zeros(0)).astype(int)
    got = llama_logits(path, [int(x) for x in ids] + [int(x) for x in greedy[:-1]])
    rounded = gelu_logits(name, list(ids))
    want = ref["ref.logits"] if rounded is None else rounded
    scale = np.abs(want).max()
    by_position = np.abs(got[:len(ids)] - want).max(axis=1) / scale
    exact = float(np.abs(got[:len(ids)] - ref["ref.logits"]).max() / scale)
    return by_position, exact, int((got[len(ids) - 1:][:len(greedy)].argmax(axis=1) == greedy).sum()), len(greedy)


def main(folder, names, gelu_logits):
    import llama_cpp as L
    be_silent()
    bad, rows = 0, []
    for ref_path in sorted(glob.glob(os.path.join(folder, "*.ref.gguf"))):
        name = os.path.basename(ref_path)[:-len(".ref.gguf")]
        if (names and name.split("@")[0] not in names) or name in LEFT_OUT:
            continue
        by_position, exact, same, n = compare(os.path.join(folder, name.split("@")[0] + ".gguf"), ref_path, name,
                                              gelu_logits)
        until, why = KNOWN.get(name, (len(by_position), ""))
        inside = by_position[:until].max()
        # with GELU a difference of 1e-7 can turn into one step of f16 somewhere, and that spreads: exact until the
        # first such step
        gelu = exact != inside and by_position[:2].max() < 1e-5 or name.startswith("gpt-nano-sort")
        ok = inside < (1e-3 if gelu else 1e-5) and (same == n or why)
        bad += not ok
        rows.append("| %s | %.1e | %s | %d of %d | %s |" % (
            name, inside, "%.1e from position %d" % (by_position[until:].max(), until) if why else
            "%.1e with the exact GELU" % exact if exact != inside else "", same, n, "" if ok else "DIFFERS"))
        print(rows[-1], by_position if not ok else "", flush=True)
    notes = ["%s: %s" % (k, v[1]) for k, v in KNOWN.items()]
    notes = "\n\n".join(notes + ["%s is not compared: %s" % item for item in LEFT_OUT.items()])
    if not names:
        with open(os.path.join(folder, "CROSSCHECK.md"), "w") as f:
            f.write("# The reference models in llama.cpp\n\nMade by `make_models.py --check` with llama-cpp-python %s, "
                    "f32 KV cache, one thread. Largest difference of a logit,\n"
                    "relative to the largest logit; greedy: steps whose best token is the same, given the reference's "
                    "text before it.\n\n"
                    "llama.cpp's GELU is a table from f16 to f16. For models with GELU the first column compares with "
                    "transformers computing with the same\n"
                    "rounding (equal to 1e-6 until a difference of 1e-7 becomes a step of f16); the second names the "
                    "difference to the exact GELU, which our reference files hold. gpt-nano-sort has\n"
                    "GELU too, and is compared with the exact one.\n\n"
                    "| model | difference | known difference | greedy | |\n| --- | --- | --- | --- | --- |\n%s\n\n%s\n" % (
                        L.__version__, "\n".join(rows), notes))
    return bad != 0
