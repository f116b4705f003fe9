#!/usr/bin/env python3
"""bench_adapter: how much longer a decode step is with an adapter, as a table.

    python3 tests/bench/bench_adapter.py MODEL.gguf [--rank 16] [--threads 1,2] [--rounds 60] [--runs 3] [--isa avx2]

Each run measures all outfits in turn (bench_adapter.c); the table has the median of the runs."""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, "build", "bench_adapter")


def built():
    source = os.path.join(ROOT, "tests", "bench", "bench_adapter.c")
    newest = max(os.path.getmtime(os.path.join(ROOT, name)) for name in (source, "hybrid.h"))
    if os.path.exists(PROGRAM) and os.path.getmtime(PROGRAM) > newest:
        return
    os.makedirs(os.path.dirname(PROGRAM), exist_ok=True)
    subprocess.check_call([os.environ.get("CC", "cc"), "-O2", "-DHYBRID_STATIC", "-w", "-I", ROOT, source,
                           "-o", PROGRAM, "-lm"])


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            return next(line.split(":")[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--isa", default="")
    a = parser.parse_args()
    built()
    print("%s, %s, rank %d, %d runs of %d rounds" %
          (os.path.basename(a.model), processor(), a.rank, a.runs, a.rounds))
    print("\n| threads | ms of a step without | q and v | all | all as F16 | all as F32 |\n|---|---|---|---|---|---|")
    for threads in a.threads.split(","):
        runs = []
        for _ in range(a.runs):
            line = subprocess.check_output([PROGRAM, a.model, threads, str(a.rank), str(a.rounds), a.isa])
            runs.append(json.loads(line))
        row = ["%.2f" % statistics.median(r["none"]["ms"] for r in runs)]
        for outfit in ("q and v", "all", "all as F16", "all as F32"):
            more = sorted(100 * r[outfit]["more"] for r in runs)
            row.append("%+.1f %% (%+.1f to %+.1f)" % (statistics.median(more), more[0], more[-1]))
        print("| %s | %s |" % (threads, " | ".join(row)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
