"""The gate cuda_abi: hybrid declares the functions of CUDA itself; where a toolkit is installed, they are compared with
its headers."""
import glob
import os
import shutil

from gates import gate


def replace(path, old, new):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    assert old in text, "%s has no %r" % (path, old)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace(old, new, 1))


def damage(old, new):
    return lambda root: replace(os.path.join(root, "src", "cuda", "abi.c"), old, new)


def toolkits():
    """Folders of headers, the newest first."""
    nvcc = shutil.which("nvcc")
    roots = [os.environ.get("CUDA_PATH"), os.environ.get("CUDA_HOME"),
             nvcc and os.path.dirname(os.path.dirname(os.path.realpath(nvcc)))]
    roots += sorted(glob.glob("/usr/local/cuda*"), reverse=True) + ["/opt/cuda"]
    for root in filter(None, roots):
        for folder in [os.path.join(root, "include")] + glob.glob(os.path.join(root, "targets", "*", "include")):
            if all(os.path.exists(os.path.join(folder, name)) for name in ("cuda.h", "nvrtc.h", "cublas_v2.h")):
                yield folder


@gate("cuda_abi", faults=[
    ("an old name", damage('"cuMemAlloc_v2"', '"cuMemAlloc"')),
    ("a parameter too short", damage("(hyb_cu_ptr *address, size_t bytes)", "(hyb_cu_ptr *address, unsigned bytes)")),
    ("a parameter too few", damage(", int n_options, const char *const *options)", ", int n_options)")),
    ("a parameter too many", damage("(void *stream, int mode)", "(void *stream, int mode, int more)")),
    ("a number for a pointer", damage("(void *handle, void *stream)", "(void *handle, size_t stream)")),
    ("a wrong constant", damage("HYB_CU_PTX_TOO_NEW = 222", "HYB_CU_PTX_TOO_NEW = 223")),
])
def cuda_abi(box):
    include = next(toolkits(), None)
    if not include:
        # nothing that could be installed lightly: no failure where skips are none
        box.counts["skipped"] += 1
        print("skipped [cuda_abi] the declarations of CUDA: no toolkit with cuda.h, nvrtc.h and cublas_v2.h is here "
              "(CUDA_PATH names one)", flush=True)
        return
    for compiler in ("g++", "clang++"):
        if box.has(compiler):
            box.compiles("abi.c and %s, by %s" % (include, compiler),
                         [compiler, "-std=c++11", "-fsyntax-only", "-I", box.path("src", "cuda"), "-isystem", include,
                          box.path("tests", "gates", "cuda_abi.cpp")])
