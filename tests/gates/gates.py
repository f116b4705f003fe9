#!/usr/bin/env python3
"""gates: what must hold for the library as a whole, besides being right.

    python3 tests/gates/gates.py                  all gates; the last line is: N passed, N failed, N skipped
    python3 tests/gates/gates.py --only leaks     those whose name holds the word
    HYBRID_COSTS=100 ...                          says what a hundred commands cost (tests/costs.py), not 25
    python3 tests/gates/gates.py --prove          injects every known fault into a copy, and expects the gate to see it

A gate is a function that gets a Box and says passed, failed or skipped, as often as it likes. Beside it stand its
faults:
(title, function that damages the copy of the repository whose path it gets). With HYBRID_NO_SKIP a skip is a failure.
"""
import argparse
import atexit
import concurrent.futures
import os
import shutil
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import costs  # noqa: E402
JOBS = int(os.environ.get("HYBRID_JOBS", "0")) or os.cpu_count() or 1

GATES = []      # (name, check, faults)
OBJECTS = {}    # (repository, command, source text) -> [lock, path, exit status, words]: see Box.object
OBJECTS_LOCK = threading.Lock()


def gate(name, faults=()):
    def register(check):
        GATES.append((name, check, list(faults)))
        return check
    return register


# Of the eight seconds to twelve that gcc 12 takes to say what -Wall finds in the header, this one warning takes all but
# one: for each line that it looks at it reads the file anew. clang says it of the header (gate standards), gcc of the
# files that the header is made of (gate rooms).
QUICK = "-Wno-misleading-indentation"

# A program whose text holds the implementation, without it: what is linked with an object that holds it.
LINKED = ["-DHYBRID_IMPLEMENTED", "-DHYBRID_CUDA_IMPLEMENTED"]


def shared_folder(kept=[]):
    with OBJECTS_LOCK:
        if not kept:
            kept.append(tempfile.mkdtemp(prefix="hybrid-gates-"))
            atexit.register(shutil.rmtree, kept[0], ignore_errors=True)
    return kept[0]


class Box:
    """What a gate sees: the repository, an empty folder, the compilers, and where results go."""

    def __init__(self, root, name, quiet=False):
        self.root, self.name, self.quiet = root, name, quiet
        self.tmp = tempfile.mkdtemp(prefix="hybrid-gate-")
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}
        self.lock = threading.Lock()
        self.seconds = 0.0                                       # of processor time that its commands took

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def folder(self, name):
        path = os.path.join(self.tmp, name)
        os.makedirs(path, exist_ok=True)
        return path

    def write(self, name, text):
        path = os.path.join(self.tmp, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def read(self, *parts):
        with open(self.path(*parts), encoding="utf-8") as f:
            return f.read()

    def has(self, tool):
        return shutil.which(tool) is not None

    def run(self, command, cwd=None, timeout=600, **extra):
        """(exit status, stdout and stderr) of a command: a list, or a shell line."""
        return self.timed(command, cwd, timeout, **extra)[:2]

    def timed(self, command, cwd=None, timeout=600, **extra):
        """(exit status, output, processor seconds) of a command and its children: other work on the machine changes it
        little."""
        status, out, seconds, megabytes = costs.run(command, timeout, cwd=cwd or self.tmp,
                                                    shell=isinstance(command, str), **extra)
        words = command if isinstance(command, str) else " ".join(command)
        costs.note(seconds, megabytes, "[%s] %s" % (self.name, words.replace(self.tmp, "").replace(self.root, "")))
        with self.lock:
            self.seconds += seconds
        if status is None:
            return 124, "still running after %d s" % timeout, seconds
        return status, out.decode("utf-8", "replace"), seconds

    def object(self, what, command, text):
        """The path of the object that a compiler's command, without files, makes of a source text; None when it fails
        or has something to say.
        The implementation is compiled once for all gates that ask for the same; a program is linked with it that says
        LINKED. (path, seconds of the processor; 0: it was there)."""
        key = (self.root, tuple(command), text)
        with OBJECTS_LOCK:
            made = OBJECTS.setdefault(key, [threading.Lock(), None, None, None])
        seconds = 0.0
        with made[0]:
            if made[1] is None:
                folder = tempfile.mkdtemp(dir=shared_folder())
                made[1] = os.path.join(folder, "held.o")
                with open(os.path.join(folder, "held.c"), "w", encoding="utf-8") as f:
                    f.write(text)
                made[2], made[3], seconds = self.timed(command + ["-I", self.root, "-c", "held.c", "-o", "held.o"],
                                                       folder)
        _, path, status, words = made
        self.expect(what, status == 0 and not words.strip(), "%s\n%s" % (" ".join(command), words))
        return (path if status == 0 else None), seconds

    def parallel(self, function, items):
        with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
            return list(pool.map(function, items))

    def result(self, kind, what, why=""):
        with self.lock:
            if kind == "skipped" and os.environ.get("HYBRID_NO_SKIP"):
                kind, why = "failed", "a skip, where none is allowed: " + why
            self.counts[kind] += 1
            if not self.quiet and kind != "passed":
                lines = why.strip().split("\n")
                if len(lines) > 24:
                    lines = lines[:20] + ["... %d lines more" % (len(lines) - 20)]
                print("%s [%s] %s: %s" %
                      ("FAILED" if kind == "failed" else "skipped", self.name, what, "\n    ".join(lines)), flush=True)

    def passed(self, what):
        self.result("passed", what)

    def failed(self, what, why):
        self.result("failed", what, why)

    def skipped(self, what, why):
        self.result("skipped", what, why)

    def expect(self, what, ok, why=""):
        self.result("passed" if ok else "failed", what, why)

    def compiles(self, what, command, cwd=None):
        """Runs a compiler; a word from it is a failure, too."""
        status, out = self.run(command, cwd)
        self.expect(what, status == 0 and not out.strip(),
                    "%s\n%s" % (command if isinstance(command, str) else " ".join(command), out))
        return status == 0


def run_gate(entry, root, quiet=False):
    name, check, _ = entry
    box = Box(root, name, quiet)
    start = time.time()
    try:
        check(box)
    except Exception as error:                                   # a broken gate is a closed gate
        box.failed("the gate itself", repr(error))
    finally:
        shutil.rmtree(box.tmp, ignore_errors=True)
    if not quiet:
        print("  gate %-14s %3d passed, %d failed, %d skipped   %5.1f s, %5.1f s of processors"
              % (name, box.counts["passed"], box.counts["failed"], box.counts["skipped"], time.time() - start,
                 box.seconds), flush=True)
    return box.counts


def copy_of(root, target):
    """The files that gates look at."""
    os.makedirs(target)
    for name in ("src", "tests", "examples", ".github"):
        if os.path.isdir(os.path.join(root, name)):
            shutil.copytree(os.path.join(root, name), os.path.join(target, name),
                            ignore=shutil.ignore_patterns("__pycache__", "data"))
    for data in (os.path.join("tests", "oracle", "data"), os.path.join("examples", "data")):
        if os.path.isdir(os.path.join(root, data)):
            os.symlink(os.path.join(root, data), os.path.join(target, data))
    for name in ("hybrid.h", "hybrid_cuda.h", "amalgamate.py", "Makefile", "README.md", "LICENSE"):
        if os.path.exists(os.path.join(root, name)):
            shutil.copy2(os.path.join(root, name), target)


def prove(entries, root):
    """Every gate is green without and red with each of its faults."""
    good = bad = 0
    os.environ.pop("HYBRID_NO_SKIP", None)
    for entry in entries:
        if not entry[2]:
            print("NOT PROVED [%s]: it names no fault" % entry[0])
            bad += 1
            continue
        before = run_gate(entry, root, quiet=True)
        if before["failed"] or not before["passed"]:
            print("NOT PROVED [%s]: without any fault it says %s" % (entry[0], before))
            bad += 1
            continue
        for title, damage in entry[2]:
            scratch = tempfile.mkdtemp(prefix="hybrid-prove-")
            try:
                copy = os.path.join(scratch, "repo")
                copy_of(root, copy)
                damage(copy)
                counts = run_gate(entry, copy, quiet=True)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            red = counts["failed"] > 0
            print("%s [%s] %s" % ("red, as it must be" if red else "NOT SEEN", entry[0], title), flush=True)
            good, bad = good + red, bad + (not red)
    return good, bad, 0


def main():
    sys.path.insert(0, HERE)
    # noqa: F401  (they register their gates)
    import bindings, cases, compiling, cuda_abi, documents, house, kernels, leaks, machines, mpi, picture, places
    import meaning, replay, rooms, saving, stack, studying, training, wrapper
    parser = argparse.ArgumentParser(description="Checks what must hold for the library as a whole.")
    parser.add_argument("--only", default="", help="gates whose name holds this word, or one of these: stack,cases")
    parser.add_argument("--prove", action="store_true",
                        help="inject faults into a copy and expect every gate to see them")
    args = parser.parse_args()
    order = ["places", "machines", "mutations", "house", "lines", "arm", "training", "examples", "replay", "nvrtc",
             "sass", "rooms", "readme", "bindings", "standards", "stack", "study", "cases", "mpi", "picture", "symbols",
             "meaning", "saved", "wrapper", "cutouts", "windows", "units", "macros", "declarations", "cuda_abi"]
    # the long ones first
    entries = [e for e in sorted(GATES, key=lambda e: order.index(e[0]))
               if any(word in e[0] for word in args.only.split(","))]
    if args.prove:
        passed, failed, skipped = prove(entries, ROOT)
    else:
        # most gates have stretches in which they use one processor
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            results = list(pool.map(lambda entry: run_gate(entry, ROOT), entries))
        passed, failed, skipped = (sum(counts[kind] for counts in results) for kind in ("passed", "failed", "skipped"))
    for line in costs.table():
        print(line, flush=True)
    print("%d passed, %d failed, %d skipped" % (passed, failed, skipped))
    return failed != 0


if __name__ == "__main__":
    sys.modules["gates"] = sys.modules["__main__"]               # the modules say: from gates import gate
    sys.exit(main())
