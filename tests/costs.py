"""What tests and gates cost, in seconds of processors: these, unlike those of the clock, are hardly changed by what
else a machine does. run_tests.py and gates.py say at their end what cost most; HYBRID_COSTS=100 asks for so many rows
(0: none)."""
import os
import resource
import subprocess
import tempfile
import threading

ROWS = int(os.environ.get("HYBRID_COSTS", "25"))
NOTES = "HYBRID_COSTS_TO"       # a file that another process notes its rows in
lock = threading.Lock()
rows = []                       # (seconds, MB, what)


def run(command, timeout=None, **extra):
    """(exit status, stdout and stderr as bytes, processor seconds, megabytes at most) of a command and its children.
    The status is None after the timeout."""
    with tempfile.TemporaryFile() as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **extra)
        late = threading.Timer(timeout, child.kill) if timeout else None
        if late:
            late.start()
        _, status, usage = os.wait4(child.pid, 0)
        killed = late is not None and not late.is_alive()
        if late:
            late.cancel()
        child.returncode = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        out.seek(0)
        return (None if killed else child.returncode, out.read(), usage.ru_utime + usage.ru_stime,
                usage.ru_maxrss / 1024)


def note(seconds, megabytes, what):
    with lock:
        rows.append((seconds, megabytes, what))
        if NOTES in os.environ:
            with open(os.environ[NOTES], "a", encoding="utf-8") as f:
                f.write("%.3f %.0f %s\n" % (seconds, megabytes, what.replace("\n", " ")))


def read(path):
    """Takes over what another process noted."""
    with open(path, encoding="utf-8") as f:
        for line in f:
            seconds, megabytes, what = line.rstrip("\n").split(" ", 2)
            rows.append((float(seconds), float(megabytes), what))


def table():
    """The lines of what cost most; none where another process says them."""
    if not rows or not ROWS or NOTES in os.environ:
        return []
    shown = sorted(rows, reverse=True)[:ROWS]
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = ["what cost most, in seconds of processors (and megabytes at most):"]
    lines += ["  %7.1f s %6.0f MB  %s" % (seconds, megabytes, what[:100]) for seconds, megabytes, what in shown]
    rest = sum(row[0] for row in rows) - sum(row[0] for row in shown)
    return lines + ["  %7.1f s            %d others, and %.1f s that are in no row" % (
        rest, len(rows) - len(shown), own.ru_utime + own.ru_stime - sum(row[0] for row in rows))]
