#!/usr/bin/env python3
"""bench_batch: tokens a second of 1, 4, 16 and 64 sequences that are generated together, beside llama.cpp.

    make bench-batch                    ARGS='--threads 2 --rounds 3 --rows smollm2,q4_0 --sequences 1,4,16,64'

The same files, threads, prompts' lengths and steps, each program in a process of its own and in turn with the other;
numbers are medians of the rounds. A step gives every sequence one token and wants the logits of each; no sampler takes
part on either side. Models are those of bench.py: real ones of 'make model model-gemma', random weights in real shapes
(made once). Needs the environment of tests/venv.py.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bench

ROWS = ("SmolLM2 135M Q4_1", "Gemma 3 270M Q4_K_M", "0.5B Q4_0", "0.5B Q8_0", "1B Q4_K_M")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--rows", default="", help="only rows whose name holds one of these words")
    ap.add_argument("--threads", default="2")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--sequences", default="1,4,16,64")
    ap.add_argument("-p", type=int, default=32, help="tokens of each prompt")
    ap.add_argument("-n", type=int, default=16, help="steps")
    ap.add_argument("-o", "--out", help="also write the table to this file")
    a = ap.parse_args()
    rows = [r for r in ROWS if not a.rows or any(w.lower() in r.lower() for w in a.rows.split(","))]
    files = {r: f for r in rows for f in [bench.model_file(r)] if f}
    if not files:
        sys.exit("bench_batch: no model")
    python, note = bench.peer_python(next(iter(files.values())))
    program = bench.build("bench_batch", ["-lm"])
    sequences = a.sequences.split(",")
    lines, ratios, isa, peer_name = [], [], "", ""
    for row, path in files.items():
        for threads in a.threads.split(","):
            ours, peer = [], []
            for r in range(a.rounds):
                bench.say("%s, %s threads, round %d of %d" % (row, threads, r + 1, a.rounds))
                j = bench.run_json([program, path, threads, str(a.p), str(a.n)] + sequences)
                k = bench.run_json([python, bench.PEER, "batch", path, "--threads", threads, "-p", str(a.p), "-n",
                                    str(a.n), "--sequences", a.sequences])
                isa, peer_name = j["isa"], "llama-cpp-python %s" % k["package"]
                ours.append(j["speeds"])
                peer.append(k["speeds"])
            cells = []
            for mine, theirs in zip(zip(*ours), zip(*peer)):
                mine, theirs = statistics.median(mine), statistics.median(theirs)
                ratios.append(mine / theirs)
                cells.append("%.1f / %.1f **%.2f**" % (mine, theirs, mine / theirs))
            lines.append("| %s | %s | %s |" % (row, threads, " | ".join(cells)))
            bench.say(lines[-1])
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        cpu = next((x.split(":")[1].strip() for x in f if x.startswith("model name")), "unknown processor")
    text = ["%s, %d processors, hybrid's kernels: %s; peer: %s%s; %s." %
            (cpu, os.cpu_count(), isa, peer_name, note, time.strftime("%Y-%m-%d")),
            "Tokens a second, ours / the peer's and their **ratio**; prompts of %d, %d steps, medians of %d rounds." %
            (a.p, a.n, a.rounds), "",
            "| model | threads | %s |" % " | ".join("%s sequence%s" % (s, "" if s == "1" else "s") for s in sequences),
            "|" + "---|" * (2 + len(sequences))] + lines + ["",
            "Geometric mean %.2f, lowest %.2f." % (bench.geometric(ratios), min(ratios))]
    print("\n".join(text))
    if a.out:
        with open(a.out, "w", encoding="utf-8") as f:
            f.write("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
