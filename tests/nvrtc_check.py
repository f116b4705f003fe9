"""Compiles every module of src/cuda/modules.c with NVRTC for every architecture that it offers; no GPU and no driver
are needed.

Fails on errors, warnings of the kernels' texts and on spills; prints the registers of every kernel. This is the one
proxy for speed that a machine without a GPU has. Without an NVRTC it says so and succeeds.

    python3 tests/nvrtc_check.py [--arch 75,90] [--module matvec_Q4_0] [--nvrtc path/libnvrtc.so.13] [--quiet]
    python3 tests/nvrtc_check.py --sample        75 and 90: the oldest, which has other bodies of the seam, and the one
    in most use (make test)

A run that finds nothing wrong with both of them writes the digest of what decides about that into
tests/results/nvrtc.txt: kernels, modules, this script, the version of NVRTC. While they stay as they are, the same
compiler says the same of the same text: --sample is content with an eighth of the modules for one of the two, others
every day.
"""
import argparse, ctypes, glob, hashlib, multiprocessing, os, re, subprocess, sys, tempfile, time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CUDA = os.path.join(ROOT, "src", "cuda")
MAX_REGISTERS = 255
SAMPLE, PARTS = [75, 90], 8
SEEN = os.path.join(ROOT, "tests", "results", "nvrtc.txt")

# What module_table.c holds, printed by itself: HYB_EMBED gives the name of the text instead of the text.
PRINTER = r"""
#define HYB_EMBED(name, file) static const char *const name[] = { file, NULL };
#include "%s"
#include "%s"
int main(void)
{
    int i, j;
    for (i = 0; i < HYB_MODULE_COUNT; i++) {
        const hyb_cuda_module_info *m = hyb_cuda_module(i);
        printf("%%s\t", m->name);
        for (j = 0; j < 4 && m->parts[j]; j++) printf("%%s ", m->parts[j][0]);
        printf("\t");
        for (j = 0; j < 4 && m->options[j]; j++) printf("%%s ", m->options[j]);
        printf("\t");
        for (j = 0; j < HYB_MODULE_KERNELS && m->kernels[j]; j++) printf("%%s ", m->kernels[j]);
        printf("\n");
    }
    return 0;
}
"""


def modules():
    with tempfile.TemporaryDirectory() as d:
        c, exe = os.path.join(d, "modules.c"), os.path.join(d, "modules")
        with open(c, "w") as f:
            f.write(PRINTER % (os.path.join(CUDA, "module_table.c"), os.path.join(ROOT, "src", "quant", "types.c")))
        subprocess.run([os.environ.get("CC", "cc"), "-w", "-DHYBRID_NO_SIMD", "-o", exe, c, "-lm"], check=True)
        out = subprocess.run([exe], check=True, stdout=subprocess.PIPE).stdout.decode()
    for line in out.splitlines():
        name, parts, options, kernels = line.split("\t")
        yield name, parts.split(), options.split(), kernels.split()


def find_nvrtc(given):
    if given:
        return given
    places = [os.environ.get(v, "") for v in ("HYBRID_CUDA_PATH", "CUDA_PATH",
                                              "CUDA_HOME")] + sorted(glob.glob("/usr/local/cuda*"), reverse=True)
    for place in places:
        for folder in ("", "lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"):
            found = sorted(glob.glob(os.path.join(place, folder, "libnvrtc.so.[0-9]*"))) if place else []
            if found:
                return found[0]
    for name in ("libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"):
        try:
            ctypes.CDLL(name)
            return name
        except OSError:
            pass
    return None


class Nvrtc:
    def __init__(self, path):
        for builtins in glob.glob(os.path.join(os.path.dirname(path), "libnvrtc-builtins.so.*")):
            ctypes.CDLL(builtins, ctypes.RTLD_GLOBAL)       # NVRTC opens it by its bare name
        self.lib = ctypes.CDLL(path)

    def version(self):
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.lib.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return "%d.%d" % (major.value, minor.value)

    def architectures(self):
        n = ctypes.c_int()
        self.lib.nvrtcGetNumSupportedArchs(ctypes.byref(n))
        a = (ctypes.c_int * n.value)()
        self.lib.nvrtcGetSupportedArchs(a)
        return list(a)

    def compile(self, name, text, options):
        """(result code, log)"""
        program = ctypes.c_void_p()
        self.lib.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
        array = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
        result = self.lib.nvrtcCompileProgram(program, len(options), array)
        size = ctypes.c_size_t()
        self.lib.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value + 1)
        self.lib.nvrtcGetProgramLog(program, log)
        self.lib.nvrtcDestroyProgram(ctypes.byref(program))
        return result, log.value.decode(errors="replace")


def kernels_of(log):
    """{kernel: (registers, spilled bytes, stack, shared bytes)} of ptxas's -v"""
    table, name, stack, spill = {}, None, 0, 0
    for line in log.splitlines():
        m = re.search(r"(?:Compiling entry function|Function properties for) '?([\w$]+)'?", line)
        if m:
            name = m.group(1)
        m = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line)
        if m:
            stack, spill = int(m.group(1)), int(m.group(2)) + int(m.group(3))
        m = re.search(r"Used (\d+) registers", line)
        if m and name:
            shared = re.search(r"(\d+) bytes smem", line)
            table[name] = (int(m.group(1)), spill, stack, int(shared.group(1)) if shared else 0)
            stack = spill = 0
    return table


def check_module(work):
    """What is wrong with one module, and {(module, kernel, architecture): registers}. Runs in a process of its own:
    NVRTC compiles one program at a time."""
    path, archs, (name, parts, options, kernels) = work
    global nvrtc
    if nvrtc is None:
        nvrtc = Nvrtc(path)
    wrong, registers = [], {}
    missing = [p for p in parts if not os.path.exists(os.path.join(CUDA, p))]
    if missing:
        return ["%s: there is no %s" % (name, missing[0])], registers
    text = "".join("#line 1 \"%s\"\n%s" % (p, open(os.path.join(CUDA, p)).read()) for p in parts)
    for arch in archs:
        result, log = nvrtc.compile(name + ".cu", text,
                                    ["--gpu-architecture=sm_%d" % arch, "--std=c++17", "--ptxas-options=-v"] + options)
        found = kernels_of(log)
        if result != 0 or "warning" in log:
            wrong.append("%s sm_%d: result %d\n%s" % (name, arch, result, "\n".join(log.splitlines()[:8])))
        for kernel in kernels if result == 0 else []:
            if kernel not in found:
                wrong.append("%s sm_%d: no kernel %s" % (name, arch, kernel))
                continue
            regs, spill, stack, shared = found[kernel]
            registers[name, kernel, arch] = regs
            if spill or stack:
                wrong.append("%s sm_%d: %s spills: %d bytes, stack frame %d bytes, %d registers" %
                             (name, arch, kernel, spill, stack, regs))
            if regs > MAX_REGISTERS:
                wrong.append("%s sm_%d: %s needs %d registers" % (name, arch, kernel, regs))
    return wrong, registers


nvrtc = None


def digest(path):
    """Of the kernels, what modules they make, this script, and the compiler."""
    total = hashlib.sha256((Nvrtc(path).version() + repr(list(modules()))).encode())
    for name in sorted(glob.glob(os.path.join(CUDA, "kernels", "*")) + [os.path.abspath(__file__)]):
        with open(name, "rb") as f:
            total.update(os.path.basename(name).encode() + b"\0" + f.read())
    return total.hexdigest()


def seen(path):
    """Whether both architectures of the sample were good as things stand."""
    if not os.path.exists(SEEN):
        return False
    with open(SEEN, encoding="utf-8") as f:
        return digest(path) in f.read()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--arch", help="numbers like 75,90 (all that NVRTC offers when absent)")
    parser.add_argument("--module", help="only modules whose name contains one of these words, separated by commas")
    parser.add_argument("--nvrtc", help="the library")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--sample", action="store_true",
                        help="75 and 90; an eighth of the modules for one of them, if both were good before")
    parser.add_argument("--quiet", action="store_true", help="no table, only what is wrong")
    args = parser.parse_args()
    path = find_nvrtc(args.nvrtc)
    if not path:
        print("nvrtc_check: skipped, no libnvrtc was found (CUDA_PATH, /usr/local/cuda*, the loader's path)")
        return 0
    archs = [int(a)
             for a in args.arch.split(",")] if args.arch else SAMPLE if args.sample else Nvrtc(path).architectures()
    chosen = [m for m in modules() if not args.module or any(w in m[0] for w in args.module.split(","))]
    if args.sample and seen(path):
        day = int(time.time() / 86400)
        archs, chosen = [SAMPLE[day % len(SAMPLE)]], chosen[day // len(SAMPLE) % PARTS::PARTS]
        print("sm_75 and sm_90 were good with these kernels and this NVRTC (%s); today only an eighth for sm_%d" %
              (os.path.relpath(SEEN, ROOT), archs[0]))
    start = time.time()
    wrong, registers = [], {}
    with multiprocessing.Pool(args.jobs) as pool:
        for found_wrong, found_registers in pool.imap(check_module, [(path, archs, m) for m in chosen]):
            wrong += found_wrong
            registers.update(found_registers)
    if not args.quiet:
        print("registers a thread\n%-36s" % "" + "".join("%6d" % a for a in archs))
        for name, kernel in dict.fromkeys((name, kernel) for name, kernel, arch in registers):
            row = "".join("%6s" % registers.get((name, kernel, a), "-") for a in archs)
            print("%-36s" % (name + "." + kernel if name != kernel else name) + row)
    for w in wrong:
        print("WRONG " + w)
    if not wrong and not args.module and set(SAMPLE) <= set(archs):
        with open(SEEN, "w", encoding="utf-8") as f:
            f.write("Every module was good for sm_75 and sm_90, %s, with the kernels, modules, tests/nvrtc_check.py "
                    "and NVRTC of the digest\n%s\n"
                    % (time.strftime("%Y-%m-%d"), digest(path)))
    print("nvrtc_check: %d modules x %d architectures in %.0f s with %s: %d wrong" %
          (len(chosen), len(archs), time.time() - start, path, len(wrong)))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
