"""How many places a new thing takes: one of each kind is added to a copy of the repository, which then builds and
passes; the files that were touched are counted, and are those that .github/CONTRIBUTING.md names.

    python3 tests/gates/places.py        lists the files of each kind
"""
import os
import re
import shutil
import struct
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
    ("src/compute/ops/values.c", "/* ---- the largest logits ---- */\n", """/* out = 2 x */
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

# A type: blocks of Q8_0, whose values stand in the opposite order.
TYPE = [
    ("src/api/quant.h", "    HYBRID_TYPE_LAST_ = 64\n", "    HYBRID_TYPE_D8 = 62,\n"),
    ("src/quant/family.c", None, """/* quant/family: 32 values of a block, the last one first: value = d * qs[31 - i]. */
#ifndef HYB_QUANT_FAMILY_C
#define HYB_QUANT_FAMILY_C
#include "legacy.c"

typedef struct hyb_block_d8 {
    uint16_t d;
    int8_t qs[32];
} hyb_block_d8;

static void hyb_dequantize_d8(const void *blocks, float *y, size_t n)
{
    const hyb_block_d8 *b = (const hyb_block_d8 *)blocks;
    size_t i;
    for (i = 0; i < n; i++) y[i] = (float)b[i / 32].qs[31 - i % 32] * hyb_f16_to_f32(b[i / 32].d);
}
static void hyb_quantize_d8(const float *x, void *blocks, size_t n, const float *importance)
{
    hyb_block_d8 *b = (hyb_block_d8 *)blocks;
    size_t i;
    hyb_quantize_q8_0(x, blocks, n, importance);
    for (i = 0; i < n / 32 * 16; i++) {
        const int8_t q = b[i / 16].qs[i % 16];
        b[i / 16].qs[i % 16] = b[i / 16].qs[31 - i % 16];
        b[i / 16].qs[31 - i % 16] = q;
    }
}
#endif
"""),
    ("src/quant/types.inc", "    X(IQ4_XS, 23, ", "    X(D8, 62, 32, 34, d8) \\\n"),
    ("src/quant/types.c", '#include "iq4.c"\n', '#include "family.c"\n'),
    ("src/hybrid_all.c", '#include "quant/iq4.c"\n', '#include "quant/family.c"\n'),
    ("src/cuda/kernels/quant.cu", "#define TYPE_BF16 30\n", "#define TYPE_D8 62\n"),
    ("src/cuda/kernels/quant.cu", "#elif TYPE == TYPE_IQ4_NL\n", """#elif TYPE == TYPE_D8
    #define BLOCK_BYTES  34
    #define BLOCK_ALIGN  2
    #define BLOCK_VALUES 32
    #define SCALE_VALUES 32
    #define HAS_MIN      0
"""),
    ("src/cuda/kernels/quant.cu", "    #if TYPE == TYPE_IQ4_NL || TYPE == TYPE_IQ4_XS\n", """    #if TYPE == TYPE_D8
DEVICE four decode_four(const u8 *block, int at)
{
    four f;
    u32 q;
    load_words<1, 2>(block + 30 - at, &q);
    f.q = __byte_perm(q, 0u, 0x0123u);
    f.s = half_of(block);
    f.m = 0.0f;
    return f;
}
    #endif

"""),
    ("tests/test_quant.c", "        { HYBRID_TYPE_IQ4_XS, ", "        { HYBRID_TYPE_D8, 0x32b7329c2f1ea265u },\n"),
    ("README.md", "IQ4_NL IQ4_XS ", "D8 "),
]

# (kind, its heading in CONTRIBUTING.md, places at most, what is added)
KINDS = [("op", "Adding an op", 8, OP), ("architecture", "Adding an architecture", 4, ARCHITECTURE),
         ("type", "Adding a tensor type", 8, TYPE)]


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
        if before is None:
            with open(os.path.join(root, path), "w", encoding="utf-8") as f:
                f.write(text)
        elif path != without:
            replace(os.path.join(root, path), before, text + before)


def own_data(root):
    """Copies what is but a link to the repository's, before something is written there."""
    data = os.path.join(root, "tests", "oracle", "data")
    if os.path.islink(data):
        source = os.path.realpath(data)
        os.remove(data)
        shutil.copytree(source, data)
    return data


def renamed(root):
    """The tiny Llama of the tests as a model of the architecture 'dummy', with its reference."""
    folder = os.path.join(own_data(root), "models")
    with open(os.path.join(folder, "llama.gguf"), "rb") as f:
        data = f.read()
    data = data.replace(b"llama.", b"dummy.").replace(b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0llama",
                                                      b"general.architecture\x08\0\0\0\x05\0\0\0\0\0\0\0dummy")
    with open(os.path.join(folder, "dummy.gguf"), "wb") as f:
        f.write(data)
    shutil.copy(os.path.join(folder, "llama.ref.gguf"), os.path.join(folder, "dummy.ref.gguf"))


def known(root):
    """What make_quant.py would say of D8: what it says of Q8_0, with the bytes of the blocks in the opposite order."""
    data = own_data(root)
    path = os.path.join(data, "quant_decode.bin")
    with open(path, "rb") as f:
        types, at = f.read(), 0
    while struct.unpack_from("<I", types, at)[0] != 8:
        _, block, size, n = struct.unpack_from("<IIII", types, at)
        at += 24 + n // block * size + 4 * n
    _, block, size, n = struct.unpack_from("<IIII", types, at)
    blocks = [types[at + 24 + i * size:at + 24 + (i + 1) * size] for i in range(n // block)]
    values = types[at + 24 + len(blocks) * size:at + 24 + len(blocks) * size + 4 * n]
    with open(path, "ab") as f:
        f.write(struct.pack("<IIII8s", 62, block, size, n, b"D8"))
        f.write(b"".join(b[:2] + b[:1:-1] for b in blocks) + values)
    path = os.path.join(data, "quant_error.txt")
    with open(path, encoding="utf-8") as f:
        lines = [line for line in f if line.startswith("8 ")]
    with open(path, "a", encoding="utf-8") as f:
        f.write("".join("62" + line[1:] for line in lines))


def steps_of(kind, emulated):
    """[(program, its environment, what it must say)]: the tests of an op pass on the CPU and on the emulated GPU; those
    of models, of the new one (make test has had the others); and of a type decoding and encoding, and the three ops
    that read weights."""
    passed = r"^[1-9]\d+ passed, 0 failed"
    if kind == "architecture":
        return [("models", {"HYBRID_ONLY": "dummy"}, r"^  dummy .*logits within")]
    if kind == "op":
        return [(name, {"HYBRID_ONLY": "redouble"}, passed) for name in ["ops"] + ["cuda_ops"] * emulated]
    ops = "cuda_ops" if emulated else "ops"                                  # the former has the CPU as its reference
    # in another order it draws fewer
    return [("quant", {}, passed)] + [(ops, {"HYBRID_TYPE": "D8", "HYBRID_ONLY": op, "EMU_ORDER": "lifo"}, passed)
                                      for op in ("embed", "matmul", "experts")]


class Built:
    """A copy of the repository to which all was added, with its header made and its library compiled, for the tests of
    all kinds."""

    def __init__(self, run, root):
        import opened
        self.run, self.root = run, root
        self.cc = os.environ.get("CC", "cc").split()
        # AVX-512 has the text of AVX2, for the most part, and takes a third of the time
        self.flags = ["-w", "-DHYBRID_NO_AVX512", "-I.", "-Itests"]
        renamed(root)
        known(root)
        self.words = self.fails([sys.executable, "amalgamate.py"])
        if not self.words:
            opened.make(root)
            self.words = self.fails(self.cc + ["-O0"] + self.flags + ["-c", opened.HELD + "/tests/library.c", "-o",
                                                                      "library.o"])
        self.used = opened.USED

    def fails(self, step, wanted="", **environment):
        """None, or what was said."""
        env = {k: v for k, v in os.environ.items() if k != "HYBRID_NO_SKIP"}  # a copy has no data beside it
        status, out = self.run(step, cwd=self.root, env=dict(env, **environment))
        if status or not re.search(wanted, out, re.M):
            return "%s %s\n%s" % (" ".join(step), environment.get("HYBRID_ONLY", ""), out)
        return None

    def fails_as(self, kind):
        """None, or what was said."""
        emulator = os.path.join(os.path.dirname(os.path.dirname(HERE)), "build", "emu")
        gpu = {"HYBRID_CUDA_PATH": emulator, "HYBRID_CUDA_CACHE": ""}
        words = self.words
        for name, environment, wanted in steps_of(kind, os.path.isdir(emulator)):
            if not words and not os.path.exists(os.path.join(self.root, name)):
                words = self.fails(self.cc + ["-O1"] + self.flags + ["%s/tests/test_%s.c" % (self.used, name),
                                                                     "library.o", "-o", name, "-lm", "-lpthread"])
            where = gpu if name == "cuda_ops" else {"HYBRID_DEVICE": "cpu"}
            words = words or self.fails(["./" + name], wanted, **where, **environment)
        return words


def by_hand(root):
    """The table of the CPU back end as it was: a list of names."""
    replace(os.path.join(root, "src", "compute", "cpu", "backend.c"), "        HYB_OPS(HYB_OP, HYB_PARTS)\n", "".join(
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
    ("types that products know by name",
     lambda root: replace(os.path.join(root, "src", "compute", "cpu", "matmul.c"),
                          "hyb_matmul_decoder(type) ? HYBRID_TYPE_F32 : type", "type")),
    ("a file that a type takes, and the list does not name",
     lambda root: replace(os.path.join(root, CONTRIBUTING), "6. `src/cuda/kernels/quant.cu`",
                          "6. (`src/cuda/kernels/quant.cu`)")),
])
def places(box):
    from gates import copy_of
    text = box.read(CONTRIBUTING)
    copy = os.path.join(box.tmp, "all")
    copy_of(box.root, copy)
    for kind, _, _, pieces in KINDS:
        add(copy, pieces)
    built = Built(box.run, copy)
    for kind, heading, most, pieces in KINDS:
        files, listed = files_of(pieces), named(text, heading)
        box.expect("CONTRIBUTING.md names the places: %s" % kind, sorted(files) == sorted(listed),
                   "it takes %s\nand the list says %s" % (" ".join(files), " ".join(listed)))
        box.expect("at most %d places: %s" % (most, kind), len(files) <= most,
                   "%d: %s" % (len(files), " ".join(files)))
        words = built.fails_as(kind)
        box.expect("added in these places, it builds and passes: %s" % kind, not words, words or "")
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
    scratch = tempfile.mkdtemp(prefix="hybrid-places-")
    try:
        copy = os.path.join(scratch, "repo")
        gates.copy_of(os.path.dirname(os.path.dirname(HERE)), copy)
        for _, _, _, pieces in KINDS:
            add(copy, pieces)
        built = Built(lambda step, **more: (lambda done: (done.returncode, done.stdout.decode()))(
            subprocess.run(step, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)), copy)
        for kind, _, most, pieces in KINDS:
            words = built.fails_as(kind)
            print("%s: %d places of at most %d%s" %
                  (kind, len(files_of(pieces)), most, "" if not words else ", but it does not build:\n" + words))
            print("".join("    %s\n" % path for path in files_of(pieces)), end="")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
