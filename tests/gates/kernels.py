"""The kernels of the GPU: NVIDIA's own compiler takes them without a spill, and the tests notice when one is broken."""
import os
import re
import sys

from gates import gate
from house import replace


def damage(name, old, new):
    return lambda root: replace(os.path.join(root, "src", "cuda", "kernels", name), old, new)


@gate("nvrtc", faults=[
    ("what only the emulator's compiler takes", damage("rows.cu", "enum { SILU, GELU_TANH, GELU };", "enum { SILU, GELU_TANH, GELU };\nstatic __int128_t wide[__builtin_cpu_supports(\"avx\")];")),
    ("a kernel that spills", damage("gemm_f32.cu", "__launch_bounds__(256) gemm_f32", "__launch_bounds__(256, 8) gemm_f32")),
])
def nvrtc(box):
    """The oldest architecture, which has other bodies of the seam, and the one that is in most use; make nvrtc-check has all."""
    status, out = box.run([sys.executable, "tests/nvrtc_check.py", "--arch", "75,90", "--quiet"], box.root)
    if status == 0 and "skipped" in out:
        box.counts["skipped"] += 1                               # nothing that could be installed lightly: no failure where skips are none
        print("skipped [nvrtc] " + out.strip(), flush=True)
        return
    box.expect("every module for sm_75 and sm_90", status == 0 and re.search(r"nvrtc_check: \d\d+ modules x 2 architectures .* 0 wrong", out), out)
