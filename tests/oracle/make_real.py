#!/usr/bin/env python3
"""What llama.cpp says of the two real models: greedy continuations of a few prompts, and the perplexity on wikitext-2.

    python tests/oracle/make_real.py [NAME...]      needs numpy, llama-cpp-python==0.3.36, the models (make model, make
    model-gemma;
                                                    HYBRID_MODELS, default models) and corpus/ of HYBRID_DATA (default
                                                    ../shared/data)

Writes tests/oracle/data/real/NAME.txt, which tests/test_real.c reads: lines of
    prompt  JSON-free text, \\n for a newline       ids N n1 n2 ...       out N id:gap id:gap ...
`gap` is best minus second-best logit, so that a near-tie is known for what it is. `ppl` is over 6 windows of 512, second
halves, and over 20, which only make test-long looks at.
A model that is not there is left as it is, with a sentence. Where llama.cpp's AMX code crashes (seen with 0.3.36 on a
Sapphire Rapids virtual machine) it is built without, as for the benchmark. On other processors llama.cpp rounds
otherwise: the last digits of the gaps and of the perplexity are those of the machine, and past a near-tie the tokens
are.
"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "bench"))
from bench import PEER, peer_python  # noqa: E402

FOLDER = os.environ.get("HYBRID_MODELS", "models")
WIKITEXT = os.path.join(os.environ.get("HYBRID_DATA", "../shared/data"), "corpus", "wikitext-2-test.txt")
CHAT = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n"
MODELS = {
    "smollm2": ("SmolLM2-135M-Instruct.Q4_1.gguf",
                [CHAT % "Why is the sky blue?", CHAT % "Name three animals.", "The capital of France is",
                                                    "Once upon a time there was a", "def fibonacci(n):\n"]),
    "gemma3": ("gemma-3-270m-q4_k_m.gguf", ["The capital of France is", "Once upon a time there was a",
                                            "Water boils at", "1, 2, 3, 4,", "def fibonacci(n):\n"]),
}


def main():
    only = sys.argv[1:]
    for name, (file, prompts) in MODELS.items():
        if only and name not in only:
            continue
        path = os.path.join(FOLDER, file)
        missing = [p for p in (path, WIKITEXT) if not os.path.exists(p)]
        if missing:
            print("left as it is: data/real/%s.txt, because there is no %s" % (name, " and no ".join(missing)))
            continue
        python, _ = peer_python(path)

        def peer(*args):
            return json.loads(subprocess.run([python, PEER, *args], check=True, capture_output=True, text=True).stdout)
        out = os.path.join(HERE, "data", "real", name + ".txt")
        with open(out + ".new", "w", encoding="utf-8") as f:
            f.write("model %s\n" % file)
            for p in prompts:
                r = peer("greedy", path, "--prompt", p, "-n", "48")
                f.write("prompt %s\n" % p.replace("\n", "\\n"))
                f.write("ids %d %s\n" % (len(r["prompt_ids"]), " ".join(map(str, r["prompt_ids"]))))
                f.write("out %d %s\n" %
                        (len(r["ids"]),
                         " ".join("%d:%.4f" % (i, g[2]) for i, g in zip(r["ids"], r["best_two_and_gap"]))))
            for n in (6, 20):
                r = peer("ppl", path, "--text", WIKITEXT, "--ctx", "512", "--chunks", str(n))
                f.write("ppl %d %.5f\n" % (n, r["perplexity"]))
        os.replace(out + ".new", out)
        print(out, r["perplexity"])


if __name__ == "__main__":
    main()
