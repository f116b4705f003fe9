"""The gate mpi: examples/train_mpi.c on two ranks: the losses of one rank with twice the batch, the same bits on both,
and what happens when a rank dies."""
import os
import re
import subprocess
import time

from compiling import ALONE, WITHOUT_SIMD
from gates import LINKED, gate
from house import replace

MODEL = ("--vocab 300 --layers 2 --width 32 --heads 2 -c 32 --accumulate 2 --every 4 --rate 0.003").split()
WORDS = "the king said to the queen that it was time for the feast of the harvest and she said that it was not so "


def broken(old, new):
    return lambda root: replace(os.path.join(root, "hybrid.h"), old, new)


def children(pid):
    """Processes that a process has started."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % name) as f:
                if f.read().rsplit(")", 1)[1].split()[1] == str(pid):
                    found.append(int(name))
        except OSError:                                          # it has ended
            pass
    return sorted(found)


def nccl(box):
    """The part for GPUs is compiled where there are headers for it."""
    for folder in ("/usr/local/cuda/include", "/usr/local/cuda-13.0/include", "/usr/include"):
        if all(os.path.exists(os.path.join(folder, name)) for name in ("nccl.h", "cuda_runtime.h")):
            return box.compiles("train_mpi.c with NCCL", ["mpicc", "-fsyntax-only", "-Wall", "-Wextra"] + LINKED +
                                ["-DHYBRID_NCCL", "-I", box.root, "-isystem", folder,
                                 box.path("examples", "train_mpi.c")])
    print("skipped [mpi] train_mpi.c with NCCL: its header and CUDA's are not here")
    return None


@gate("mpi", faults=[
    ("a loss that is that of a rank alone",
     broken("now->loss = hyb_reduce_join(now->numbers);", "hyb_reduce_join(now->numbers);")),
    ("embeddings that no other rank hears of",
     broken("hybrid_result r = hyb_step_reduce(t, 0, error);", "hybrid_result r = HYBRID_OK;")),
])
def mpi(box):
    if not box.has("mpicc") or not box.has("mpirun"):
        return box.skipped("train_mpi.c", "there is no mpicc and mpirun here (tests/setup.sh installs Open MPI)")
    nccl(box)
    held, _ = box.object("the library", WITHOUT_SIMD, ALONE)
    if not held or not box.compiles("train_mpi.c", ["mpicc", "-O1"] + LINKED +
                                    ["-I", box.root, box.path("examples", "train_mpi.c"), held, "-o", "train_mpi",
                                     "-lm"]):
        return None
    box.write("text.txt", "".join(WORDS[i % 50:] + WORDS[:i % 50] + ".\n" for i in range(200)))
    environment = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                       OMPI_MCA_btl_vader_single_copy_mechanism="none")

    def command(ranks, out, steps, batch, *more):
        return ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks), "./train_mpi", "text.txt", "-o",
                out, "-n", str(steps), "-b", str(batch)] + MODEL + list(more)

    def losses(title, *how):
        status, out = box.run(command(*how), env=environment, timeout=120)
        box.expect(title, status == 0, "exit status %s: %s" % (status, out[-2000:]))
        return {int(step): float(loss) for step, loss in re.findall(r"^step (\d+) of \d+  loss ([\d.]+)", out, re.M)}

    def bytes_of(name):
        path = os.path.join(box.tmp, name)
        return open(path, "rb").read() if os.path.exists(path) else None

    two = losses("two ranks", 2, "two.gguf", 8, 2, "--each")
    one = losses("one rank", 1, "one.gguf", 8, 4)
    apart = max([abs(two[s] - one[s]) for s in one if s in two] or [1])
    box.expect("two ranks have the losses of one with twice the batch", len(one) == len(two) == 8 and apart <= 1e-6,
               "%g apart: %s and %s" % (apart, two, one))
    mine, other = bytes_of("two.gguf.rank0.ckpt"), bytes_of("two.gguf.rank1.ckpt")
    box.expect("both ranks end with the same bits", mine is not None and mine == other)

    # a rank dies; the others stop with a sentence, and the same command goes on from the checkpoint
    with open(os.path.join(box.tmp, "killed.log"), "wb") as log:
        job = subprocess.Popen(command(2, "killed.gguf", 1000000, 2), cwd=box.tmp, env=environment, stdout=log,
                               stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        end = time.time() + 60
        while time.time() < end and job.poll() is None and not bytes_of("killed.gguf.ckpt"):
            time.sleep(0.05)
        ranks = children(job.pid)
        if ranks:
            os.kill(ranks[-1], 9)
        try:
            status = job.wait(60)
        except subprocess.TimeoutExpired:
            job.kill()
            status = "none: it goes on"
    said = bytes_of("killed.log").decode("utf-8", "replace")
    box.expect("a rank that dies ends the job", len(ranks) == 2 and status not in (0, None), "%s: %s" % (status, said))
    box.expect("and the other says so in a sentence",
               "another rank has died" in said and "the last checkpoint, killed.gguf.ckpt" in said, said[-2000:])
    reached = max([int(step) for step in re.findall(r"^step (\d+) of", said, re.M)] or [0])
    more = losses("the same command again", 2, "killed.gguf", reached + 4, 2)
    box.expect("it goes on from the last checkpoint",
               more and min(more) > 1 and (min(more) - 1) % 4 == 0 and max(more) == reached + 4,
               "after step %d: %s" % (reached, sorted(more)))
    return None
