#!/usr/bin/env python3
"""venv: the Python packages that reference numbers and the benchmark need, in an environment outside the repository.

    python3 tests/venv.py oracles     makes tests/oracle/data anew: runs tests/oracle/make_*.py
    python3 tests/venv.py bench       runs tests/bench/bench.py (what follows are its options)
    python3 tests/venv.py bench-train runs tests/bench/bench_train.py
    python3 tests/venv.py bench-grammar  runs tests/bench/bench_grammar.py
    python3 tests/venv.py bench-batch    runs tests/bench/bench_batch.py

The environment is made once (about 7 minutes) in ~/.cache/hybrid/venv; HYBRID_VENV names another place. Neither the
library nor its tests need it.
"""
import glob
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.environ.get("HYBRID_VENV") or os.path.join(os.path.expanduser("~"), ".cache", "hybrid", "venv")
PYTHON = os.path.join(VENV, "bin", "python")
IMPORTS = "import torch, transformers, gguf, tokenizers, tiktoken, jinja2, sentencepiece, unicodedata2, llama_cpp"


def requirements():
    with open(os.path.join(ROOT, "tests", "oracle", "requirements.txt"), encoding="utf-8") as f:
        return [line.split("#")[0].strip() for line in f if line.split("#")[0].strip()]


def run(command, why):
    print("+ " + " ".join(command), flush=True)
    if subprocess.run(command, cwd=ROOT).returncode:
        sys.exit("venv: " + why)


def ready():
    return os.path.exists(PYTHON) and subprocess.run([PYTHON, "-c", IMPORTS], stdout=subprocess.DEVNULL,
                                                     stderr=subprocess.DEVNULL).returncode == 0


def prepare():
    if ready():
        return
    print("making the environment %s (once, about 7 minutes)" % VENV, flush=True)
    offline = "pip did not succeed (its words are above). Is this machine offline? Then this step has to wait."
    if not os.path.exists(PYTHON):
        run([sys.executable, "-m", "venv", VENV],
            "python3 could not make an environment (Debian: apt-get install python3-venv)")
    torch = [r for r in requirements() if r.startswith("torch=")]
    rest = [r for r in requirements() if not r.startswith("torch=")]
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check", "install"]
    run(pip + torch, offline)
    run(pip + rest, offline)
    if not ready():
        sys.exit("venv: the packages are installed, but this fails: %s -c '%s'" % (PYTHON, IMPORTS))


def main():
    goal = sys.argv[1] if len(sys.argv) > 1 else ""
    scripts = {"oracles": sorted(glob.glob(os.path.join(ROOT, "tests", "oracle", "make_*.py"))),
               "bench": glob.glob(os.path.join(ROOT, "tests", "bench", "bench.py")),
               "bench-train": glob.glob(os.path.join(ROOT, "tests", "bench", "bench_train.py")),
               "bench-batch": glob.glob(os.path.join(ROOT, "tests", "bench", "bench_batch.py")),
               "bench-grammar": glob.glob(os.path.join(ROOT, "tests", "bench", "bench_grammar.py"))}.get(goal)
    if scripts is None:
        sys.exit(__doc__)
    if not scripts:
        sys.exit("venv: there is no script for 'make %s' yet" % goal)
    prepare()
    for script in scripts:
        run([PYTHON, os.path.relpath(script, ROOT)] + sys.argv[2:], "%s failed" % os.path.relpath(script, ROOT))
    if goal == "oracles":
        run([PYTHON, "tests/oracle/make_models.py", "--check"], "a reference model is not the same to llama.cpp")


if __name__ == "__main__":
    sys.exit(main())
