#!/usr/bin/env python3
"""study: does prediction save steps? Runs what PROTOCOL.md says, and makes tables and a figure of it.

    study.py run [--models S,M] [--stages 3] [--jobs 2]   resumable: what is in the CSV is not run again
    study.py report [--models S,M]                        from tests/results/study/*.csv alone
    study.py oracle                                       gate G1: what persists of displacements
    study.py --smoke                                      a miniature, which says nothing about prediction
    study.py --self-test                                  the statistics and tables, against known numbers

All runs take about 7 (S) and 8 (M) hours of one core, the first three stages of S (H1 without A2, B and C; H2, H4)
2.6 of them. HYBRID_DATA is the folder of the data (default ../shared/data). Standard library only.
"""
import argparse
import concurrent.futures
import csv
import hashlib
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import analysis          # noqa: E402
import plan              # noqa: E402
import report            # noqa: E402

RESULTS = os.path.join(ROOT, "tests", "results", "study")
BUILD = os.path.join(ROOT, "build", "study")
MEASURED = ("final", "ema", "spent", "cpu", "step_wall", "moves", "rollbacks", "stopped", "gained", "gained_error",
            "cosine", "hindsight", "coverage", "error_windows", "error_last", "error_law", "brier", "ece", "predictor",
            "weights", "curve")
COLUMNS = plan.Run._fields + ("status", "source", "wall") + MEASURED
HOUR = 3600.0


class Stop(Exception):
    """Something that ends the program with a sentence."""


# ---- the program that makes a run ----------------------------------------------------------------------------------

def source_hash():
    digest = hashlib.sha256()
    for path in (os.path.join(ROOT, "hybrid.h"), os.path.join(HERE, "arm.c")):
        with open(path, "rb") as f:
            digest.update(f.read())
    return digest.hexdigest()[:12]


def program(wanted=None):
    """(path, hash of its sources) of the program that makes runs. Each version has its own file: a study that has begun
    goes on with the program that it began with, whatever became of the tree."""
    now = source_hash()
    version = wanted or now
    path = os.path.join(BUILD, "arm-" + version)
    if os.path.exists(path):
        return path, version
    if version != now:
        raise Stop("the runs in the CSV were made by sources %s, the tree is %s now: go on where %s is, check out the "
                   "old commit, or move the CSV away" % (version, now, os.path.relpath(path, ROOT)))
    os.makedirs(BUILD, exist_ok=True)
    print("building arm (a minute) ...", flush=True)
    compiler = shlex.split(os.environ.get("CC", "cc"))
    command = compiler + ["-O2", "-I" + ROOT, os.path.join(HERE, "arm.c"), "-o", path + ".part", "-lm", "-lpthread"]
    if subprocess.run(command).returncode:
        raise Stop("arm.c does not compile")
    os.replace(path + ".part", path)
    return path, version


def text_of(model, smoke=False):
    """Where a model's text is. The miniature does with any text: then it reads the sources of the library."""
    root = os.environ.get("HYBRID_DATA") or os.path.join(ROOT, "..", "shared", "data")
    path = os.path.join(root, "corpus", model.text)
    if os.path.exists(path):
        return path
    if not smoke:
        raise Stop("no %s: put it there, or set HYBRID_DATA to the folder that holds corpus/%s" % (path, model.text))
    with open(os.path.join(ROOT, "hybrid.h"), encoding="utf-8") as f:
        text = f.read(600000)
    os.makedirs(BUILD, exist_ok=True)
    path = os.path.join(BUILD, "text.txt")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)
    return path


# ---- the data ------------------------------------------------------------------------------------------------------

def run_of(row):
    return plan.Run(row["model"], row["arm"], float(row["rate"]), float(row["muon_rate"]), int(row["steps"]),
                    int(row["seed"]))


def load(path):
    """{Run: row}, numbers as numbers. A last line that was cut off does not count."""
    rows = {}
    if not os.path.exists(path):
        return rows
    with open(path, newline="", encoding="utf-8") as f:
        text = f.read()
    for row in csv.DictReader(text[:text.rfind("\n") + 1].splitlines()):
        if None in row or None in row.values():
            continue
        for key in MEASURED + ("wall",):
            if key != "curve":
                row[key] = float(row[key]) if row[key] else math.nan
        rows[run_of(row)] = row
    return rows


class Table:
    """A CSV to which rows are appended whole, one after the other, as runs end."""

    def __init__(self, path):
        self.path, self.lock, self.rows = path, threading.Lock(), load(path)

    def sources(self):
        return sorted({row["source"] for row in self.rows.values()})

    def losses(self):
        return {run: row["final"] if row["status"] == "done" else math.inf for run, row in self.rows.items()}

    def add(self, run, row):
        with self.lock:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            kept = b""
            if os.path.exists(self.path):
                with open(self.path, "rb") as f:
                    kept = f.read()
            whole = kept.rfind(b"\n") + 1
            with open(self.path, "r+" if kept else "w", newline="", encoding="utf-8") as f:
                f.truncate(whole)
                f.seek(whole)
                writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
                if not whole:
                    writer.writeheader()
                writer.writerow(row)
                f.flush()
                os.fsync(f.fileno())
        self.rows = load(self.path)


# ---- running -------------------------------------------------------------------------------------------------------

def make_run(model, run, path, source, text):
    """The row of a run. A run that the machine broke off is none, and ends the study: it is run again later."""
    began = time.time()
    done = subprocess.run([path] + plan.arguments(model, run, text), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True)
    row = dict(zip(run._fields, (run.model, run.arm, "%.9g" % run.rate, "%.9g" % run.muon_rate, run.steps, run.seed)))
    row.update(status="done", source=source, wall="%.2f" % (time.time() - began))
    if done.returncode == 0:
        # a loss may be nan or inf, which C writes so
        words = done.stdout.replace("-nan", "nan").replace("nan", "NaN").replace("inf", "Infinity")
        measured = json.loads(words)
        row.update({key: measured[key] for key in MEASURED})
        if not math.isfinite(measured["final"]):
            row["status"] = "lost: the loss is not finite"
    elif done.returncode == 1 and done.stderr.startswith(("arm: step:", "arm: validation:")):
        row["status"] = "lost: " + done.stderr.strip().replace("\n", " ")[5:]
    else:
        raise Stop("%s was broken off (%s): %s" % (title(run), done.returncode, done.stderr.strip() or "no word"))
    return row


def title(run):
    return "%s %s rate %g seed %d, %d steps" % (run.model, run.arm, run.muon_rate or run.rate, run.seed, run.steps)


def time_words(seconds):
    return "%d h %02d min" % (seconds // HOUR, seconds % HOUR // 60) if seconds >= HOUR else \
        "%d min" % round(seconds / 60) if seconds >= 90 else "%d s" % seconds


def steps_left(model, stages, table):
    losses, seen, total = table.losses(), set(), 0
    for stage in stages:
        for run in plan.runs_of(model, stage, losses):
            if run in table.rows or (run.rate is not None and run in seen):
                continue
            seen.add(run)
            total += run.steps
    return total


def run_stage(model, stage, stages, table, made, jobs):
    """Runs what is missing of a stage; made: (program, hash, text)."""
    todo = [run for run in plan.runs_of(model, stage, table.losses()) if run not in table.rows]
    if any(run.rate is None for run in todo):
        raise Stop("%s: the rates of a stage are not known, because the tuning before it was left out" % model.name)
    began, did, stop = time.time(), 0, threading.Event()

    def one(run):
        if stop.is_set():
            return run, None
        try:
            return run, make_run(model, run, *made)
        except BaseException:
            stop.set()
            raise
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(one, run) for run in todo]
        try:
            for future in concurrent.futures.as_completed(futures):
                run, row = future.result()
                if row is None:
                    continue
                table.add(run, row)
                did += run.steps
                left = steps_left(model, stages, table) * (time.time() - began) / did
                print("%s: %s; about %s left of %s" % (
                    title(run), row["status"] if row["status"] != "done" else "%.4f" % float(row["final"]),
                    time_words(left), model.name), flush=True)
        finally:
            stop.set()
            for future in futures:
                future.cancel()


def run_model(name, folder, jobs, n_stages=None, smoke=False):
    model = plan.MODELS[name]
    table = Table(os.path.join(folder, name + ".csv"))
    if len(table.sources()) > 1:
        raise Stop("%s holds runs of several versions (%s)" % (table.path, ", ".join(table.sources())))
    made = program(table.sources()[0] if table.rows else None) + (text_of(model, smoke),)
    stages = model.stages[:n_stages]
    for stage in stages:
        run_stage(model, stage, stages, table, made, jobs)
    return table


def oracle(folder, jobs):
    """Gate G1: the mean cosines of consecutive displacements at a constant rate."""
    model = plan.MODELS["S"]
    path, source = program()
    words = [path] + ["%s=%s" % item for item in dict(model.settings, data=text_of(model), steps=1200, rate=6e-3,
                                                      constant=1, cosines=1).items()]

    def one(seed):
        # the windows that count begin at step 200, after the warm-up
        done = subprocess.run(words + ["from=200", "seed=%d" % seed], stdout=subprocess.PIPE, check=True, text=True)
        return [dict(entry, seed=seed, source=source) for entry in json.loads(done.stdout)["cosines"]]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        rows = [row for part in pool.map(one, model.tuning_seeds) for row in part]
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "oracle.csv"), "w", newline="", encoding="utf-8") as f:
        writer = csv.DictWriter(f, ["of", "window", "seed", "n", "cosine", "source"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(report.oracle_table(rows))


# ---- the miniature -------------------------------------------------------------------------------------------------

def smoke(jobs):
    """Everything that the study does, in small: two seeds, few steps. Also: what is done is not done again."""
    wrong = analysis.self_test()
    folder = tempfile.mkdtemp(prefix="hybrid-study-")
    try:
        table = run_model("smoke", folder, jobs, smoke=True)
        with open(table.path, "rb") as f:
            first = f.read()
        # the last line is cut off, as when the machine stops: that run alone is made again
        with open(table.path, "wb") as f:
            f.write(first[:-20])
        table = run_model("smoke", folder, jobs, smoke=True)
        with open(table.path, "rb") as f:
            again = f.read()
        if len(again.splitlines()) != len(first.splitlines()) or again.splitlines()[:-1] != first.splitlines()[:-1]:
            wrong.append("a study that goes on must leave the rows that are there, and make the one that is cut off")
        text = report.write(plan.MODELS["smoke"], table.rows, folder)
        for name in ("smoke.md", "smoke.svg"):
            if os.path.getsize(os.path.join(folder, name)) < 500:
                wrong.append(name + " is almost empty")
        by_arm = {(run.arm, run.seed): row for run, row in table.rows.items() if run.steps == 200}
        for seed in (0, 1):
            if by_arm["off", seed]["final"] != by_arm["none", seed]["final"]:
                wrong.append("off is not none, bit for bit")
            if not by_arm["A", seed]["moves"] > 0:
                wrong.append("mode A moved nothing")
            if by_arm["A", seed]["final"] == by_arm["none", seed]["final"]:
                wrong.append("mode A changes nothing")
        print(text)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("\n".join("WRONG: " + w for w in wrong) or "the miniature works; it is too small to judge prediction by it")
    return bool(wrong)


def kept_rows():
    """What is wrong with rows that were written and read again: a good one, a lost one, and half a line."""
    wrong, folder = [], tempfile.mkdtemp(prefix="hybrid-study-")
    try:
        path = os.path.join(folder, "S.csv")
        good, lost, later = (plan.Run("S", "none", 3e-3, 0.0, 1000, seed) for seed in range(3))
        words = dict(status="done", source="x", wall="1", **{key: "0.5" for key in MEASURED})
        fields = ("S", "none", "0.003", "0", 1000)
        Table(path).add(good, dict(zip(plan.Run._fields, fields + (0,)), **words))
        Table(path).add(lost, dict(zip(plan.Run._fields, fields + (1,)), status="lost: step: no", source="x", wall="1"))
        with open(path, "a", encoding="utf-8") as f:
            f.write("S,none,0.003,0,1000,2,done,x,1,0.5")
        table = Table(path)
        if set(table.rows) != {good, lost} or table.losses() != {good: 0.5, lost: math.inf}:
            wrong.append("rows that were read: %r" % table.losses())
        table.add(later, dict(zip(plan.Run._fields, fields + (2,)), **words))
        if set(table.rows) != {good, lost, later} or table.rows[later]["final"] != 0.5:
            wrong.append("a row after half a line is lost")
        if not math.isnan(table.rows[lost]["final"]):
            wrong.append("a lost run has a loss")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return wrong


def self_test():
    wrong = analysis.self_test() + report.self_test() + kept_rows()
    print("\n".join("WRONG: " + w for w in wrong) or "study.py: the statistics and tables are right")
    return bool(wrong)


def main():
    parser = argparse.ArgumentParser(description="Does prediction save steps? See PROTOCOL.md.")
    parser.add_argument("what", nargs="?", default="", choices=["", "run", "report", "oracle"])
    parser.add_argument("--smoke", action="store_true", help="a miniature, under 3 minutes")
    parser.add_argument("--self-test", action="store_true", help="the statistics against known numbers")
    parser.add_argument("--models", default="S,M", help="which, and in which order")
    parser.add_argument("--stages", type=int, default=None, help="only the first so many stages of each model")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="runs at a time, of one thread each")
    parser.add_argument("--to", default=RESULTS, help="folder of the CSVs and reports")
    args = parser.parse_args()
    try:
        if args.self_test:
            return self_test()
        if args.smoke:
            return smoke(args.jobs)
        if args.what == "oracle":
            return oracle(args.to, args.jobs)
        if not args.what:
            parser.error("run, report, oracle, --smoke or --self-test")
        for name in args.models.split(","):
            if args.what == "run":
                run_model(name, args.to, args.jobs, args.stages)
            rows = load(os.path.join(args.to, name + ".csv"))
            if rows:
                print(report.write(plan.MODELS[name], rows, args.to))
    except Stop as e:
        print("study.py: %s" % e, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("study.py: stopped; the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
