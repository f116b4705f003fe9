#!/usr/bin/env python3
"""Training a GPT-2 of 124 million weights in F32: tokens a second and peak memory, beside PyTorch, in turns.

    python tests/bench/bench_train.py [--rounds 3] [--steps 4] [--rows 4x64] [--threads 1,2] [--compiled]

`make bench-train` runs it in the environment of the benchmarks. Of every run the best step counts that is not its first
one; of the rounds, the median. The peak of memory is that of the process.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB = os.path.join(os.environ.get("HYBRID_DATA", os.path.join(ROOT, "..", "shared", "data")),
                     "vocab", "ggml-vocab-gpt-2.gguf")


def run(command):
    """(tokens a second, peak in MB, instruction set)"""
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    rows = [json.loads(line) for line in out.splitlines()]
    steps = [row for row in rows if "tokens_per_second" in row]
    return max(row["tokens_per_second"] for row in steps[1:]), rows[-1]["peak_mb"], steps[0].get("isa")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rows", default="4x64,4x1024", help="sequences x tokens")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--compiled", action="store_true", help="torch.compile as well: minutes before its first step")
    args = parser.parse_args()
    import torch
    with tempfile.TemporaryDirectory() as folder:
        program = os.path.join(folder, "bench_train")
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-I", ROOT, os.path.join(HERE, "bench_train.c"), "-o",
                        program, "-lm", "-lpthread"], check=True)
        peers = ["eager"] + ["compiled"] * args.compiled
        isa, table = "", []
        for size in args.rows.split(","):
            for threads in args.threads.split(","):
                shape = size.split("x") + [threads, str(args.steps)]
                found = {name: [] for name in ["hybrid"] + peers}
                for _ in range(args.rounds):
                    found["hybrid"].append(run([program, VOCAB] + shape))
                    for peer in peers:
                        found[peer].append(run([sys.executable, os.path.join(HERE, "peer_torch_train.py")] + shape +
                                               [peer]))
                isa = found["hybrid"][0][2]
                speed = {name: statistics.median(r[0] for r in rows) for name, rows in found.items()}
                peak = {name: statistics.median(r[1] for r in rows) for name, rows in found.items()}
                best = max(speed[peer] for peer in peers)
                low = min(peak[peer] for peer in peers)
                table.append("| %s, %s | %.1f | %s | %.2f | %.0f | %.0f | %.2f |" % (
                    size.replace("x", " x "), threads, speed["hybrid"], ", ".join("%.1f" % speed[p] for p in peers),
                    speed["hybrid"] / best, peak["hybrid"], low, peak["hybrid"] / low))
                print(table[-1], file=sys.stderr, flush=True)
    print("GPT-2, 124 million weights, F32; %s, %s; PyTorch %s (%s); median of %d rounds in turns\n" % (
        platform.machine(), isa, torch.__version__, ", ".join(peers), args.rounds))
    print("| sequences x tokens, threads | tokens/s | PyTorch | ratio | peak MB | PyTorch | ratio |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(table))


if __name__ == "__main__":
    main()
