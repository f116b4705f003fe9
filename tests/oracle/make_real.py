#!/usr/bin/env python3
"""What llama.cpp says of the two real models: greedy continuations of a few prompts, and the perplexity on wikitext-2.

    python tests/oracle/make_real.py MODELS_DIR WIKITEXT_FILE [NAME...]      needs numpy, llama-cpp-python==0.3.36

Writes tests/oracle/data/real/NAME.txt, which tests/test_real.c reads: lines of
    prompt  JSON-free text, \\n for a newline       ids N n1 n2 ...       out N id:gap id:gap ...
`gap` is best minus second-best logit, so that a near-tie is known for what it is. `ppl` is over 20 windows of 512, second halves.
Where llama.cpp's AMX code crashes (seen with 0.3.36 on a Sapphire Rapids virtual machine), build it without: see tests/venv.py.
"""
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PEER = os.path.join(HERE, "..", "bench", "peer_llama.py")
CHAT = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n"
MODELS = {
    "smollm2": ("SmolLM2-135M-Instruct.Q4_1.gguf", [CHAT % "Why is the sky blue?", CHAT % "Name three animals.", "The capital of France is",
                                                    "Once upon a time there was a", "def fibonacci(n):\n"]),
    "gemma3": ("gemma-3-270m-q4_k_m.gguf", ["The capital of France is", "Once upon a time there was a", "Water boils at", "1, 2, 3, 4,", "def fibonacci(n):\n"]),
}


def peer(*args):
    return json.loads(subprocess.run([sys.executable, PEER, *args], check=True, capture_output=True, text=True).stdout)


def main():
    models, wikitext, *only = sys.argv[1:]
    for name, (file, prompts) in MODELS.items():
        if only and name not in only:
            continue
        path = os.path.join(models, file)
        out = os.path.join(HERE, "data", "real", name + ".txt")
        with open(out + ".new", "w", encoding="utf-8") as f:
            f.write("model %s\n" % file)
            for p in prompts:
                r = peer("greedy", path, "--prompt", p, "-n", "48")
                f.write("prompt %s\n" % p.replace("\n", "\\n"))
                f.write("ids %d %s\n" % (len(r["prompt_ids"]), " ".join(map(str, r["prompt_ids"]))))
                f.write("out %d %s\n" % (len(r["ids"]), " ".join("%d:%.4f" % (i, g[2]) for i, g in zip(r["ids"], r["best_two_and_gap"]))))
            r = peer("ppl", path, "--text", wikitext, "--ctx", "512", "--chunks", "20")
            f.write("ppl %.5f\n" % r["perplexity"])
        os.replace(out + ".new", out)
        print(out, r["perplexity"])


if __name__ == "__main__":
    main()
