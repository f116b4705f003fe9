#!/usr/bin/env python3
"""make_scores: what llama.cpp makes of texts after a prompt on a real model: natural logarithms of their probabilities.

    ~/.cache/hybrid/venv/bin/python tests/oracle/make_scores.py models/SmolLM2-135M-Instruct.Q4_1.gguf

Prints the rows of `smollm2_scores` in tests/test_meaning.c. A prompt and a text are evaluated as one sequence; the
softmax of every row is taken in double precision. llama-cpp-python 0.3.36 on 2026-11-30.
"""
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CASES = [("The capital of France is", [" Rome", " Paris", " London", " a city in the south"]),
         ("Question: What do bees make?\nAnswer:", [" Milk.", " Honey.", " Wool."])]


def main():
    import numpy
    from llama_cpp import Llama
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
    model = Llama(path, n_ctx=256, logits_all=True, verbose=False, n_threads=1)
    for prompt, texts in CASES:
        n = len(model.tokenize(prompt.encode()))
        for text in texts:
            ids = model.tokenize((prompt + text).encode())
            model.reset()
            model.eval(ids)
            rows = numpy.array(model.scores[:len(ids)], dtype=numpy.float64)
            total = 0.0
            for i in range(n, len(ids)):
                row = rows[i - 1]
                total += row[ids[i]] - row.max() - numpy.log(numpy.exp(row - row.max()).sum())
            print('    { "%s", "%s", %.4f, %d },' % (prompt.replace("\n", "\\n"), text, total, len(ids) - n))


if __name__ == "__main__":
    main()
