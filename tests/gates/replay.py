"""Equal results whatever the compiler does: tests/test_replay.c holds the hashes, the test runner builds it at -O2."""
import os
import re

from compiling import ALONE, UNOPTIMIZED, optimized
from gates import gate
from house import replace


def change_hash(path):
    with open(path, encoding="utf-8") as f:
        first = re.search(r"0x[0-9a-f]{16}(?=u, HYBRID_KV)", f.read()).group(0)
    replace(path, first, first[:-1] + ("1" if first[-1] != "1" else "2"))


@gate("replay", faults=[
    ("products and sums that a compiler may fuse",
     lambda root: replace(os.path.join(root, "src", "core", "begin.h"), '#pragma GCC optimize("fp-contract=off")', "")),
    ("a hash that is not the library's", lambda root: change_hash(os.path.join(root, "tests", "test_replay.c"))),
])
def replay(box):
    """The sources by gcc at -O3 for this very machine; the header as other gates compile it. Three runs a model and
    instruction set: make test has made all of them, of the library by cc at -O2."""
    # what it could not run it need not compile
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        fewer = [] if "avx512f" in f.read() else ["-DHYBRID_NO_AVX512"]
    builds = [("gcc -O3 -march=native", ["gcc", "-O3", "-march=native"] + fewer, None),
              ("cc -O0", UNOPTIMIZED + ["-no-pie"], lambda title: box.object(title, UNOPTIMIZED, ALONE)[0]),
              ("clang -O2", ["clang", "-O2"], lambda title: optimized(box, "clang", ["-std=c99"]))]

    def one(build):
        title, command, held = build
        if not box.has(command[0]):
            return box.skipped(title, "%s is not installed (tests/setup.sh does it)" % command[0])
        program = os.path.join(box.folder(title.replace(" ", "")), "replay")
        # static: what it does not call is not compiled
        with_it = [held("the implementation by " + title)] if held else ["-DHYBRID_IMPLEMENTATION", "-DHYBRID_STATIC"]
        whole = command + with_it + ["-I.", "-Itests", "tests/test_replay.c", "-o", program, "-lm", "-lpthread"]
        if None in with_it or not box.compiles(title, whole, box.root):
            return None
        status, out = box.run([program], box.root, 400, env=dict(os.environ, HYBRID_DEVICE="cpu", HYBRID_RUNS="3"))
        ran = re.findall(r"(\d+) runs, one hash", out)
        return box.expect("%s gives the same hashes" % title,
                          status == 0 and len(ran) >= 3 and all(int(n) >= 6 for n in ran), out)

    box.parallel(one, builds)
