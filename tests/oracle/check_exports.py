#!/usr/bin/env python3
"""What hybrid trained and wrote, in llama.cpp: the same greedy tokens.

    python tests/oracle/check_exports.py [FINETUNED.gguf]        needs llama_cpp, a C compiler

examples/train makes a GPT-2 and a Llama of this repository's README, and writes each as F32 and as Q8_0; run.c and
llama.cpp go on from the same ids with the likeliest token, 40 times. A row tells how many are equal before the first
that is not, and, where they differ, how far apart the two best logits are there in hybrid: a near-tie may fall either
way in another order of sums (of Q8_0 both programs round activations, each in its own way).
"""
import os
import subprocess
import sys

import llama_cpp
import numpy as np

from make_run import ROOT, RUN, build

N = 40
SHAPES = {
    "gpt2": ["--arch", "gpt2"],
    "llama": ["--arch", "llama"],
}
OPTIONS = "--vocab 400 --layers 2 --width 64 --heads 4 -c 128 -b 4 -n 60 --every 60 --rate 0.003".split()


def greedy(path, ids):
    """llama.cpp's likeliest tokens."""
    llm = llama_cpp.Llama(path, n_ctx=256, n_threads=1, verbose=False)
    told, ids = [], list(ids)
    llm.eval(ids)
    for _ in range(N):
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(llm.ctx, -1), (llm.n_vocab(),))
        told.append(int(logits.argmax()))
        llm.eval([told[-1]])
    return told


def compare(name, path, text):
    llm = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    ids = llm.tokenize(text.encode(), add_bos=False, special=False)
    done = subprocess.run([RUN, "greedy", path, str(N)] + [str(i) for i in ids], stdout=subprocess.PIPE, check=True)
    ours = [line.split() for line in done.stdout.decode().split("\n")[:-1]]
    theirs = greedy(path, ids)
    equal = next((i for i in range(N) if int(ours[i][0]) != theirs[i]), N)
    print("| %s | %d of %d | %s |" % (name, equal, N, "" if equal == N else "%s" % ours[equal][1]), flush=True)
    return equal == N or float(ours[equal][1]) < 0.05


def main():
    folder = os.path.join(ROOT, "build", "exports")
    os.makedirs(folder, exist_ok=True)
    build()
    train = os.environ.get("TRAIN", os.path.join(folder, "train"))           # one that is there already
    if not os.path.exists(train):
        subprocess.run(["cc", "-O2", "-w", os.path.join("examples", "train.c"), "-o", train, "-lm", "-lpthread"],
                       cwd=ROOT, check=True)
    good = True
    print("| model | equal tokens | gap of the two best logits where they part |\n|---|---|---|")
    for shape, more in SHAPES.items():
        path = os.path.join(folder, shape + ".gguf")
        for kind in ("f32", "q8_0"):                                        # the second goes on from the checkpoint
            subprocess.run([train, os.path.join(ROOT, "README.md"), "-o", path, "--type", kind] + OPTIONS + more,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
            good &= compare("%s of train.c, %s" % (shape, kind), path, "A language model inside your")
    for path in sys.argv[1:]:
        good &= compare(os.path.basename(path), path, "First Citizen:\nBefore we proceed any further,")
    return not good


if __name__ == "__main__":
    sys.exit(main())
