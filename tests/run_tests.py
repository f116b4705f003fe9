#!/usr/bin/env python3
"""run_tests: builds and runs tests/test_*.c, several at a time, then the gates, and sums their last lines.

    python3 tests/run_tests.py                  everything; the last line is: N passed, N failed, N skipped
    python3 tests/run_tests.py gguf             the tests whose name holds a word, without the gates
    python3 tests/run_tests.py --plain gguf     not under the sanitizers

Every test is one C program, built up to three times: as a user would (cc -O2; -O1 where it says [emu]), with
AddressSanitizer and UBSan, and, where its first comment says [tsan], with ThreadSanitizer. One that says [emu] runs
on the emulated GPU of tests/emu; [emu-reordered] and [emu-check] run it there once more, with another order of threads
and copies, and with every access of the kernels checked. '[no-asan]' there keeps a test from the second.
HYBRID_SANITIZER (address, thread, or emulator in the gate that runs tests under qemu) tells a test that it is slow
here, so that it can do less.
What was built is kept in build/tests until a source changes.
Compiling the library takes longer than most tests run. So a test that includes interface.h (it sees the library as a
program does) or private.h (it also calls private functions) is linked with tests/library.c, which is compiled once for
all of them in each of the three ways, with all kernels and the GPU's half; and so is one that includes hybrid_cuda.h.
The library's private functions are open to the tests (opened.py). The fuzzers of tests/fuzz share one such library,
too, instrumented as they are, without the kernels and the training.
The library just as a user compiles it, and what that computes, is for the gates: replay, examples, readme, cases.
The others hold the library themselves, as one translation unit, without the optimizer: with HYBRID_STATIC (what a test
does not call is not compiled) and, under the sanitizers and where the first comment says [no-simd], without the kernels
of this machine.

HYBRID_NO_SKIP   a skip is a failure (.ci/run sets it)     HYBRID_DATA     test data (default ../shared/data)
HYBRID_MODELS    real models (default models)              HYBRID_JOBS     how many at a time (default: the processors)
HYBRID_FUZZ_SECONDS   how long each fuzzer runs (default 5)
HYBRID_SHARE     0/1: tests run whole under the sanitizers, under qemu and in each mode of the emulator, too
"""
import argparse
import functools
import glob
import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import costs
import opened

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join("build", "tests")
JOBS = int(os.environ.get("HYBRID_JOBS", "0")) or os.cpu_count() or 1
LAST_LINE = re.compile(r"^(\d+) passed, (\d+) failed, (\d+) skipped$")
SANITIZERS = {
    "asan": ["-O1", "-g1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
    "tsan": ["-O1", "-g1", "-fsanitize=thread"],
    "fuzz": ["-O1", "-g1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"],
}
TIME_LIMIT = {"plain": 420, "asan": 600, "tsan": 420}
LONG = "real", "train", "unchanged", "sampler", "random", "models"
EMU, EMU_CACHE = os.path.join("build", "emu"), os.path.join("build", "emu-cache")
EMU_MODES = {"emu": {}, "emu-reordered": {"EMU_ORDER": "lifo", "EMU_DEFER": "1"}, "emu-check": {"EMU_CHECK": "1"}}
NO_SIMD = ["-DHYBRID_NO_SIMD"]
STATIC = ["-DHYBRID_STATIC"]
READERS = ["-DHYBRID_NO_TRAIN", "-DHYBRID_NO_PREDICT"]      # what is fuzzed: all that reads foreign bytes
# What a test gets wrong of a private function that has changed; it has no other warnings to give here.
STALE = ["-Werror=incompatible-pointer-types", "-Werror=int-conversion", "-Werror=implicit-function-declaration"]
# Tests run whole as a user would build them, and in the emulator's first mode; of those that say what their parts are
# (test_wanted) a share runs in the other ways, one that changes with the sources. HYBRID_SHARE=0/1: everything in each.
SHARES = 4
lock = threading.Lock()


def say(text):
    with lock:
        print(text, flush=True)


class Sum:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, passed, failed, skipped):
        with lock:
            self.passed, self.failed, self.skipped = self.passed + passed, self.failed + failed, self.skipped + skipped

    def skip(self, what, why):
        if os.environ.get("HYBRID_NO_SKIP"):
            say("FAILED (a skip, where none is allowed) %s: %s" % (what, why))
            self.add(0, 1, 0)
        else:
            say("skipped %s: %s" % (what, why))
            self.add(0, 0, 1)


# ---- what this machine offers ----------------------------------------------------------------------------------------

def sanitizer(kind, compilers):
    """(command prefix of the compiler, prefix of the program), or a sentence that says why not."""
    why = "no compiler here offers it (tests/setup.sh installs clang)"
    with tempfile.TemporaryDirectory() as scratch:
        source, program = os.path.join(scratch, "a.c"), os.path.join(scratch, "a")
        with open(source, "w") as f:
            f.write("#include <stddef.h>\nint LLVMFuzzerTestOneInput(const unsigned char *p, size_t n) { return !p && "
                    "n; }\n" if kind == "fuzz" else
                    "#include <stdlib.h>\nint main(void) { char *p = (char *)malloc(4); p[3] = 0; free(p); return 0; "
                    "}\n")
        for compiler in compilers:
            if not shutil.which(compiler):
                continue
            if subprocess.run([compiler] + SANITIZERS[kind] + [source, "-o", program], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode:
                continue
            # Some kernels place memory where ThreadSanitizer cannot have it, unless addresses are not randomized.
            for prefix in ([], ["setarch", os.uname().machine, "-R"]):
                if prefix and not shutil.which(prefix[0]):
                    continue
                run = [program, "-runs=1"] if kind == "fuzz" else [program]
                if subprocess.run(prefix + run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0:
                    return [compiler] + SANITIZERS[kind], prefix
            why = "%s builds such programs, but they do not run on this machine" % compiler
    return why


# ---- building and running --------------------------------------------------------------------------------------------

def stamp_of(source, command):
    """Changes when anything changes that the program is made of."""
    digest = hashlib.sha256(" ".join(command).encode())
    folder = os.path.dirname(source)
    patterns = ("src/**/*", "hybrid*.h", folder + "/*.h", "tests/*.h", "tests/*.inc", "tests/opened.py")
    files = [source] + [path for pattern in patterns for path in glob.glob(pattern, recursive=True)]
    for path in sorted(set(files)):
        if os.path.isfile(path):
            with open(path, "rb") as f:
                digest.update(path.encode() + b"\0" + hashlib.sha256(f.read()).digest())
    return digest.hexdigest()


def build(source, command, program, more=()):
    """None, or what the compiler said."""
    command = command + ["-I.", "-Itests", source, "-o", program] + list(more or ["-lm", "-lpthread"])
    stamp, mark = stamp_of(source, command), program + ".stamp"
    if os.path.exists(program) and os.path.exists(mark) and open(mark).read() == stamp:
        return None
    status, out, *used = costs.run(command)
    costs.note(*used, "compile " + os.path.basename(program))
    if status:
        return "%s\n%s" % (" ".join(command), out.decode("utf-8", "replace"))
    with open(mark, "w") as f:
        f.write(stamp)
    return None


@functools.lru_cache(None)
def library_lock(program):
    return threading.Lock()


@functools.lru_cache(None)
def running_lock(name):
    """One variant of a test runs at a time: they write the same files."""
    return threading.Lock()


def build_library(kind, command):
    """(path, None or what the compiler said) of the library as an object: whoever comes first builds it, the others
    wait."""
    library = os.path.join(BUILD, "library-%s.o" % kind)
    source = os.path.join(opened.HELD, "tests", *(["fuzz"] if kind == "fuzz" else []), "library.c")
    with library_lock(library):
        return library, build(source, command + ["-c"], library, ["-w"])


def build_with_library(source, kind, command, program):
    """The library is compiled at -O2; a test itself at -O1, but where it is about the kernels and computes as much
    beside them ([simd])."""
    library, words = build_library(kind, command)
    with open(source, encoding="utf-8") as f:
        head = f.read(2000)
    own = command + ([] if kind != "plain" or "[simd]" in head else ["-O1"]) + STALE
    if not words and '\n#include "private.h"' in head and "[simd]" not in head:
        read_once(kind, own)
    return words or build(os.path.join(opened.USED, source), own, program, [library, "-lm", "-lpthread"])


def read_once(kind, command):
    """Keeps what gcc makes of private.h, beside it, for all tests of a kind: most of what it compiles of a test is in
    there. gcc leaves it aside where a test defines something before, and what fails here it says of the test."""
    header = os.path.join(opened.USED, "tests", "private.h")
    if "clang" in os.path.realpath(shutil.which(command[0]) or command[0]):
        return                                                   # which takes no such header unasked
    os.makedirs(header + ".gch", exist_ok=True)
    with library_lock(header + kind):
        build(header, command + ["-x", "c-header"], os.path.join(header + ".gch", "private-" + kind), ["-w"])


def tail(text, lines=40):
    rows = text.rstrip().split("\n")
    return "\n".join("    " + row for row in (rows if len(rows) <= lines else ["..."] + rows[-lines:]))


def build_emulator():
    """None, or what went wrong."""
    status, out, *used = costs.run([sys.executable, "tests/emu/build.py", "--to", EMU])
    costs.note(*used, "compile the emulated GPU")
    return out.decode("utf-8", "replace") if status else None


@functools.lru_cache(None)
def share():
    """The part of a test's parts that runs in ways that are slower."""
    digest = hashlib.sha256()
    for path in ("hybrid.h", "hybrid_cuda.h"):
        with open(os.path.join(ROOT, path), "rb") as f:
            digest.update(f.read())
    return os.environ.get("HYBRID_SHARE", "%d/%d" % (int(digest.hexdigest(), 16) % SHARES, SHARES))


def emulated(environment, mode):
    """The environment of a test on the emulated GPU. Kernels that one run compiled serve the next, in the same mode, of
    the same emulator."""
    stamp = os.path.join(EMU, "stamp")
    kept = hashlib.sha256(open(stamp, "rb").read()).hexdigest()[:12] if os.path.exists(stamp) else "none"
    more = {"HYBRID_CUDA_PATH": os.path.abspath(EMU),
            "HYBRID_CUDA_CACHE": os.path.abspath(os.path.join(EMU_CACHE, kept + "-" + mode))}
    return dict(environment, **more, **EMU_MODES[mode])


def run_test(job, total, environment):
    """Builds a test, and runs it in each of its modes."""
    source, variant, command, prefix, modes, kind = job
    name = os.path.basename(source)[:-2]
    program = os.path.join(BUILD, "%s-%s" % (name, variant))
    start = time.time()
    words = build_with_library(source, kind, command, program) if kind else build(source, command, program)
    if words:
        say("FAILED %s (%s): it does not compile:\n%s" % (name, variant, tail(words)))
        return total.add(0, 1, 0)
    for mode in modes:
        words = [w for w in (variant, mode) if w and w != "plain"]
        title = "%s (%s)" % (name, ", ".join(words)) if words else name
        with running_lock(name):
            run_program(title, variant, program, prefix, start, total,
                        emulated(environment, mode) if mode else dict(environment, HYBRID_DEVICE="cpu"),
                        share() if variant != "plain" or mode not in (None, "emu") else "0/1")
        start = time.time()


def run_program(title, variant, program, prefix, start, total, environment, of_parts):
    built = time.time()
    env = dict(environment, HYBRID_SHARE=of_parts)
    if variant != "plain":
        env["HYBRID_SANITIZER"] = {"asan": "address", "tsan": "thread"}[variant]
        env.setdefault("ASAN_OPTIONS", "allocator_may_return_null=1:detect_stack_use_after_return=0")
        env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    status, out, seconds, megabytes = costs.run(prefix + [program], timeout=TIME_LIMIT[variant], env=env)
    out = out.decode("utf-8", "replace")
    costs.note(seconds, megabytes, "run " + title)
    if status is None:
        status = "none: still running after %d s" % TIME_LIMIT[variant]
    rows = out.rstrip().split("\n")
    sums = [row for row in map(LAST_LINE.match, rows) if row]
    # a sanitizer may speak after it, about leaks
    last = sums[-1] if sums and (rows[-1] == sums[-1].group() or status) else None
    if not last:
        say("FAILED %s: it did not reach its end (exit status %s):\n%s" % (title, status, tail(out)))
        return total.add(0, 1, 0)
    counts = [int(n) for n in last.groups()]
    if status != 0 and counts[1] == 0:
        counts[1] = 1
    if counts[2] and "HYBRID_CUDA_PATH" in env and os.environ.get("HYBRID_NO_SKIP"):
        say("FAILED %s: it skipped, and the emulated GPU, which it was given, is no processor that could be missing" %
            title)
        counts[1] += 1
    if counts[1]:
        say("FAILED %s (exit status %s):\n%s" % (title, status, tail(out)))
    for row in rows:
        if row.startswith("skipped"):
            say("%s: %s" % (title, row))
    say("  %-34s %6d passed, %d failed, %d skipped   %5.1f s + %.1f s, %.1f s of processors" %
        (title, *counts, built - start, time.time() - built, seconds))
    total.add(*counts)


def run_fuzzer(source, command, seconds, total):
    name = os.path.basename(source)[:-2]
    program, corpus = os.path.join(BUILD, name), os.path.join(BUILD, name + "-corpus")
    # tests/fuzz/fuzz_gguf.c may have seeds in tests/fuzz/fuzz_gguf/
    seeds = source[:-2]
    words = build_with_library(source, "fuzz", command, program)
    if words:
        say("FAILED %s: it does not compile:\n%s" % (name, tail(words)))
        return total.add(0, 1, 0)
    os.makedirs(corpus, exist_ok=True)
    status, out, *used = costs.run([os.path.abspath(program), "-max_total_time=%d" % seconds, "-rss_limit_mb=3000",
                           "-timeout=10", "-print_final_stats=1",
                           "-artifact_prefix=%s-crash-" % os.path.abspath(program), os.path.abspath(corpus)] +
                           ([os.path.abspath(seeds)] if os.path.isdir(seeds) else []))
    out = out.decode("utf-8", "replace")
    costs.note(*used, "run " + name)
    count = re.search(r"number_of_executed_units: (\d+)", out)
    if status:
        say("FAILED %s:\n%s" % (name, tail(out)))
        return total.add(0, 1, 0)
    say("  %-34s %s executions in %d s, no finding" % (name, count.group(1) if count else "?", seconds))
    total.add(1, 0, 0)


def fuzz_jobs(total, names, seconds):
    """Calls that build the library of the fuzzers, and run one each."""
    sources = [s for s in sorted(glob.glob("tests/fuzz/fuzz_*.c")) if not names or any(n in s for n in names)]
    if not sources:
        return []
    offer = sanitizer("fuzz", ["clang"])
    if isinstance(offer, str):
        total.skip("the fuzzers", offer)
        return []
    opened.make()
    command = offer[0] + NO_SIMD + READERS
    return ([functools.partial(build_library, "fuzz", command)] +
            [functools.partial(run_fuzzer, source, command, seconds, total) for source in sources])


def run_jobs(jobs):
    with ThreadPoolExecutor(JOBS) as pool:
        list(pool.map(lambda job: job(), jobs))


def main():
    parser = argparse.ArgumentParser(description="Builds and runs the tests.",
                                     formatter_class=argparse.RawDescriptionHelpFormatter, epilog=__doc__)
    parser.add_argument("names", nargs="*",
                        help="only tests whose name holds one of these words; the gates are left out")
    parser.add_argument("--plain", action="store_true", help="not under the sanitizers")
    parser.add_argument("--fuzz", action="store_true", help="only the fuzzers")
    args = parser.parse_args()
    os.chdir(ROOT)
    os.makedirs(BUILD, exist_ok=True)
    start, total = time.time(), Sum()
    seconds = int(os.environ.get("HYBRID_FUZZ_SECONDS", "5"))
    if args.fuzz:
        run_jobs(fuzz_jobs(total, args.names, seconds))
    else:
        run_all(args, total, seconds)
    for line in costs.table():
        say(line)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    say("all of it took %.0f s, and %.0f s of processors" % (time.time() - start, used.ru_utime + used.ru_stime))
    say("%d passed, %d failed, %d skipped" % (total.passed, total.failed, total.skipped))
    return total.failed != 0


def turn(job):
    """The libraries first, what needs them last: nobody waits for them meanwhile. Of those the long ones first: at the
    end no processor waits for another. Tests of the GPU under a sanitizer when the kernels are compiled."""
    source, variant, _, _, modes, kind = job
    return kind is not None, modes != [None] and variant != "plain", not any(name in source for name in LONG)


def run_all(args, total, seconds):
    environment = dict(os.environ)
    data = environment.get("HYBRID_DATA", os.path.join("..", "shared", "data"))
    if not os.path.isdir(data):
        say("note: there is no test data at %s (HYBRID_DATA names another place): the tests that need it say so and "
            "are skipped" % data)
        # vectors that are not here are not a tool that can be installed
        environment.pop("HYBRID_NO_SKIP", None)

    compiler = os.environ.get("CC", "cc").split()
    offers = {} if args.plain else {"asan": sanitizer("asan", ["gcc", "clang"]),
                                    "tsan": sanitizer("tsan", ["gcc", "clang"])}
    jobs, emulator = [], []
    for source in sorted(glob.glob("tests/test_*.c")):
        if args.names and not any(n in os.path.basename(source) for n in args.names):
            continue
        with open(source, encoding="utf-8") as f:
            head = f.read(2000)
        linked = re.search(r'^#include "(interface|private|predict_own|\.\./hybrid_cuda)\.h"', head, re.M) is not None
        modes = [mode for mode in EMU_MODES if "[%s]" % mode in head]
        if modes and not emulator:
            emulator.append(build_emulator())
        if modes and emulator[0]:
            total.skip(os.path.basename(source), "the emulated GPU could not be built: " + emulator[0])
            continue
        jobs.append((source, "plain", compiler + ["-O2" if linked else "-O1" if modes else "-O0"] +
                     (NO_SIMD + STATIC if not linked and (modes or "[no-simd]" in head) else []), [],
                     modes or [None], "plain" if linked else None))
        for variant, offer in offers.items():
            if (variant == "tsan" and "[tsan]" not in head) or (variant == "asan" and "[no-asan]" in head):
                continue
            if isinstance(offer, str):
                total.skip("%s under %s" % (os.path.basename(source), variant), offer)
            else:
                jobs.append((source, variant, offer[0] + ([] if linked else STATIC + NO_SIMD), offer[1],
                             modes[:1] or [None], variant if linked else None))
    if not jobs:
        say("FAILED: no test fits %s" % args.names)
        total.add(0, 1, 0)
    say("in slower ways those run of a test's parts that are in the share %s (HYBRID_SHARE=0/1: all)" % share())
    commands = {job[5]: job[2] for job in jobs if job[5]}
    opened.make()
    run_jobs([functools.partial(build_library, kind, commands[kind]) for kind in sorted(commands)]
             + ([] if args.names else fuzz_jobs(total, [], seconds))
             + [functools.partial(run_test, job, total, environment) for job in sorted(jobs, key=turn)])
    if not args.names:
        told = {} if total.failed else {"HYBRID_TESTS_PASSED": "1"}
        told[costs.NOTES] = os.path.abspath(os.path.join(BUILD, "costs-of-gates"))
        open(told[costs.NOTES], "w").close()
        gates = subprocess.Popen([sys.executable, "tests/gates/gates.py"], env=dict(os.environ, **told),
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        row = ""
        for raw in gates.stdout:
            if row:
                say(row)
            row = raw.decode("utf-8", "replace").rstrip("\n")
        gates.wait()
        costs.read(told[costs.NOTES])
        last = LAST_LINE.match(row)
        if last:
            total.add(*[int(n) for n in last.groups()])
        else:
            say("FAILED: the gates did not reach their end: %s" % row)
            total.add(0, 1, 0)


if __name__ == "__main__":
    sys.exit(main())
