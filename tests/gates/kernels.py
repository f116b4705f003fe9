"""The kernels of the GPU: NVIDIA's own compiler takes them without a spill, and the tests of `make test` notice when
one is broken."""
import os
import re
import sys

from gates import gate
from house import replace


def damage(name, old, new):
    return lambda root: replace(os.path.join(root, "src", "cuda", "kernels", name), old, new)


@gate("nvrtc", faults=[
    ("what only the emulator's compiler takes",
     damage("rows.cu", "enum { SILU, GELU_TANH, GELU, TANH, SIGMOID, RELU2 };",
            "enum { SILU, GELU_TANH, GELU, TANH, SIGMOID, RELU2 };\nstatic __int128_t "
            "wide[__builtin_cpu_supports(\"avx\")];")),
    ("a kernel that spills",
     damage("gemm_f32.cu", "__launch_bounds__(256) gemm_f32", "__launch_bounds__(256, 8) gemm_f32")),
])
def nvrtc(box):
    """Two architectures, or an eighth of the modules for one of them while the kernels are those that both were good
    with (nvrtc_check.py); make nvrtc-check has all."""
    status, out = box.run([sys.executable, "tests/nvrtc_check.py", "--sample", "--quiet"], box.root)
    if status == 0 and "skipped" in out:
        # nothing that could be installed lightly: no failure where skips are none
        box.counts["skipped"] += 1
        print("skipped [nvrtc] " + out.strip(), flush=True)
        return
    if "today only" in out and not box.quiet:
        print("  " + out.split("\n")[0], flush=True)
    box.expect("every module for sm_75 and sm_90", status == 0 and re.search(
        r"nvrtc_check: \d\d+ modules x %d architectures .* 0 wrong" % (1 if "today only" in out else 2), out), out)


@gate("sass", faults=[
    ("a kernel that needs more instructions", damage("matvec.cu", "p->left -= SEGMENT_BYTES;",
                                                     "p->left -= SEGMENT_BYTES + (p->group == 123456789);")),
    ("a branch between the loads of keys", damage("attention.cu", "const uint4 x = there ?",
                                              "if (d[0] > 1e30f) break;\n            const uint4 x = there ?")),
])
def sass(box):
    """No figure of the machine code is worse than tests/results/sass.txt; kernels that are those of the table are not
    compiled."""
    status, out = box.run([sys.executable, "tests/sass_check.py"], box.root)
    if status == 0 and "skipped" in out:
        box.counts["skipped"] += 1
        print("skipped [sass] " + out.strip(), flush=True)
        return
    good = re.search(r"sass_check: \d+ (of \d+ modules have changed|modules x 3 .* 0 figures worse)", out)
    box.expect("the machine code is no worse than tests/results/sass.txt", status == 0 and good, out)


def mutation(old, new):
    """One more mutation for the script, of which it must say that something is wrong with it."""
    return lambda root: replace(os.path.join(root, "tests", "mutate_cuda.py"), "MUTATIONS = [\n",
                                "MUTATIONS = [\n    (\"rope.cu\", %r, %r, OPS, \"rope\"),\n" % (old, new))


@gate("mutations", faults=[
    ("a change that no test notices", mutation("const float a = *p, b = *q;", "const float a = *p + 0.0f, b = *q;")),
    ("a change that does not compile", mutation("const float a = *p, b = *q;", "const float a = *p, c = *q;")),
    ("a text that the kernels do not have", mutation("const float a = *p, b = *r;", "")),
])
def mutations(box):
    status, out = box.run([sys.executable, "tests/mutate_cuda.py", "--sample"], box.root, timeout=1500)
    rows = [row for row in out.split("\n") if not row.startswith("  noticed")]
    count = re.search(r"(\d+) passed, 0 failed, 0 skipped", rows[-2] if len(rows) > 1 else "")
    box.expect("the tests notice every mutation of the kernels", status == 0 and count and int(count.group(1)) >= 10,
               "\n".join(rows))
