#!/usr/bin/env python3
"""Training a GPT-2 of 124 million weights in F32: tokens a second and peak memory, beside PyTorch and llm.c, in turns.

    python tests/bench/bench_train.py [--rounds 3] [--steps 4] [--rows 4x64,4x1024] [--threads 1,2]
                                      [--peers eager,compiled] [--llmc FOLDER] [--lora MODEL.gguf]

`make bench-train` runs it in the environment of the benchmarks. Of every run the best step counts that is not its first
one (llm.c's of one step: that one); of the rounds, the median. The peak of memory is that of the process. The share is
that of the peak of fused multiplications and additions (fma_peak.c, beside it in the same rounds) which products and
attention take: 6 operations a weight of a product and token, 7 n_embd n_ctx a layer and token for causal attention.
--llmc: a checkout of https://github.com/karpathy/llm.c; it is built with -O3 -march=native and OpenMP.
--lora: SmolLM2 135M; an adapter of rank 16 over it, in the types of its file, beside PEFT over the same shape in F32.
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
E, LAYERS, IDS = 768, 12, 50257
CC = os.environ.get("CC", "cc")


def run(command, **env):
    """(tokens a second, peak in MB, instruction set)"""
    out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT if env else None, text=True,
                         check=True, env=dict(os.environ, **env)).stdout
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    steps = [row for row in rows if "tokens_per_second" in row]
    return max(row["tokens_per_second"] for row in steps[1:] or steps), rows[-1]["peak_mb"], steps[0].get("isa")


def build(folder, source, *options):
    program = os.path.join(folder, source[:-2])
    subprocess.run([CC, os.path.join(HERE, source), "-o", program, *options, "-lm", "-lpthread"], check=True)
    return program


def operations(n_ctx):
    """Of a token."""
    return 6 * (LAYERS * 12 * E * E + IDS * E) + 7 * LAYERS * E * n_ctx


class Bench:
    """The programs, and what every round of them found."""

    def __init__(self, folder, args):
        self.args, self.peaks, self.isa = args, [], ""
        self.program = build(folder, "bench_train.c", "-O2", "-I", ROOT)
        self.peak = build(folder, "fma_peak.c", "-O3", "-march=native")
        self.llmc = args.llmc and build(folder, "peer_llmc_train.c", "-O3", "-march=native", "-fopenmp", "-DOMP", "-w",
                                        "-I", args.llmc)
        self.lora = args.lora and build(folder, "bench_lora.c", "-O2", "-I", ROOT)
        self.torch = args.peers.split(",")

    def turn(self, who, size, threads):
        """One run of one of them."""
        shape = size.split("x")
        if who == "hybrid":
            return run([self.program, VOCAB] + shape + [threads, str(self.args.steps)])
        if who == "llm.c":
            return run([self.llmc] + shape + [str(self.args.llmc_steps)], OMP_NUM_THREADS=threads)
        return run([sys.executable, os.path.join(HERE, "peer_torch_train.py")] + shape +
                   [threads, str(self.args.steps), who])

    def turn_of_adapter(self, who, size, threads):
        shape = size.split("x") + [threads, str(self.args.steps)]
        if who == "hybrid":
            return run([self.lora, self.args.lora] + shape)
        return run([sys.executable, os.path.join(HERE, "peer_peft_train.py")] + shape + [who])

    def rounds(self, turn, peers, size, threads):
        """Medians of all rounds: tokens a second, and MB."""
        found = {who: [] for who in ["hybrid"] + peers}
        for _ in range(self.args.rounds):
            self.peaks.append(float(subprocess.check_output([self.peak])))
            for who in found:
                found[who].append(turn(who, size, threads))
        self.isa = found["hybrid"][0][2]
        return tuple({who: statistics.median(r[i] for r in rows) for who, rows in found.items()} for i in (0, 1))

    def row(self, size, threads):
        """A line of the table."""
        speed, memory = self.rounds(self.turn, self.torch + ["llm.c"] * bool(self.llmc), size, threads)
        share = speed["hybrid"] * operations(int(size.split("x")[1])) / (int(threads) * max(self.peaks) * 1e9)
        return "| %s, %s | %.1f | %.0f %% | %s | %s | %s |" % (
            size.replace("x", " x "), threads, speed["hybrid"], 100 * share, self.beside(speed),
            "%.1f (%.1f)" % (speed["llm.c"], speed["hybrid"] / speed["llm.c"]) if self.llmc else "-",
            self.memory_beside(memory))

    def row_of_adapter(self, size, threads):
        speed, memory = self.rounds(self.turn_of_adapter, self.torch, size, threads)
        return "| %s, %s | %.1f | %s | %s |" % (size.replace("x", " x "), threads, speed["hybrid"], self.beside(speed),
                                                self.memory_beside(memory))

    def beside(self, speed):
        return "%s | %.2f" % (", ".join("%.1f" % speed[who] for who in self.torch),
                              speed["hybrid"] / max(speed[who] for who in self.torch))

    def memory_beside(self, memory):
        low = min(memory[who] for who in self.torch)
        return "%.0f | %.0f | %.2f" % (memory["hybrid"], low, memory["hybrid"] / low)

    def table(self, row):
        lines = []
        for size in self.args.rows.split(","):
            for threads in self.args.threads.split(","):
                lines.append(row(size, threads))
                print(lines[-1], file=sys.stderr, flush=True)
        return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rows", default="4x64,4x1024", help="sequences x tokens")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--peers", default="eager,compiled", help="of PyTorch; compiled begins after minutes")
    parser.add_argument("--llmc", metavar="FOLDER", help="a checkout of llm.c")
    parser.add_argument("--llmc-steps", type=int, default=2)
    parser.add_argument("--lora", metavar="MODEL.gguf", help="SmolLM2 135M, for the table of adapters")
    args = parser.parse_args()
    import torch
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(folder, args)
        table = bench.table(bench.row)
        adapters = args.lora and bench.table(bench.row_of_adapter)
    peers = args.peers.replace(",", ", ")
    print("GPT-2, 124 million weights, F32; %s, %s; peak %.1f GFLOP/s a thread; PyTorch %s (%s); median of %d rounds "
          "in turns\n" % (platform.machine(), bench.isa, max(bench.peaks), torch.__version__, peers, args.rounds))
    print("| sequences x tokens, threads | tokens/s | share of peak | PyTorch (%s) | ratio | llm.c (ratio) | peak MB |"
          " PyTorch | ratio |\n|---|---|---|---|---|---|---|---|---|\n%s" % (peers, table))
    if adapters:
        print("\nAn adapter of rank 16 over SmolLM2 135M\n\n| sequences x tokens, threads | tokens/s | PEFT (%s) | "
              "ratio | peak MB | PEFT | ratio |\n|---|---|---|---|---|---|---|\n%s" % (peers, adapters))


if __name__ == "__main__":
    main()
