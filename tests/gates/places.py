"""How many places a new thing takes: one of each kind is added to a copy of the repository, which then builds and
passes; the files that were touched are counted, and are those that .github/CONTRIBUTING.md names.

    python3 tests/gates/places.py        lists the files of each kind
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

if __name__ != "__main__":
    from gates import gate
else:
    def gate(name, faults=()):
        return lambda check: check

HERE = os.path.dirname(os.path.abspath(__file__))
CONTRIBUTING = os.path.join(".github", "CONTRIBUTING.md")

# An op that doubles, with a kernel of its own on the CPU and on the GPU: (file, what stands there, what is put before
# it).
OP = [
    ("src/compute/ops.inc", "    OP(embed) \\\n", "    OP(redouble) \\\n"),
    ("src/compute/ops.inc", "    X(kv_row, ", "    X(redouble,      (float *out, const float *x, int64_t n)) \\\n"),
    ("src/compute/op.c", "/* ---- the largest logits ---- */\n", """/* out = 2 x */
typedef struct hyb_op_redouble {
    const float *x;
    int64_t n;
    float  *out;                        /* may be x */
} hyb_op_redouble;
HYB_INLINE double hyb_bytes_redouble(const hyb_op_redouble *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 8.0 * (double)op->n;
}

"""),
    ("src/compute/cpu/backend.c", "/* ---- the cache ---",
     """static void hyb_cpu_redouble_chunk(void *arg, int chunk, int lane)
{
    const hyb_cpu_job *job = (const hyb_cpu_job *)arg;
    const hyb_op_redouble *op = (const hyb_op_redouble *)job->op;
    const int64_t at = hyb_cpu_row_begin(job, chunk);
    HYB_UNUSED(lane);
    job->cpu->kernels->redouble(op->out + at, op->x + at, hyb_cpu_row_end(job, chunk) - at);
}
static void hyb_cpu_redouble(hyb_backend *be, const hyb_op_redouble *op) { hyb_cpu_rows(be, op, op->n, 1, hyb_cpu_redouble_chunk); }

"""),
    ("src/compute/cpu/generic.c", "/* ---- the cache ---",
     """static void hyb_redouble_generic(float *out, const float *x, int64_t n)
{
    int64_t i;
    for (i = 0; i < n; i++) out[i] = 2 * x[i];
}

"""),
    ("src/compute/cpu/rows.inc", "/* ---- the cache ---",
     """static HYB_V_TARGET void HYB_V_FN(redouble)(float *out, const float *x, int64_t n)
{
    int64_t i;
    for (i = 0; i < n; i += HYB_V_N) {
        HYB_V v = HYB_V_FN(get)(x + i, n - i);
        HYB_V_FN(put)(out + i, HYB_V_ADD(v, v), n - i);
    }
}

"""),
    ("src/cuda/kernels/rows.cu", "/* ---- element by element ---",
     """KERNEL __launch_bounds__(256) redouble(const float *x, float *out, i64 n)
{
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i < n) out[i] = 2 * x[i];
}

"""),
    ("src/cuda/ops_rows.c", "    X(norm_4) X(norm_1)", "    X(redouble) \\\n"),
    ("src/cuda/ops_rows.c", "/* ---- the largest logits ---",
     """static void hyb_cuda_op_redouble(hyb_cuda_at *at, const hyb_op_redouble *op)
{
    hyb_op_redouble o = *op;
    void *args[3];
    args[0] = &o.x;
    args[1] = &o.out;
    args[2] = &o.n;
    hyb_cuda_launch3(at->q, HYB_MODULE_ROWS, HYB_KERNEL_redouble, hyb_div_up(op->n, 256), 1, 1, 256, 1, 0, args);
}

"""),
    ("tests/ops.h", "static void draw_top_k(", """static void draw_redouble(side *s, hyb_op_redouble *op)
{
    op->n = draw_values(s);
    op->out = draw_floats(s, op->n, 1);
    op->x = draw_chance(s, 50) ? op->out : draw_floats(s, op->n, 1);
    s->near = 0;
    s->exact = 1e-7;
}
static void exact_redouble(side *s, const hyb_op_redouble *op)
{
    int64_t i;
    for (i = 0; i < op->n; i++) want(s, op->out + i, 2.0 * op->x[i]);
}
"""),
]

# A family of known parts: Llama by another name. The recipe of its reference and the README are there for the count.
ARCHITECTURE = [
    ("src/model/arch.c", '    { "openelm", ', """    { "dummy",    HYB_RMS, HYB_NORM, HYB_SILU, HYB_GPT, 0,
                  HYB_WINDOW_NONE, 0, 0, 0, 0, 0, HYB_MIXTURE_NONE },
"""),
    ("tests/models.inc", '    "llama-layers", ', '    "dummy",\n'),
    ("tests/oracle/make_models.py", '    "lfm2": ("Lfm2"', """    "dummy": ("Llama", "dummy", "llama2", SMALL),
"""),
    ("README.md", "OpenELM, ", "Dummy, "),
]

# (kind, its heading in CONTRIBUTING.md, places at most, what is added)
KINDS = [("op", "Adding an op", 8, OP), ("architecture", "Adding an architecture", 4, ARCHITECTURE)]


def replace(path, old, new):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if text.count(old) != 1:
        raise ValueError("%s: %r stands %d times, and must stand once" % (path, old, text.count(old)))
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace(old, new))


def files_of(pieces):
    return list(dict.fromkeys(path for path, _, _ in pieces))


def named(text, heading):
    """The files of the numbered list below a heading."""
    part = text.split("## %s\n" % heading, 1)[1].split("\n## ", 1)[0] if "## %s\n" % heading in text else ""
    return re.findall(r"^\d+\. `([^`]+)`", part, re.M)


def add(root, pieces, without=None):
    for path, before, text in pieces:
        if path != without:
            replace(os.path.join(root, path), before, text + before)


def renamed(root):
    """The tiny Llama of the tests as a model of the architecture 'dummy', with its reference."""
    folder = os.path.join(root, "tests", "oracle", "data", "models")
    with open(os.path.join(folder, "llama.gguf"), "rb") as f:
        data = f.read()
    data = data.replace(b"llama.", b"dummy.").replace(b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama",
                                                      b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0dummy")
    with open(os.path.join(folder, "dummy.gguf"), "wb") as f:
        f.write(data)
    shutil.copy(os.path.join(folder, "llama.ref.gguf"), os.path.join(folder, "dummy.ref.gguf"))


def runs_as_a_model(run, root):
    """None, or what was said: the tests of all models pass, with one more."""
    renamed(root)
    env = {k: v for k, v in os.environ.items() if k != "HYBRID_NO_SKIP"}     # a copy has no data beside it
    cc = os.environ.get("CC", "cc").split()
    for step in ([sys.executable, "amalgamate.py"],
                 cc + ["-O1", "-DHYBRID_NO_SIMD", "-w", "-I.", "tests/test_models.c", "-o", "models", "-lm",
                       "-lpthread"],
                 ["./models"]):
        status, out = run(step, cwd=root, env=env)
        if status or (step[0] == "./models" and not re.search(r"^  dummy .*logits within", out, re.M)):
            return "%s\n%s" % (" ".join(step), out)
    return None


def builds(run, root, kind):
    """None, or what was said: the header is made, and the tests of the op pass on the CPU and, where it can be built,
    on the emulated GPU."""
    if kind == "architecture":
        return runs_as_a_model(run, root)
    cc = os.environ.get("CC", "cc").split()
    flags = ["-O0", "-DHYBRID_STATIC", "-Wno-unused-function", "-I.", "-Itests"]
    steps = [[sys.executable, "amalgamate.py"], cc + flags + ["tests/test_ops.c", "-o", "ops", "-lm", "-lpthread"],
             ["./ops"]]
    emulator = os.path.join(os.path.dirname(os.path.dirname(HERE)), "build", "emu")
    if os.path.isdir(emulator):
        steps += [cc + flags + ["-DHYBRID_NO_SIMD", "tests/test_cuda_ops.c", "-o", "cuda_ops", "-lm", "-lpthread"],
                  ["./cuda_ops"]]
    env = dict(os.environ, HYBRID_ONLY="redouble", HYBRID_CUDA_PATH=emulator, HYBRID_CUDA_CACHE="")
    for step in steps:
        status, out = run(step, cwd=root, env=env)
        if status or (step[0].startswith("./") and not re.search(r"^[1-9]\d+ passed, 0 failed", out, re.M)):
            return "%s\n%s" % (" ".join(step), out)
    return None


def by_hand(root):
    """The table of the CPU back end as it was: a list of names."""
    replace(os.path.join(root, "src", "compute", "cpu.c"), "        HYB_OPS(HYB_OP, HYB_PARTS)\n", "".join(
        "        %s,\n" % ("NULL" if name == "heads" else "hyb_cpu_" + name) for name in
        "embed norm matmul rope_table rope kv_store heads attention glu route experts combine add scale softcap top_k "
        "shift wkv7 shortconv".split()))


@gate("places", faults=[
    ("a place that CONTRIBUTING.md does not name",
     lambda root: replace(os.path.join(root, CONTRIBUTING), "4. `src/compute/cpu/generic.c`",
                          "4. (`src/compute/cpu/generic.c`)")),
    ("a place that CONTRIBUTING.md names for nothing",
     lambda root: replace(os.path.join(root, CONTRIBUTING), "8. `tests/ops.h`",
                          "8. `src/model/forward.c`: nothing\n9. `tests/ops.h`")),
    ("a table that is filled by hand", by_hand),
])
def places(box):
    from gates import copy_of
    text = box.read(CONTRIBUTING)
    for kind, heading, most, pieces in KINDS:
        files, listed = files_of(pieces), named(text, heading)
        box.expect("CONTRIBUTING.md names the places of an %s" % kind, sorted(files) == sorted(listed),
                   "it takes %s\nand the list says %s" % (" ".join(files), " ".join(listed)))
        box.expect("at most %d places for an %s" % (most, kind), len(files) <= most,
                   "%d: %s" % (len(files), " ".join(files)))
        copy = os.path.join(box.tmp, kind)
        copy_of(box.root, copy)
        add(copy, pieces)
        words = builds(box.run, copy, kind)
        box.expect("an %s in these places builds and passes" % kind, not words, words or "")
        if kind != "op":
            continue
        copy = os.path.join(box.tmp, kind + "-undrawn")
        copy_of(box.root, copy)
        add(copy, pieces, without="tests/ops.h")
        status, out = box.run(os.environ.get("CC", "cc").split() +
                              ["-fsyntax-only", "-Werror=implicit-function-declaration", "-DHYBRID_NO_SIMD", "-Itests",
                               "tests/test_ops.c"], cwd=copy)
        box.expect("an %s that the tests do not draw is an error of the compiler" % kind,
                   status != 0 and "draw_redouble" in out, out)


def main():
    sys.path.insert(0, HERE)
    import gates
    root = os.path.dirname(os.path.dirname(HERE))
    for kind, _, most, pieces in KINDS:
        scratch = tempfile.mkdtemp(prefix="hybrid-places-")
        try:
            copy = os.path.join(scratch, "repo")
            gates.copy_of(root, copy)
            add(copy, pieces)
            words = builds(lambda step, **more: (lambda done: (done.returncode, done.stdout.decode()))(
                subprocess.run(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)), copy, kind)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        print("an %s: %d places of at most %d%s" %
              (kind, len(files_of(pieces)), most, "" if not words else ", but it does not build:\n" + words))
        print("".join("    %s\n" % path for path in files_of(pieces)), end="")


if __name__ == "__main__":
    main()
