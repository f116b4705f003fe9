#!/usr/bin/env python3
"""bench: hybrid against llama.cpp on this machine, the same files, the same threads, in turn. Prints a Markdown table.

    make bench                                                   everything: a quarter of an hour after the first time
    python tests/bench/bench.py --rows q4_0,smollm2 --threads 1  some rows
    python tests/bench/bench.py --isa avx2                       hybrid held back to a lower ISA; the peer is what it is
    python tests/bench/bench.py --baseline COMMIT                also that commit's header, in the same turns
    python tests/bench/bench.py --repack --rows q4               with the copy that hybrid_model_desc.repack makes
    python tests/bench/bench.py --no-map                         with hybrid_model_desc.no_map: read, not mapped

Model files of real shapes with random weights are made once in ~/.cache/hybrid/bench (HYBRID_BENCH_DIR names another
place; 12 GB); SmolLM2 and Gemma are those of 'make model model-gemma' (HYBRID_MODELS, default models). Each program
runs in a process of its own, ours and the peer's in turn, ROUNDS times; the numbers are medians over all repetitions.
GB/s is bytes of weights times tokens a second, and its percentage is of what bandwidth.c reads with as many threads
just before: from pages of 4 KB, as a mapped file has them; with --repack or --no-map from pages of 2 MB.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CACHE = os.environ.get("HYBRID_BENCH_DIR") or os.path.join(os.path.expanduser("~"), ".cache", "hybrid", "bench")
MODELS = os.environ.get("HYBRID_MODELS") or os.path.join(ROOT, "models")
PEER = os.path.join(HERE, "peer_llama.py")
AMX_OFF = "-DGGML_NATIVE=OFF " + " ".join("-DGGML_%s=ON" % f
                                          for f in "SSE42 AVX AVX2 FMA F16C BMI2 AVX512 AVX512_VBMI AVX512_VNNI "
                                                   "AVX512_BF16".split())

# row: (shape of make_random_gguf.py, its vocabulary, type of llama-quantize) or a file in MODELS
ROWS = {
    "0.5B F16": ("qwen2.5-0.5b", "synthetic:151936", None),
    "0.5B Q8_0": ("qwen2.5-0.5b", "synthetic:151936", "q8_0"),
    "0.5B Q4_0": ("qwen2.5-0.5b", "synthetic:151936", "q4_0"),
    "1B Q4_K_M": ("llama3.2-1b", "synthetic:128256", "q4_k_m"),
    "1B Q6_K": ("llama3.2-1b", "synthetic:128256", "q6_k"),
    "3 layers of Qwen3 30B-A3B Q4_K_M": ("qwen3-a3b-3", "synthetic:8192", "q4_k_m"),
    "SmolLM2 135M Q4_1": "SmolLM2-135M-Instruct.Q4_1.gguf",
    "Gemma 3 270M Q4_K_M": "gemma-3-270m-q4_k_m.gguf",
    "0.5B Q8_0, prompt of 4096": ("qwen2.5-0.5b", "synthetic:151936", "q8_0"),
    "SmolLM2 135M Q4_1, prompt of 4096": "SmolLM2-135M-Instruct.Q4_1.gguf",
}
# tokens of the rows that say so: attention and the float products show there
LONG = 4096


def say(text):
    print(text, file=sys.stderr, flush=True)


def run_json(command, may_crash=False):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode < 0 and may_crash:
        return None
    if done.returncode:
        sys.exit("bench: %s\n%s" % (" ".join(command), done.stderr.decode("utf-8", "replace")[-2000:]))
    return json.loads(done.stdout.decode().strip().split("\n")[-1])


def model_file(row):
    """Path of a row's model, made when it is not there; None: not to be had."""
    spec = ROWS[row]
    if isinstance(spec, str):
        path = os.path.join(MODELS, spec)
        return path if os.path.exists(path) else say("%s: %s is not there (make model model-gemma): left out" %
                                                     (row, path))
    shape, vocabulary, kind = spec
    os.makedirs(CACHE, exist_ok=True)
    base = os.path.join(CACHE, shape + "-f16.gguf")
    path = os.path.join(CACHE, "%s-%s.gguf" % (shape, kind)) if kind else base
    if os.path.exists(path):
        return path
    if not os.path.exists(base):
        say("making %s" % base)
        subprocess.run([sys.executable, os.path.join(HERE, "make_random_gguf.py"), "--preset", shape, "--tokenizer",
                        vocabulary, "-o", base], check=True)
    if kind:
        say("making %s" % path)
        run_json([sys.executable, PEER, "quantize", base, "--type", kind, "--threads", str(os.cpu_count()), "-o",
                  path + ".part"])
        os.replace(path + ".part", path)
    return path


def peer_python(some_model):
    """The Python whose llama.cpp works here. Its AMX code crashes on some virtual machines: there it is built without
    AMX."""
    if run_json([sys.executable, PEER, "bench", some_model, "--threads", "1", "-p", "8", "-n", "1", "-r", "1"],
                may_crash=True):
        return sys.executable, ""
    venv = os.path.dirname(os.path.dirname(sys.executable)) + "-noamx"
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(python) or subprocess.run([python, "-c", "import llama_cpp, numpy"],
                                                    stderr=subprocess.DEVNULL).returncode:
        say("the peer crashes on this machine as built for it (AMX); building it without AMX, once, about 10 minutes: "
            "%s" % venv)
        subprocess.run([os.path.join(sys.base_prefix, "bin", "python3"), "-m", "venv", venv], check=True)
        subprocess.run([os.path.join(venv, "bin", "pip"), "install", "--no-cache-dir", "-q", "numpy",
                        "llama-cpp-python==0.3.36"], check=True, env=dict(os.environ, CMAKE_ARGS=AMX_OFF))
    return python, " built without AMX (with it, it crashes on this machine at the first batch)"


def build(name, libraries, include=ROOT, suffix="", flags=()):
    program = os.path.join(ROOT, "build", name + suffix)
    os.makedirs(os.path.dirname(program), exist_ok=True)
    subprocess.run(["cc", "-O2", "-I" + include, os.path.join(HERE, name + ".c"), "-o", program] + list(flags) +
                   libraries, check=True)
    return program


def build_baseline(commit):
    """bench_model with the header of another commit."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "hybrid.h"), "wb") as f:
            f.write(subprocess.run(["git", "show", commit + ":hybrid.h"], cwd=ROOT, stdout=subprocess.PIPE,
                                   check=True).stdout)
        return build("bench_model", ["-lm"], folder, "-" + commit, ["-DBENCH_BASELINE"])


def measure(command, into):
    """One run of bench_model; its figures join those of earlier rounds."""
    j = run_json(command)
    into["prompt"] += j["prompt"]
    into["gen"] += j["gen"]
    into["load"].append(j["load_ms"])
    into["rss"].append(j["peak_rss_mib"])
    return j


def geometric(values):
    return statistics.geometric_mean(values) if values else 0


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--rows", default="", help="only rows whose name holds one of these words")
    ap.add_argument("--threads", default="1,2")
    ap.add_argument("--rounds", type=int, default=2)
    ap.add_argument("-p", type=int, default=512)
    ap.add_argument("-n", type=int, default=64)
    ap.add_argument("-r", type=int, default=3, help="repetitions in each round")
    ap.add_argument("--isa", default="")
    ap.add_argument("--baseline", default="", help="a commit of hybrid whose header runs in the same turns")
    ap.add_argument("--repack", action="store_true", help="with hybrid_model_desc.repack")
    ap.add_argument("--no-map", action="store_true", help="with hybrid_model_desc.no_map")
    ap.add_argument("-o", "--out", help="also write the table to this file")
    a = ap.parse_args()
    rows = [r for r in ROWS if not a.rows or any(w.lower() in r.lower() for w in a.rows.split(","))]
    files = {r: f for r in rows for f in [model_file(r)] if f}
    if not files:
        sys.exit("bench: no model")
    probe = next((f for r, f in files.items() if "F16" not in r), next(iter(files.values())))
    python, note = peer_python(probe)
    ours, bandwidth = build("bench_model", ["-lm"]), build("bandwidth", ["-lpthread"])
    older = build_baseline(a.baseline) if a.baseline else None
    words = ["repack"] * a.repack + ["no_map"] * a.no_map
    compared, changes = [], {"prompt": [], "gen": []}
    threads = [int(t) for t in a.threads.split(",")]
    lines, ratios, isa, peer_name = [], {"prompt": [], "prompt F16": [], "gen": [], "load": [], "rss": []}, "", ""
    for row, path in files.items():
        n_prompt, repeats = (LONG, 1) if "%d" % LONG in row else (a.p, a.r)
        sizes = [str(n_prompt), str(a.n), str(repeats)]
        for t in threads:
            read = run_json([bandwidth, str(max(threads))] + ["huge"] * bool(words))["read_gb_s_%d" % t]
            got = {"prompt": [], "gen": [], "load": [], "rss": []}
            peer = {"prompt": [], "gen": [], "load": [], "rss": []}
            before = {"prompt": [], "gen": [], "load": [], "rss": []}
            for _ in range(a.rounds):
                j = measure([ours, path, str(t)] + sizes + [a.isa] + words, got)
                isa = j["isa"]
                k = run_json([python, PEER, "bench", path, "--threads", str(t), "-p", sizes[0], "-n", sizes[1], "-r",
                              sizes[2]])
                if older:
                    measure([older, path, str(t)] + sizes + ([a.isa] if a.isa else []), before)
                peer_name = "llama-cpp-python %s" % k["package"]
                q = k["rows"][0]
                peer["prompt"] += q["prompt_tps"]; peer["gen"] += q["gen_tps"]; peer["load"].append(q["load_ms"]); peer[
                    "rss"].append(k["peak_rss_mib"])
            o, p = ({key: statistics.median(v) for key, v in d.items()} for d in (got, peer))
            o["load"], p["load"] = min(got["load"]), min(peer["load"])
            gbs = j["bytes"] * o["gen"] / 1e9
            # a token reads some of the experts only
            moved = "" if "A3B" in row else "%.1f (%.0f %%)" % (gbs, 100 * gbs / read)
            lines.append(
                "| %s | %d | %.0f | %.0f | **%.2f** | %.1f | %.1f | **%.2f** | %s | %.0f / %.0f | %.0f / %.0f |" % (
                row, t, o["prompt"], p["prompt"], o["prompt"] / p["prompt"], o["gen"], p["gen"], o["gen"] / p["gen"],
                moved, o["load"], p["load"], o["rss"], p["rss"]))
            say(lines[-1])
            if older:
                change = {key: statistics.median(got[key]) / statistics.median(before[key]) for key in changes}
                compared.append("| %s | %d | %.1f | %.1f | **%.2f** | %.1f | %.1f | **%.2f** |" % (
                    row, t, statistics.median(before["prompt"]), o["prompt"], change["prompt"],
                    statistics.median(before["gen"]), o["gen"], change["gen"]))
                say(compared[-1])
                for key in changes:
                    changes[key].append(change[key])
            ratios["prompt F16" if "F16" in row else "prompt"].append(o["prompt"] / p["prompt"])
            ratios["gen"].append(o["gen"] / p["gen"])
            ratios["load"].append(o["load"] / p["load"])
            ratios["rss"].append(o["rss"] / p["rss"])
    cpu = next((x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")),
               platform.processor()) if os.path.exists("/proc/cpuinfo") else platform.processor()
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    isa += " (asked for by --isa, a stand-in for a machine that has no more)" if a.isa else ""
    isa += ", repacked weights" * a.repack + ", weights read into memory" * a.no_map
    text = ["%s, %d processors, hybrid's kernels: %s; `cc -O2` (%s); peer: %s%s; %s." %
            (cpu, os.cpu_count(), isa, compiler, peer_name, note, time.strftime("%Y-%m-%d")),
            "Prompt of %d tokens where the row says no other, generation of %d; medians of %d runs, the two programs "
            "in turn; load is the best of %d." % (a.p, a.n, a.rounds * a.r, a.rounds), "",
            "| model | threads | prompt, tokens/s | peer | ratio | generation, tokens/s | peer | ratio | GB/s (of read "
            "bandwidth) | load, ms, ours / peer | peak RSS, MiB, ours / peer |",
            "|---|---|---|---|---|---|---|---|---|---|---|"] + lines + [""]
    for key, words in (("gen", "generation"), ("prompt", "prompt, quantized"), ("prompt F16", "prompt, F16"),
                       ("load", "load time"), ("rss", "peak RSS")):
        if ratios[key]:
            text.append("Ratio of %s: geometric mean %.2f, lowest %.2f, highest %.2f." %
                        (words, geometric(ratios[key]), min(ratios[key]), max(ratios[key])))
    if older:
        text += ["", "Beside commit %s, in the same turns (tokens/s before, now, ratio):" % a.baseline, "",
                 "| model | threads | prompt, before | now | ratio | generation, before | now | ratio |",
                 "|---|---|---|---|---|---|---|---|"] + compared
        text += ["", "Geometric mean: prompts %.2f (lowest %.2f), generation %.2f (lowest %.2f)." % (
            geometric(changes["prompt"]), min(changes["prompt"]), geometric(changes["gen"]), min(changes["gen"]))]
    print("\n".join(text))
    if a.out:
        with open(a.out, "w", encoding="utf-8") as f:
            f.write("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
