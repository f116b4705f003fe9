#!/usr/bin/env python3
"""gpu_check: what a machine with an NVIDIA GPU says about hybrid, in one command: the tests, compute-sanitizer, speeds
beside their ceilings and their peers. Writes FOLDER/report.md, and FOLDER/raw.json with everything measured. Python's
standard library is enough.

    make gpu-check TO=FOLDER                                                     everything
    python3 tests/gpu_check.py --to FOLDER --only suite,sanitizer                the tests: about 5 minutes
    python3 tests/gpu_check.py --to OTHER --only bench --llama BUILT             the benchmark: about 8 minutes
    python3 tests/gpu_check.py --to FOLDER --merge FOLDER/raw.json OTHER/raw.json    one report of several runs
    python3 tests/gpu_check.py --to FOLDER --emulated --quick                    tries this script on the emulated GPU:
    no number in it is a speed

A step that fails or runs out of time is written down and the next one begins; the report is written anew after each, so
that one who is killed leaves what was measured. torch is used when python3 has it (--torch names another python),
llama.cpp when build_llama_cuda.sh made it. Nothing is fetched.

--models FOLDER   where model files of random weights are made and removed, 15 GB at a time (default: /dev/shm if it has
the room)
--limit SECONDS   nothing runs longer (default 540)      --shapes qwen2.5-0.5b   some of the benchmark, where time is
short
HYBRID_DATA       test data, for the models of the suite (models/stories260K)      HYBRID_COMMIT  
                  what to write down where there is no .git
"""
import argparse
import glob
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
# noqa: E402  building, and the last line of a test
import run_tests

BENCH = os.path.join("tests", "bench")
STORY = os.path.join("examples", "data", "stories260K-q8_0.gguf")     # any vocabulary will do
LAYOUT = "test_cuda_layout"
ALONE = [LAYOUT, "test_cuda_device"]                # first; and one that looks at how much memory is free
SHAPES = ["qwen2.5-0.5b", "llama-7b"]
MIXES = ["F16", "Q8_0", "Q4_K_M"]
GOALS = {"decode": {"qwen2.5-0.5b": 60, "llama-7b": 80}, "prompt": 60, "cold": 3.0, "warm": 0.15}
SANITIZED = [("layout", [LAYOUT]), ("ops", ["test_cuda_ops"]), ("products", ["test_cuda_matmul"]),
             ("a model", ["bench_cuda", "model", "{model}", "{cache}", "1,4", "40", "4", "1"])]
TOOLS = ["memcheck", "racecheck", "initcheck"]


def say(text):
    print("gpu-check %5.0f s  %s" % (time.time() - STARTED, text), file=sys.stderr, flush=True)


STARTED = time.time()


class Check:
    """What is known so far, and how to find out more."""

    def __init__(self, args):
        self.args = args
        self.raw = {"emulated": args.emulated, "quick": args.quick, "only": args.only, "machine": {}, "build": [],
                    "suite": [], "sanitizer": [], "bench": [], "failures": []}
        self.build_to = os.path.join("build", "gpu-check", "programs")
        self.scratch = tempfile.mkdtemp(prefix="hybrid-gpu-check-")
        # "" is as good as unset, but for a test that would look for the emulator by itself
        emulator = os.path.abspath(os.path.join("build", "emu")) if args.emulated else ""
        self.environment = dict(os.environ, HYBRID_CUDA_PATH=emulator,
                                HYBRID_CUDA_CACHE=os.path.join(self.scratch, "kernels"))
        for name in ("HYBRID_DEVICE", "HYBRID_NO_SKIP", "CUDA_LAUNCH_BLOCKING"):
            self.environment.pop(name, None)

    def left(self):
        return self.args.limit - (time.time() - STARTED)

    def fail(self, where, why):
        say("FAILED %s: %s" % (where, why.strip().split("\n")[-1][:200]))
        self.raw["failures"].append({"where": where, "why": why.strip()[-3000:]})

    def step(self, name, function, *more):
        """Runs a part; whatever goes wrong in it stands in the report."""
        if self.left() < 5:
            return self.fail(name, "not begun: the time of this run is used up")
        say(name)
        try:
            function(*more)
        except Exception:
            self.fail(name, traceback.format_exc())
        self.write()

    def run(self, command, limit, environment=None):
        """(exit status or None when it ran out of time, its output, what it said on stderr, seconds)"""
        start = time.time()
        limit = max(1, min(limit * (4 if self.args.emulated else 1), self.left()))
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL,
                                     env=environment or self.environment, start_new_session=True)
            try:
                status = child.wait(limit)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, 9)
                child.wait()
                status = None
            texts = []
            for f in (out, err):
                f.seek(0)
                texts.append(f.read().decode("utf-8", "replace"))
        return status, texts[0], texts[1], time.time() - start

    def lines(self, where, command, limit, **more):
        """The lines of JSON that a program printed, kept in raw["bench"] with more; also those of one that did not
        reach its end."""
        status, out, err, seconds = self.run(command, limit, more.pop("environment", None))
        rows = []
        for line in out.split("\n"):
            if line.startswith("{"):
                try:
                    rows.append(dict(json.loads(line), **more))
                except ValueError:
                    pass
        self.raw["bench"] += rows
        if status is None:
            self.fail(where, "stopped after %.0f s" % seconds)
        elif status:
            self.fail(where, "exit status %d: %s" % (status, (err or out)[-1500:]))
        for row in rows:
            if row["what"] == "failed":
                self.fail("%s, %s, %s" % (where, row["mode"], row["test"]), row["why"])
        say("  %s: %d numbers in %.0f s" % (where, len(rows), seconds))
        return rows

    def write(self):
        os.makedirs(self.args.to, exist_ok=True)
        self.raw["seconds"] = round(time.time() - STARTED, 1)
        with open(os.path.join(self.args.to, "raw.json"), "w") as f:
            json.dump(self.raw, f, indent=1)
        with open(os.path.join(self.args.to, "report.md"), "w") as f:
            f.write(report(self.raw))


# ---- what is there ---------------------------------------------------------------------------------------------------

def first_line(command, pattern="."):
    try:
        text = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=30).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next((line.strip() for line in text.split("\n") if re.search(pattern, line)), "")


def tool(name):
    folders = ("/usr/local/cuda/bin/", "/usr/local/cuda-*/bin/", "/usr/local/cuda*/compute-sanitizer/")
    places = [place for folder in folders for place in glob.glob(folder + name)]
    return shutil.which(name) or (places[0] if places else None)


def gpu_now():
    names = ["name", "driver_version", "memory.total", "memory.used", "clocks.sm", "clocks.mem", "power.draw",
             "power.limit", "temperature.gpu"]
    text = first_line(["nvidia-smi", "--query-gpu=" + ",".join(names), "--format=csv,noheader"])
    return dict(zip(names, [v.strip() for v in text.split(",")])) if text.count(",") == len(names) - 1 else {}


def look(check):
    with open("hybrid.h", encoding="utf-8") as f:
        source_id = re.search(r"source id (\w+)", f.read(20000))
    commit = os.environ.get("HYBRID_COMMIT") or first_line(["git", "rev-parse", "HEAD"], "^[0-9a-f]{40}$")
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")),
               platform.processor()) if os.path.exists("/proc/cpuinfo") else platform.processor()
    nvcc = tool("nvcc")
    check.raw["machine"] = {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "commit": commit or "unknown (no .git here)",
        "source id": source_id.group(1) if source_id else "?",
        "system": "%s %s" % (platform.system(), platform.release()), "processor": "%s, %d" % (cpu, os.cpu_count() or 0),
        "compiler": first_line(os.environ.get("CC", "cc").split() + ["--version"]),
        "nvcc": first_line([nvcc, "--version"], "release") if nvcc else "none",
        "compute-sanitizer": tool("compute-sanitizer") or "none", "python": platform.python_version(),
        "gpu": {} if check.args.emulated else gpu_now()}
    status, out, err, _ = check.run([os.path.join(check.build_to, "bench_cuda"), "device"], 60)
    if status == 0:
        check.raw["machine"]["device"] = json.loads(out.strip().split("\n")[-1])
    else:
        check.fail("the device", err or out or "no answer in 60 s")


# ---- building --------------------------------------------------------------------------------------------------------

def build(check, name):
    """None, or what went wrong."""
    os.makedirs(check.build_to, exist_ok=True)
    source = os.path.join(BENCH if name.startswith("bench_") else "tests", name + ".c")
    options = ["-O1", "-DHYBRID_NO_SIMD"] if check.args.emulated else ["-O2"]
    # nothing is computed on the processor there
    options += ["-DHYBRID_NO_SIMD", "-DHYBRID_NO_TEXT"] if name == "bench_cuda" else []
    start = time.time()
    command = os.environ.get("CC", "cc").split() + options
    words = run_tests.build(source, command, os.path.join(check.build_to, name))
    if not any(b["program"] == name for b in check.raw["build"]):
        check.raw["build"].append({"program": name, "seconds": round(time.time() - start, 1), "ok": words is None})
        if words:
            check.fail("building " + name, words)
    return words


def suite_names(check):
    names = [os.path.basename(p)[:-2] for p in sorted(glob.glob("tests/test_cuda_*.c"))]
    names = ALONE + [n for n in names if n not in ALONE]
    return [LAYOUT, "test_cuda_jit"] if check.args.quick and check.args.emulated else names


def build_all(check, names):
    with ThreadPoolExecutor(run_tests.JOBS) as pool:
        list(pool.map(lambda name: build(check, name), names))


# ---- the suite, and the sanitizer ------------------------------------------------------------------------------------

def run_test(check, name):
    program = os.path.join(check.build_to, name)
    if not os.path.exists(program):
        return
    status, out, err, seconds = check.run([program], 240)
    rows = (out + err).rstrip().split("\n")
    last = [m for m in map(run_tests.LAST_LINE.match, rows) if m]
    counts = [int(n) for n in last[-1].groups()] if last else [0, 1, 0]
    if status != 0 and not counts[1]:
        counts[1] = 1
    check.raw["suite"].append({"test": name, "passed": counts[0], "failed": counts[1], "skipped": counts[2],
                               "seconds": round(seconds, 1),
                               "skips": [r for r in rows if r.startswith("skipped")][:10],
                               "said": [r.strip() for r in rows if r.startswith("  ")][:40]})
    if counts[1]:
        check.fail(name, "exit status %s\n%s" %
                   ("none: stopped after %.0f s" % seconds if status is None else status, run_tests.tail(out + err)))
    say("  %-24s %d passed, %d failed, %d skipped  %.1f s" % (name, *counts, seconds))


def suite(check):
    names = suite_names(check)
    for name in [n for n in names if n in ALONE]:
        run_test(check, name)
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda name: run_test(check, name), [n for n in names if n not in ALONE]))


def sanitize(check, title, command, kind, program):
    status, out, err, seconds = check.run([program, "--tool", kind, "--error-exitcode", "77"] + command, 100)
    summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: (.*)", out + err)
    found = re.search(r"(\d+) (?:errors|hazards)", summary[-1]) if summary else None
    row = {"what": title, "tool": kind, "seconds": round(seconds, 1), "status": status,
           "summary": summary[-1] if summary else "none",
           "verdict": "stopped after %.0f s" % seconds if status is None else "clean" if status == 0 and found
           and not int(found.group(1)) else "see below"}
    check.raw["sanitizer"].append(row)
    if row["verdict"] == "see below":
        lines = [l for l in (out + err).split("\n") if l.startswith("=========")] or (out + err).split("\n")
        check.fail("compute-sanitizer %s, %s" % (kind, title),
                   "exit status %s, %s\n%s" % (status, row["summary"], "\n".join(lines[:40])))
    say("  %-10s %-10s %s" % (kind, title, row["summary"] if row["verdict"] == "see below" else row["verdict"]))


def sanitizer(check):
    program = tool("compute-sanitizer")
    if not program or check.args.emulated:
        check.raw["sanitizer"].append({"what": "all", "tool": "compute-sanitizer", "seconds": 0, "status": None,
                                       "summary": "",
                                       "verdict": "not run: the GPU is emulated, where tests/emu has a check mode of "
                                                  "its own" if check.args.emulated
                                                  else "not run: it is not installed here"})
        return
    model, cache = os.path.join(check.scratch, "sanitized.gguf"), os.path.join(check.scratch, "sanitized")
    check.run([os.path.join(check.build_to, "bench_cuda"), "make", "tiny", "Q4_K_M", model], 60)
    jobs = []
    for kind in TOOLS:
        for title, command in SANITIZED[:1] if check.args.quick else SANITIZED:
            command = [part.format(model=model, cache=cache) for part in command]
            jobs.append((title, [os.path.join(check.build_to, command[0])] + command[1:], kind))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda job: sanitize(check, *job, program), jobs))


# ---- the benchmark ---------------------------------------------------------------------------------------------------

def model_folder(check):
    if check.args.models:
        return check.args.models
    if not check.args.emulated and os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > 20 << 30:
        return "/dev/shm"
    return check.scratch


def library_folders():
    """Where CUDA's libraries are that llama.cpp was linked with: a toolkit, or the wheels that torch came with."""
    patterns = ["/usr/local/cuda/lib64",
                "/usr/local/cuda/targets/*/lib"] + [os.path.join(p, "nvidia", "*", "lib") for p in sys.path
                                                    if p.endswith("-packages")]
    return [f for pattern in patterns for f in sorted(glob.glob(pattern))]


def sizes(check):
    small = check.args.emulated
    return {"batches": "1,4" if small else "1,8,32", "prompts": "16,40" if small else "512" if check.args.quick
            else "512,4096", "generate": "4" if small else "32",
            "runs": "2" if small or check.args.quick else "5"}


def bench_row(check, shape, mix):
    ours, s = os.path.join(check.build_to, "bench_cuda"), sizes(check)
    path, cache = os.path.join(model_folder(check), "hybrid-%s-%s.gguf" %
                               (shape, mix)), os.path.join(check.scratch, "kernels-%s-%s" % (shape, mix))
    row = {"shape": shape, "mix": mix}
    try:
        if not check.lines("making %s %s" % (shape, mix), [ours, "make", shape, mix, path], 120, **row):
            return
        for start in ("cold", "warm"):
            check.lines("first token of %s %s, %s" % (shape, mix, start), [ours, "first", path, cache, "64"], 90,
                        start=start, peer="hybrid", **row)
        check.lines("%s %s" % (shape, mix), [ours, "model", path, cache, s["batches"], s["prompts"], s["generate"],
                                             s["runs"]], 120, peer="hybrid", **row)
        if check.args.llama:
            environment = dict(check.environment, PYTHONPATH=os.path.abspath(check.args.llama),
                               LD_LIBRARY_PATH=":".join(library_folders() + [os.environ.get("LD_LIBRARY_PATH", "")]))
            cpu = ["--cpu"] if check.args.emulated else []
            check.lines("llama.cpp, %s %s" % (shape, mix),
                        [check.args.torch, os.path.join(BENCH, "peer_llama_cuda.py"), path, "--batches", s["batches"],
                         "--prompts", s["prompts"],
                        "--generate", s["generate"], "--runs", s["runs"]] + cpu, 90, environment=environment, **row)
    finally:
        if os.path.exists(path):
            os.remove(path)


def torch_row(check, what, shape, limit, modes):
    s = sizes(check)
    device = "cpu" if check.args.emulated else "cuda"
    environment = dict(check.environment, TOKENIZERS_PARALLELISM="false")
    more = ["--batches", s["batches"], "--prompts", s["prompts"], "--generate", s["generate"], "--runs", s["runs"],
            "--device", device] + (["--modes", modes] if what == "plain" else [])
    check.lines("torch, %s, %s" % (" ".join((what, modes)).strip(), shape),
                [check.args.torch, os.path.join(BENCH, "peer_torch_cuda.py"), what, shape] + more, limit,
                environment=environment, shape=shape, mix="F16")


def ceilings(check):
    small = check.args.emulated
    if not small:
        check.raw["machine"]["gpu before"] = gpu_now()
    check.lines("ceilings", [os.path.join(check.build_to, "bench_cuda"), "ceilings"] +
                (["8", "96"] if small else ["4096", "8192"]), 90, peer="hybrid", shape="", mix="")
    if not small:
        check.raw["machine"]["gpu after"] = gpu_now()


def train_rows(check, torch):
    """Steps of a GPT-2 of 124 million weights in F32, here and by PyTorch."""
    shape = ["8", "1024", "1", "6"]
    more = dict(what="train", shape="", mix="")
    if build(check, "bench_train"):
        return
    check.lines("training", [os.path.join(check.build_to, "bench_train"), STORY] + shape + ["cuda:0"], 120,
                peer="hybrid", **more)
    for mode in ("eager", "compiled") if torch else ():
        check.lines("training, torch, " + mode, [check.args.torch, os.path.join(BENCH, "peer_torch_train.py")] + shape +
                    [mode, "cuda"], 120, peer="torch, " + mode, **more)


def has_torch(check):
    status, out, err, _ = check.run([check.args.torch, "-c",
                                     "import torch; print(torch.__version__, torch.cuda.is_available())"], 120)
    good = status == 0 and (check.args.emulated or "True" in out)
    if not good:
        check.fail("torch",
                   "%s, so there is no such peer" %
                   ("the torch of %s sees no GPU" % check.args.torch if status == 0
                    else "%s has no torch (%s)" % (check.args.torch, err.strip().split("\n")[-1])))
    return good


def unpack_llama(check):
    folder = os.path.join(check.scratch, "llama")
    shutil.unpack_archive(check.args.llama, folder)
    check.args.llama = folder


def bench(check):
    emulated = check.args.emulated
    if "device" not in check.raw["machine"]:
        return check.fail("the benchmark", "not begun: no device answered")
    shapes = ["tiny"] if emulated else check.args.shapes.split(",") if check.args.shapes else SHAPES[
        :1] if check.args.quick else SHAPES
    check.step("ceilings", ceilings, check)
    if check.args.llama and os.path.isfile(check.args.llama):
        check.step("unpacking llama.cpp", unpack_llama, check)
    for shape in shapes:
        for mix in MIXES:
            check.step("%s %s" % (shape, mix), bench_row, check, shape, mix)
    torch = has_torch(check)
    if torch and not emulated:
        check.step("torch's ceilings", check.lines, "torch, ceilings",
                   [check.args.torch, os.path.join(BENCH, "peer_torch_cuda.py"), "gemm", "8192"], 60)
    if not emulated and not check.args.quick:
        check.step("training", train_rows, check, torch)
    # what may take longest comes last
    for what, modes, limit in (("plain", "graph", 60), ("plain", "compiled", 100), ("transformers", "", 75)):
        for shape in shapes if torch and (not emulated or modes == "graph") else []:
            check.step("torch on the same shape: %s, %s" % (" ".join((what, modes)).strip(), shape), torch_row, check,
                       what, shape, limit, modes)


# ---- the report ------------------------------------------------------------------------------------------------------

def median(row, key):
    return statistics.median(row[key])


def table(head, rows):
    return ["| %s |" % " | ".join(head),
            "|%s" % ("---|" * len(head))] + ["| %s |" % " | ".join(str(c) for c in r) for r in rows] + [""]


class Figures:
    """Numbers as the report shows them. Those that depend on a clock have no meaning on the emulator: there it says
    only that they were measured."""

    def __init__(self, raw):
        self.raw, self.emulated = raw, raw["emulated"]
        self.bandwidth = self.ceiling("copy", "bytes_moved")
        self.rate = self.ceiling("gemm_bf16", "flop")

    def ceiling(self, what, amount, peer="hybrid"):
        row = self.find(what=what, peer=peer)
        return row[amount] / median(row, "seconds") if row else None

    def all(self, **want):
        return [r for r in self.raw["bench"] if all(r.get(k) == v for k, v in want.items())]

    def find(self, **want):
        return next(iter(self.all(**want)), None)

    def clock(self, value, form="%.1f"):
        return "-" if value is None else "emulated" if self.emulated else form % value

    def verdict(self, good):
        return "-" if good is None or self.emulated else "yes" if good else "**no**"

    def best(self, key, rows):
        """(seconds, its row) of the fastest of a peer's ways"""
        rows = [(median(r, key), r) for r in rows if r.get(key)]
        return min(rows, key=lambda x: x[0]) if rows else (None, None)


def share(part, whole):
    return 100 * part / whole if part is not None and whole else None


def report_machine(raw):
    m = raw["machine"]
    d, g = m.get("device", {}), m.get("gpu", {})
    rows = [(k, m.get(k, "?")) for k in ("date", "commit", "source id", "system", "processor", "compiler", "nvcc",
                                         "compute-sanitizer", "python")]
    if d:
        rows = [("GPU", "%s, capability %d.%d, %d multiprocessors, %.1f GiB (%.1f free)" % (d["name"], d["capability"] // 10, d["capability"] % 10, d["multiprocessors"], d["total_bytes"] / 2 ** 30, d["free_bytes"] / 2 ** 30)),
                ("driver", "%s, for CUDA %d.%d (%s)" % (g.get("driver_version", "?"), d["driver_cuda"] // 1000,
                                                        d["driver_cuda"] % 1000 // 10, d["driver_path"])),
                ("NVRTC", "%s, makes %s (%s)" % (d["nvrtc"], d["nvrtc_target"], d["nvrtc_path"])),
                ("cuBLAS", "%s (%s)" % (d["cublas"], d["cublas_path"]))] + rows
    for key in ("gpu before", "gpu after"):
        if m.get(key):
            rows.append((key + " the ceilings",
                         ", ".join("%s %s" % (k, v) for k, v in m[key].items() if k not in ("name", "driver_version"))))
    peers = sorted({"%s %s" % (r["peer"], r["version"]) for r in raw["bench"] if r.get("version")})
    return table(("", ""), rows + ([("peers", ", ".join(peers))] if peers else []))


def report_suite(raw):
    out = []
    if raw["build"]:
        out += ["Built with `%s`, seconds: %s." %
                (os.environ.get("CC", "cc"),
                 ", ".join("%s %s" % (b["program"], "%.0f s" % b["seconds"] if b["ok"] else "**failed**")
                           for b in raw["build"])), ""]
    if raw["suite"]:
        out += table(("test", "passed", "failed", "skipped", "seconds"),
                     [(s["test"], s["passed"], "**%d**" % s["failed"] if s["failed"] else 0, s["skipped"],
                       s["seconds"]) for s in raw["suite"]])
        out += ["- %s: %s" % (s["test"], r) for s in raw["suite"] for r in s["skips"]]
        out += ["", "```"] + ["%s: %s" % (s["test"], r) for s in raw["suite"] for r in s["said"]
                              if s["test"] in ALONE[:1] + ["test_cuda_models"]] + ["```", ""]
    if raw["sanitizer"]:
        out += table(("compute-sanitizer", "what ran", "verdict", "seconds"),
                     [(s["tool"], s["what"],
                       s["verdict"] + (": " + s["summary"] if s["verdict"] == "see below" else ""), s["seconds"])
                       for s in raw["sanitizer"]])
    return out


def report_decode(f, shapes):
    rows, goals = [], []
    for shape, mix in shapes:
        for r in f.all(what="decode", peer="hybrid", shape=shape, mix=mix):
            step, moved = median(r, "seconds_a_step"), r["weight_bytes"] + r["kv_bytes"]
            ideal = moved / f.bandwidth if f.bandwidth else None
            percent = share(ideal, step)
            torch, torch_row_ = f.best("seconds_a_step",
                                       f.all(what="decode", peer="torch", shape=shape, batch=r["batch"]) +
                                       f.all(what="decode", peer="transformers", shape=shape, batch=r["batch"]))
            llama, _ = f.best("seconds_a_step",
                              f.all(what="decode", peer="llama.cpp", shape=shape, mix=mix, batch=r["batch"]))
            goal = GOALS["decode"].get(shape) if r["batch"] == 1 else None
            rows.append((shape, mix, r["batch"], f.clock(r["batch"] / step), "%.3f" % (moved / 1e9),
                         f.clock(percent, "%.0f %%"), f.clock(1e6 * step, "%.0f"),
                         f.clock(1e6 * (step - ideal) if ideal else None, "%.0f"),
                         r["launches_in_graph"] or "%.0f, no graph" % (r["launches_outside"] / r["steps"]),
                         "%d of %d" % (r["graph_replays"], r["steps"]), f.clock(r["batch"] / torch if torch else None),
                         torch_row_["mode"] + ", " + torch_row_["peer"] if torch_row_ else "-",
                         f.clock(r["batch"] / llama if llama else None), "yes" if r["good"] else "**no**"))
            if goal:
                goals.append(("decode %s %s, %% of bandwidth" % (shape, mix), ">= %d" % goal, f.clock(percent, "%.0f"),
                              f.verdict(percent is not None and percent >= goal)))
            for name, peer in (("torch (bf16)", torch), ("llama.cpp", llama)):
                if peer:
                    goals.append(("decode %s %s, batch %d: ahead of %s" % (shape, mix, r["batch"], name), "> 1",
                                  f.clock(peer / step, "%.2f"), f.verdict(peer > step)))
    return table(("shape", "weights", "batch", "tokens/s", "GB read a step", "of bandwidth", "step, µs", "gap, µs",
                  "launches a step", "graph replays", "torch bf16, tokens/s", "its best way",
                  "llama.cpp, tokens/s", "logits sane"), rows) if rows else [], goals


def report_prompt(f, shapes):
    rows, goals = [], []
    for shape, mix in shapes:
        for r in f.all(what="prompt", peer="hybrid", shape=shape, mix=mix):
            t = median(r, "seconds")
            percent = share(r["flop"] / t, f.rate)
            torch, torch_row_ = f.best("seconds", f.all(what="prompt", peer="torch", shape=shape, n=r["n"]) +
                                       f.all(what="prompt", peer="transformers", shape=shape, n=r["n"]))
            llama, _ = f.best("seconds", f.all(what="prompt", peer="llama.cpp", shape=shape, mix=mix, n=r["n"]))
            rows.append((shape, mix, r["n"], r["n_batch"], f.clock(r["n"] / t, "%.0f"), "%.2f" % (r["flop"] / 1e12),
                         f.clock(r["flop"] / t / 1e12, "%.0f"), f.clock(percent, "%.0f %%"), f.clock(1e3 * t, "%.2f"),
                         f.clock(r["n"] / torch if torch else None, "%.0f"), torch_row_["mode"] + ", " +
                         torch_row_["peer"] if torch_row_ else "-", f.clock(r["n"] / llama if llama else None, "%.0f"),
                         "yes" if r["good"] else "**no**"))
        ours = {}
        for r in f.all(what="prompt", peer="hybrid", shape=shape, mix=mix):
            if r["n"] not in ours or median(r, "seconds") < median(ours[r["n"]], "seconds"):
                ours[r["n"]] = r
        for n, r in sorted(ours.items()):                      # our best batch against their best way
            t = median(r, "seconds")
            percent = share(r["flop"] / t, f.rate)
            goals.append(("prompt %s %s, %d tokens, %% of the bf16 product" % (shape, mix, n),
                          ">= %d" % GOALS["prompt"], f.clock(percent, "%.0f"),
                          f.verdict(percent is not None and percent >= GOALS["prompt"])))
            for name, (peer, _) in (("torch (bf16)", f.best("seconds", f.all(what="prompt", peer="torch", shape=shape, n=n) + f.all(what="prompt", peer="transformers", shape=shape, n=n))),
                                    ("llama.cpp",
                                     f.best("seconds",
                                            f.all(what="prompt", peer="llama.cpp", shape=shape, mix=mix, n=n)))):
                if peer:
                    goals.append(("prompt %s %s, %d tokens: ahead of %s" % (shape, mix, n, name), "> 1",
                                  f.clock(peer / t, "%.2f"), f.verdict(peer > t)))
    return table(("shape", "weights", "tokens", "a batch", "tokens/s", "TFLOP", "TFLOP/s", "of the bf16 product", "ms",
                  "torch bf16, tokens/s", "its best way", "llama.cpp, tokens/s", "logits sane"),
                  rows) if rows else [], goals


def report_memory(f, shapes):
    rows, goals = [], []
    for shape, mix in shapes:
        m = f.find(what="memory", shape=shape, mix=mix)
        first = {start: f.find(what="first", shape=shape, mix=mix, start=start) for start in ("cold", "warm")}
        peer = f.find(what="first", peer="llama.cpp", shape=shape, mix=mix)
        cells = [shape, mix]
        cells += ["%.1f" % (m["planned"] / 2 ** 20), "%.1f" % (m["used"] / 2 ** 20),
                  "%.1f" % (m["from_driver"] / 2 ** 20), m["allocations"]] if m else ["-"] * 4
        for start in ("cold", "warm"):
            r = first[start]
            beyond = r["context_s"] + r["seconds"][0] if r else None
            cells += [f.clock(r["load_s"] if r else None, "%.2f"), f.clock(beyond, "%.3f"),
                      f.clock(sum(r["seconds"][1:4]) if r else None, "%.3f"),
                      "%d / %d" % (r["compiled"], r["from_cache"]) if r else "-"]
            if r and shape == SHAPES[0]:
                goals.append(("first token of %s %s beyond loading, %s, s" % (shape, mix, start),
                              "<= %g" % GOALS[start], f.clock(beyond, "%.3f"), f.verdict(beyond <= GOALS[start])))
        cells += [f.clock(peer["load_s"] if peer else None, "%.2f"),
                  f.clock(peer["context_s"] + peer["seconds"][0] if peer else None, "%.3f")]
        rows.append(cells)
        if m:
            goals.append(("memory of %s %s: taken as planned" % (shape, mix), "equal", "%d of %d bytes" %
                          (m["used"], m["planned"]), "yes" if m["used"] == m["planned"] else "**no**"))
    return table(("shape", "weights", "planned, MiB", "taken, MiB", "in blocks, MiB", "allocations", "cold: load, s",
                  "first token, s", "next 3, s", "compiled / cached", "warm: load, s", "first token, s", "next 3, s",
                  "compiled / cached", "llama.cpp: load, s", "first token, s"), rows), goals


def report_train(f):
    """6 operations a weight of a product and token, 7 n_embd n_ctx a layer and token for causal attention."""
    operations, rows = 6 * (12 * 12 * 768 * 768 + 50257 * 768) + 7 * 12 * 768 * 1024, []
    for peer in ("hybrid", "torch, eager", "torch, compiled"):
        speeds = [r["tokens_per_second"] for r in f.all(what="train", peer=peer) if "tokens_per_second" in r][1:]
        best = max(speeds) if speeds else None
        rows.append((peer, f.clock(best, "%.0f"), f.clock(best and best * operations / 1e12, "%.1f")))
    return ["## Training", "",
            "GPT-2 of 124 million weights, F32, 8 sequences of 1024 tokens, AdamW; the best step but the first.",
            ""] + table(("who", "tokens/s", "TFLOP/s"), rows)


def report_bench(raw):
    f = Figures(raw)
    shapes = list(dict.fromkeys((r["shape"], r["mix"]) for r in raw["bench"] if r.get("shape") and r["what"] == "make"))
    if not raw["bench"]:
        return []
    gemm16 = f.ceiling("gemm_f16", "flop")
    out = ["## Ceilings", "", "Through our own queue and cuBLAS, medians of 10, on random numbers."] + [""]
    scaled = lambda x, unit, form: f.clock(x / unit if x else None, form)
    out += table(("what", "measured", "by torch", "known for an H200"),
                 [("copy on the device, read + written", scaled(f.bandwidth, 1e9, "%.0f GB/s"),
                   scaled(f.ceiling("copy", "bytes_moved", "torch"), 1e9, "%.0f GB/s"), "4300 GB/s"),
                  ("bf16 product, 8192 x 8192 x 8192", scaled(f.rate, 1e12, "%.0f TFLOP/s"),
                   scaled(f.ceiling("gemm_bf16", "flop", "torch"), 1e12, "%.0f TFLOP/s"), "770-798 TFLOP/s"),
                  ("f16 product with float32 results", scaled(gemm16, 1e12, "%.0f TFLOP/s"), "-", "")])
    decode, goals_decode = report_decode(f, shapes)
    prompt, goals_prompt = report_prompt(f, shapes)
    memory, goals_memory = report_memory(f, shapes)
    out += ["## Decoding", "",
            "One token of each sequence a step, after 128 positions; medians. A step begins with ids and ends with all "
            "logits on the host (llama.cpp too; torch: with the next ids). "
            "Bytes: every matrix once, and the keys and values of every sequence. The gap is the step less the time in "
            "which the copy moves so many bytes.", ""] + decode
    out += ["## Prompts", "",
            "Medians. FLOP: two for every weight of the layers and token, the output for the last one, and the half of "
            "attention that is not masked. A batch: hybrid's `n_batch` (512 is its default).", ""] + prompt
    out += ["## Memory and first tokens", "",
            "A context of 512 positions. The first token is that of a prompt of 64, counted from a loaded model: "
            "context, kernels, pass. Cold: no kernel is cached; warm: the next process.", ""] + memory
    out += report_train(f)
    out += ["## Goals", ""] + table(("goal", "wanted", "measured", "met"), goals_decode + goals_prompt + goals_memory)
    words = [(r["shape"], r["mix"], r["text"]) for r in raw["bench"] if r["what"] == "warnings"]
    return out + ["- %s %s said: %s" % w for w in words] + ([""] if words else [])


def report(raw):
    failed = sum(s["failed"] for s in raw["suite"])
    out = ["# gpu-check: hybrid on %s" % raw["machine"].get("device", {}).get("name", "a GPU that did not answer"), ""]
    if raw["emulated"]:
        out += ["> **Run on the emulator: no GPU was used.** This report shows that the script works. Where a speed "
                "would stand it says *emulated*;",
                "> ceilings and peers ran on a processor. Nothing here is a result.", ""]
    counts = tuple(sum(s[k] for s in raw["suite"]) for k in ("passed", "failed", "skipped"))
    tests = "%d passed, %d failed, %d skipped" % counts if raw["suite"] else "not run"
    clean = [s for s in raw["sanitizer"] if s["verdict"] == "clean"]
    out += ["Tests: %s%s. compute-sanitizer: %s. %s. It took %.0f s%s." %
            (tests, " (**%d failed**)" % failed if failed else "",
             "%d of %d runs clean" % (len(clean), len(raw["sanitizer"])) if raw["sanitizer"] else "not run",
            "**Failures: %d, listed at the end**" % len(raw["failures"]) if raw["failures"] else "Nothing failed",
            raw.get("seconds", 0), ", with --quick" if raw["quick"] else ""), ""]
    out += report_machine(raw)
    if raw["build"] or raw["suite"] or raw["sanitizer"]:
        out += ["## Tests", ""] + report_suite(raw)
    out += report_bench(raw)
    if raw["failures"]:
        out += ["## What failed", ""]
        for x in raw["failures"]:
            out += ["**%s**" % x["where"], "", "```", x["why"], "```", ""]
    return "\n".join(out)


def merge(check):
    """One set of everything, from several: lists follow each other, and what the first machine says stands."""
    for path in check.args.merge:
        with open(path) as f:
            more = json.load(f)
        for key, value in more.items():
            if isinstance(value, list):
                check.raw[key] += [v for v in value if key != "build" or v not in check.raw[key]]
            elif isinstance(value, dict):
                check.raw[key] = dict(value, **check.raw[key])
            elif key in ("emulated", "quick"):
                check.raw[key] = check.raw[key] or value
    total = sum(json.load(open(path)).get("seconds", 0) for path in check.args.merge)
    check.write()
    check.raw["seconds"] = total
    with open(os.path.join(check.args.to, "report.md"), "w") as f:
        f.write(report(check.raw))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--to", default=os.path.join("build", "gpu-check"), help="folder of the report")
    p.add_argument("--quick", action="store_true", help="less of everything")
    p.add_argument("--emulated", action="store_true", help="on tests/emu, to try this script")
    p.add_argument("--only", default="suite,sanitizer,bench", help="of suite, sanitizer, bench")
    p.add_argument("--torch", default="python3", metavar="PYTHON", help="the python that has torch (and numpy)")
    p.add_argument("--llama", metavar="PATH",
                   help="llama.cpp as build_llama_cuda.sh made it: the folder, or its archive")
    p.add_argument("--models", metavar="FOLDER")
    p.add_argument("--shapes", help="of " + ", ".join(SHAPES))
    p.add_argument("--limit", type=float, default=0)
    p.add_argument("--merge", nargs="+", metavar="RAW", help="only writes one report of several raw.json")
    args = p.parse_args()
    for name in ("to", "llama", "models"):
        if getattr(args, name):
            setattr(args, name, os.path.abspath(getattr(args, name)))
    args.merge = [os.path.abspath(m) for m in args.merge or []]
    args.limit = args.limit or (3600 if args.emulated else 540)
    parts = args.only.split(",")
    if set(parts) - {"suite", "sanitizer", "bench"}:
        p.error("--only takes suite, sanitizer, bench")
    os.chdir(run_tests.ROOT)
    check = Check(args)
    try:
        if args.merge:
            merge(check)
        else:
            if args.emulated:
                words = run_tests.build_emulator()
                if words:
                    check.fail("the emulator", words)
            names = (suite_names(check) if "suite" in parts
                     else []) + ([c[0] for _, c in SANITIZED] if "sanitizer" in parts and not args.emulated else [])
            names = sorted(set(names) | {"bench_cuda"})
            check.step("building %d programs, %d at a time" % (len(names), run_tests.JOBS), build_all, check, names)
            check.step("what is there", look, check)
            if "suite" in parts:
                check.step("the suite", suite, check)
            if "sanitizer" in parts:
                check.step("compute-sanitizer", sanitizer, check)
            if "bench" in parts:
                check.step("the benchmark", bench, check)
    finally:
        shutil.rmtree(check.scratch, ignore_errors=True)
    if not args.merge:
        check.write()
    failures = len(check.raw["failures"])
    print("%s: %d failures" % (os.path.join(os.path.relpath(args.to), "report.md"), failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
