#!/usr/bin/env python3
"""perplexity: hybrid and llama.cpp on several texts, and how far each is from the same weights computed in F32. Prints
a Markdown table.

    ~/.cache/hybrid/venv/bin/python tests/bench/perplexity.py            about a quarter of an hour (the environment:
    tests/venv.py)

The models are those of 'make model model-gemma'. "Exact" is the file's own weights, decoded to F32 by examples/quantize
and run with a cache in F32:
no activation is quantized there. A distance is |ln perplexity - ln exact|, in per cent. As llama-perplexity: windows of
512 tokens, second halves.
"""
import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MODELS = os.environ.get("HYBRID_MODELS") or os.path.join(ROOT, "models")
DATA = os.environ.get("HYBRID_DATA") or os.path.join(ROOT, "..", "shared", "data")
FILES = ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"]
TEXTS = ["wikitext-2-test", "wikitext-2-valid", "war-and-peace", "tinyshakespeare", "names"]


def output_of(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode:
        sys.exit("perplexity: %s\n%s" % (" ".join(command), done.stderr.decode("utf-8", "replace")[-1000:]))
    return done.stdout.decode()


def build(name, folder):
    program = os.path.join(folder, name)
    subprocess.run(["cc", "-O2", os.path.join(ROOT, "examples", name + ".c"), "-o", program, "-lm"], check=True)
    return program


def ours(program, model, text, windows, *more):
    return float(re.search(r"perplexity ([\d.]+)",
                           output_of([program, model, text, "-w", str(windows)] + list(more))).group(1))


def peers(model, text, windows):
    return json.loads(output_of([sys.executable, os.path.join(HERE, "peer_llama.py"), "ppl", model, "--text", text,
                                 "--chunks", str(windows)]).split("\n")[-2])["perplexity"]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--windows", type=int, default=20, help="windows of each text (default 20)")
    ap.add_argument("--text", action="append",
                    help="a text of your own (again and again); default: those of the test data")
    a = ap.parse_args()
    texts = a.text or [os.path.join(DATA, "corpus", t + ".txt") for t in TEXTS]
    print("%s; `cc -O2`; windows of 512, %d a text, second halves scored; peer: llama-cpp-python (llama.cpp). "
          "Distance: |ln ppl - ln exact|.\n" % (time.strftime("%Y-%m-%d"), a.windows))
    print("| model | text | exact (F32) | hybrid | llama.cpp | hybrid / llama.cpp | distance, hybrid | distance, "
          "llama.cpp |\n|---|---|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        perplexity, quantize = build("perplexity", folder), build("quantize", folder)
        for name in FILES:
            model, exact = os.path.join(MODELS, name), os.path.join(folder, "f32.gguf")
            output_of([quantize, model, exact, "F32"])
            sums = [0, 0]
            for text in texts:
                want = ours(perplexity, exact, text, a.windows, "--kv", "f32")
                got = [ours(perplexity, model, text, a.windows), peers(model, text, a.windows)]
                far = [100 * abs(math.log(p / want)) for p in got]
                sums = [s + f for s, f in zip(sums, far)]
                print("| %s | %s | %.4f | %.4f | %.4f | %+.3f %% | %.3f %% | %.3f %% |" %
                      (name.split(".")[0], os.path.basename(text)[:-4], want, got[0], got[1],
                       100 * (got[0] / got[1] - 1), *far), flush=True)
            print("| %s | mean | | | | | %.3f %% | %.3f %% |" % (name.split(".")[0], *(s / len(texts) for s in sums)),
                  flush=True)


if __name__ == "__main__":
    main()
