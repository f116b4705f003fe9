"""Reads the machine code of the GPU's kernels: what a machine without a GPU can say of their speed.

Compiles the kernels of a decoded token and of a prompt with NVRTC for three architectures, disassembles them with
nvdisasm and compares with tests/results/sass.txt: fails when a figure is worse than there. Modules whose text is the
one of the table are not compiled again. Needs an NVRTC (as nvrtc_check.py) and an nvdisasm (of a toolkit, or of the
PyPI packages nvidia-cuda-nvdisasm or triton); without them only the digests of the texts are compared.

    python3 tests/sass_check.py [--module matvec_Q4_0,rows] [--arch 90] [--show]
    python3 tests/sass_check.py --all        compiles what has not changed, too
    python3 tests/sass_check.py --accept     writes the table also when a figure is worse (say why in the commit)

The figures, per kernel and architecture:
    regs spill shared   registers a thread; bytes of spills and stack, of static shared memory
    warps               that fit on a multiprocessor (of the registers and shared memory; k = 4096)
    loop                instructions of one pass of the hot loop, the loop with most products: the shortest way round
                        on which nothing of them is left out, without what only the last pass of a row does
    end                 the same with that
    ins/B               loop / bytes of weights of a pass (matvec)
    loads               the most bytes that a thread asks of global memory before it waits for any
    trips               how often it waits for global memory in the hot loop
    all                 instructions of the kernel
"""
import argparse, ctypes, glob, hashlib, multiprocessing, os, re, shutil, site, subprocess, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import nvrtc_check
from nvrtc_check import CUDA, ROOT

TABLE = os.path.join(ROOT, "tests", "results", "sass.txt")
ARCHS = [75, 89, 90]
# registers, bytes of shared memory, warps and blocks of a multiprocessor, bytes that a block takes besides its own
SM = {75: (65536, 65536, 32, 16, 0), 89: (65536, 102400, 48, 24, 1024), 90: (65536, 233472, 64, 32, 1024)}
# (module, kernels of it or all, threads of a block, dynamic shared memory)
NEAR = 4096 + 4096 // 16 * 4 + 4096 // 32 * 4
WANTED = [(r"matvec_(F32|F16|BF16)", None, 128, 0), (r"matvec_far_\w+", None, 128, 0),
          (r"matvec_(I?Q\w+)", None, 128, NEAR), (r"matbatch_(8|32|64)_(Q4_0|Q8_0|Q4_K|Q6_K)", None, 128, 0),
          (r"attention_(F16_64|F16_128|Q8_0_128)", "attention_few", 128, 0),
          (r"attention_\w+_64", "attention_many", 128, 18432), (r"attention_(F16|Q8_0)_128", "attention_many", 128,
                                                                34816),
          (r"rows", "norm_4 glu_4", 256, 0), (r"kv", "heads", 128, 0), (r"quantize", "quantize quantize_tiles", 256, 0),
          (r"select", "top_k_chunk", 256, 0), (r"select", "top_k_row", 1024, 0), (r"gemm_f16", "gemm_128", 256, 0)]
COLUMNS = ["regs", "spill", "shared", "warps", "loop", "end", "ins/B", "loads", "trips", "all"]
LESS, MORE = ["spill", "shared", "loop", "end", "ins/B", "trips"], ["warps", "loads"]     # is better


def wanted(module, kernel):
    for pattern, kernels, threads, dynamic in WANTED:
        if re.fullmatch(pattern, module) and (not kernels or kernel in kernels.split()):
            return threads, dynamic
    return None


def packages():
    homes = site.getsitepackages() + glob.glob(os.path.expanduser("~/.cache/hybrid/venv/lib/python3*/site-packages"))
    return [home for home in homes if os.path.isdir(home)]


def find_nvdisasm():
    found = [shutil.which("nvdisasm")]
    for home in packages():
        found += glob.glob(home + "/nvidia/*/bin/nvdisasm") + glob.glob(home + "/triton/backends/nvidia/bin/nvdisasm")
    return next((path for path in found + ["/usr/local/cuda/bin/nvdisasm"] if path and os.path.exists(path)), None)


def find_nvrtc():
    path = nvrtc_check.find_nvrtc(None)
    for home in packages():
        path = path or next(iter(glob.glob(home + "/nvidia/*/lib/libnvrtc.so.1*")), None)
    return path


def compile_cubin(nvrtc, name, text, options):
    """(cubin, log with ptxas's figures)"""
    lib, program, size = nvrtc.lib, ctypes.c_void_p(), ctypes.c_size_t()
    lib.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
    result = lib.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*[o.encode()
                                                                                             for o in options]))
    lib.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value + 1)
    lib.nvrtcGetProgramLog(program, log)
    log = log.value.decode(errors="replace")
    if result:
        raise RuntimeError("%s does not compile:\n%s" % (name, "\n".join(log.splitlines()[:20])))
    lib.nvrtcGetCUBINSize(program, ctypes.byref(size))
    cubin = ctypes.create_string_buffer(size.value)
    lib.nvrtcGetCUBIN(program, cubin)
    lib.nvrtcDestroyProgram(ctypes.byref(program))
    return cubin.raw, log


def kernels_of(sass):
    """{kernel: [(predicate, opcode, operands)], {label: number of an instruction}}"""
    found, code, labels = {}, None, None
    for line in sass.splitlines():
        begin = re.match(r"\.text\.(\w+):", line)
        label = re.match(r"(\.L_x_\d+):", line)
        instruction = re.match(r"\s+/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+ )?\s*([\w.]+)\s*(.*?)\s*;", line)
        if begin:
            code, labels = found[begin.group(1)] = ([], {})
        elif code is not None and label:
            labels[label.group(1)] = len(code)
        elif code is not None and instruction:
            code.append(instruction.groups())
    return found


def successors(code, labels):
    """Of each instruction. Calls (slow divisions) come back; the ways of warps that have diverged are left out."""
    after, joins = [], {}
    for i, (predicate, opcode, operands) in enumerate(code):
        name, target = opcode.split(".")[0], re.search(r"`\((\.L_x_\d+)\)", operands)
        target = labels.get(target.group(1)) if target else None
        following = [i + 1] if i + 1 < len(code) else []
        if name == "BSSY":
            joins[operands.split(",")[0]] = target
        if name in ("EXIT", "RET") and not predicate:
            following = []
        elif name == "BSYNC":
            target = joins.get(operands)
            following = [target] if target is not None and target > i else following
        elif name == "BRA" and opcode != "BRA.DIV" and target is not None:
            always = not predicate and re.match(r"`", operands)
            following = [target] if always else following + [target]
        elif name == "CALL" and target is not None:                # a jump, in older architectures
            following = following + [target]
        after.append(following)
    return after


def loops_of(after):
    """[(head, set of instructions, instructions that go back, edges that go back)]: natural loops."""
    state, back, order = {}, set(), [(0, iter(after[0]))]
    state[0] = 1
    while order:
        at, rest = order[-1]
        following = next(rest, None)
        if following is None:
            state[at] = 2
            order.pop()
        elif state.get(following) == 1:
            back.add((at, following))
        elif following not in state:
            state[following] = 1
            order.append((following, iter(after[following])))
    before = {}
    for at in state:
        for following in after[at]:
            before.setdefault(following, []).append(at)
    loops = []
    for head in {head for _, head in back}:
        tails = [tail for tail, to in back if to == head]
        inside, todo = {head}, list(tails)
        while todo:
            at = todo.pop()
            if at not in inside:
                inside.add(at)
                todo += before[at]
        loops.append((head, inside, tails, back))
    return loops


def way_round(after, loop, value):
    """(largest sum of value(instruction), fewest instructions with that) of the ways from a loop's head back to it."""
    head, inside, tails, back = loop
    best, order, seen = {}, [], set()

    def visit(at):                                     # in an order in which what comes after comes before
        stack = [(at, iter(after[at]))]
        seen.add(at)
        while stack:
            now, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                order.append(now)
                stack.pop()
            elif following in inside and following not in seen and (now, following) not in back:
                seen.add(following)
                stack.append((following, iter(after[following])))
    visit(head)
    for at in order:
        ways = [best[f] for f in after[at] if f in best and (at, f) not in back] + ([(0, 0)] if at in tails else [])
        if ways:
            sum_, count = max(ways)
            best[at] = (sum_ + value(at), count - 1)
    return best[head][0], -best[head][1]


def loads_of(code):
    """(bytes of the loads that no instruction between them waits for, at most; how many such groups there are)"""
    most = now = trips = 0
    waiting = set()
    for _, opcode, operands in code:
        registers = {int(r) for r in re.findall(r"\bR(\d+)\b", operands)}
        load = re.match(r"LDG?\.", opcode)
        width = int((re.search(r"\.(64|128)\b", opcode) or [0, "32"])[1]) // 8 if ".U8" not in opcode else 1
        to = re.match(r"(?:U?P\w+, )?R(\d+)", operands) if load else None
        if to:
            registers.discard(int(to.group(1)))
        if registers & waiting or opcode.startswith("BAR"):
            trips += len(waiting) > 0
            now, waiting = 0, set()
        if to:
            now += 2 if ".U16" in opcode else width
            waiting |= {int(to.group(1)) + i for i in range(max(width // 4, 1))}
            most = max(most, now)
    return most, trips


def read_kernel(code, labels, bytes_a_value):
    """{loop, end, ins/B, loads, all}"""
    after = successors(code, labels)
    opcodes = [c[1] for c in code]
    product = next((p for p in (r"[HIQ]MMA|IMMA", r"IDP", r"FFMA")
                    if any(re.match(p, o) for o in opcodes)), "FADD")
    works = [re.match(product, o) is not None for o in opcodes]
    copies = [re.match(r"LDGSTS|LDG?\..*\.128", o) is not None for o in opcodes]
    loops = loops_of(after)
    row = {"loop": 0, "end": 0, "ins/B": "-", "loads": loads_of(code)[0], "trips": 0,
           "all": sum(1 for o in opcodes if o != "NOP")}
    loops = [(sum(works[i] for i in loop[1]), -len(loop[1]), loop) for loop in loops]
    if loops and max(loops)[0]:
        loop = max(loops, key=lambda l: l[:2])[2]
        _, row["loop"] = way_round(after, loop, lambda i: 1000 * works[i] + copies[i])
        _, row["end"] = way_round(after, loop, lambda i: 1000 * (works[i] or opcodes[i].startswith("SHFL")) + copies[i])
        row["trips"] = loads_of([code[i] for i in sorted(loop[1])])[1]
        if bytes_a_value:
            products = way_round(after, loop, lambda i: works[i])[0]
            values = 32 * products * (4 if product == "IDP" else 1)
            row["ins/B"] = "%.3f" % (row["loop"] / (values * bytes_a_value))
    return row


def resident(arch, registers, shared, threads):
    """Warps."""
    all_registers, all_shared, warps, blocks, reserved = SM[arch]
    of_block = threads // 32
    by_registers = all_registers // (-(-registers // 8) * 256) // of_block
    by_shared = all_shared // (-(-(shared + reserved) // 128) * 128) if shared else blocks
    return min(by_registers, by_shared, warps // of_block, blocks) * of_block


def text_of(module):
    name, parts, options, _ = module
    return "".join("#line 1 \"%s\"\n%s" % (p, open(os.path.join(CUDA, p)).read()) for p in parts)


def digest_of(module):
    return hashlib.sha256((text_of(module) + " ".join(module[2])).encode()).hexdigest()[:12]


def read_module(work):
    """{(module.kernel, arch): row}"""
    nvrtc_path, nvdisasm, module, arch, block_bytes = work
    name, _, options, kernels = module
    nvrtc = nvrtc_check.Nvrtc(nvrtc_path)
    cubin, log = compile_cubin(nvrtc, name + ".cu", text_of(module),
                               ["--gpu-architecture=sm_%d" % arch, "--std=c++17", "--ptxas-options=-v"] + options)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as f:
        f.write(cubin)
        f.flush()
        sass = subprocess.run([nvdisasm, "-c", f.name], check=True, stdout=subprocess.PIPE).stdout.decode()
    codes, figures, rows = kernels_of(sass), nvrtc_check.kernels_of(log), {}
    for kernel in kernels:
        if not wanted(name, kernel):
            continue
        threads, dynamic = wanted(name, kernel)
        registers, spill, stack, shared = figures[kernel]
        row = {"regs": registers, "spill": spill + stack, "shared": shared,
               "warps": resident(arch, registers, shared + dynamic, threads)}
        row.update(read_kernel(*codes[kernel], block_bytes))
        if name.startswith("mat") and not row["loop"]:
            raise RuntimeError("%s sm_%d: no loop with products was found in the machine code" % (name, arch))
        rows["%s.%s" % (name, kernel), arch] = {c: str(row[c]) for c in COLUMNS}
    return rows


def read_table(path=TABLE):
    """({(kernel, arch): row}, {module: digest}, version of NVRTC)"""
    rows, digests, version = {}, {}, ""
    for line in open(path, encoding="utf-8") if os.path.exists(path) else []:
        words = line.split()
        if line.startswith("NVRTC"):
            version = words[1].rstrip(",")
        elif len(words) == 3 + len(COLUMNS) and words[1].isdigit():
            rows[words[0], int(words[1])] = dict(zip(COLUMNS, words[2:]))
            digests[words[0].split(".")[0]] = words[-1]
    return rows, digests, version


def write_table(rows, digests, version):
    with open(TABLE, "w", encoding="utf-8") as f:
        f.write("NVRTC %s, read by tests/sass_check.py (which says what the columns are), not measured\n" % version)
        f.write("%-32s %4s" % ("kernel", "sm") + "".join("%7s" % c for c in COLUMNS) + "  digest of the text\n")
        for (kernel, arch), row in rows.items():
            f.write("%-32s %4d" % (kernel, arch) + "".join("%7s" % row[c] for c in COLUMNS)
                    + "  %s\n" % digests[kernel.split(".")[0]])


def worse(was, now):
    """What of a row is worse than it was."""
    number = lambda row, c: float(row[c]) if row[c] != "-" else 0.0
    return ["%s %s -> %s" % (c, was[c], now[c]) for c in COLUMNS
            if c in LESS and number(now, c) > number(was, c) or c in MORE and number(now, c) < number(was, c)]


def bytes_a_value():
    text = open(os.path.join(ROOT, "src", "quant", "types.inc")).read()
    return {m[0]: int(m[2]) / int(m[1]) for m in re.findall(r"X\((\w+),\s*\d+,\s*(\d+),\s*(\d+)", text)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--module", help="only modules whose name contains one of these words, separated by commas")
    parser.add_argument("--arch", help="numbers like 75,90")
    parser.add_argument("--all", action="store_true", help="also modules that have not changed")
    parser.add_argument("--accept", action="store_true", help="write the table, whatever it says")
    parser.add_argument("--show", action="store_true", help="print what was read")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_args()
    table, digests, version = read_table()
    modules = [m for m in nvrtc_check.modules() if any(wanted(m[0], k) for k in m[3])]
    fresh = {m[0]: digest_of(m) for m in modules}
    archs = [int(a) for a in args.arch.split(",")] if args.arch else ARCHS
    changed = [m for m in modules if args.all or digests.get(m[0]) != fresh[m[0]]]
    if args.module:
        changed = [m for m in changed if any(w in m[0] for w in args.module.split(","))]
    nvrtc, nvdisasm = find_nvrtc(), find_nvdisasm()
    if not changed:
        print("sass_check: 0 of %d modules have changed since %s was written" %
              (len(modules), os.path.relpath(TABLE, ROOT)))
        return 0
    if not nvrtc or not nvdisasm:
        print("sass_check: %d modules are not those of %s (%s), and there is no %s to read them with: run make "
              "sass-check where there is one" % (len(changed), os.path.relpath(TABLE, ROOT), changed[0][0],
                                                 "nvdisasm (PyPI: nvidia-cuda-nvdisasm)" if nvrtc else "libnvrtc"))
        return 1
    if nvrtc_check.Nvrtc(nvrtc).version() != version and version and not args.accept:
        print("sass_check: skipped, the table is of NVRTC %s, this is %s" % (version,
                                                                            nvrtc_check.Nvrtc(nvrtc).version()))
        return 0
    sizes, rows, wrong = bytes_a_value(), {}, []
    with multiprocessing.Pool(args.jobs) as pool:
        work = [(nvrtc, nvdisasm, m, arch,
                 sizes.get(re.sub(r"matvec_(far_)?", "", m[0]), 0) if m[0].startswith("matvec") else 0)
                for m in changed for arch in archs]
        for found in pool.imap(read_module, work):
            rows.update(found)
    for key, row in rows.items():
        if args.show:
            print("%-32s %4d" % key + "".join("%7s" % row[c] for c in COLUMNS))
        wrong += ["%s sm_%d: %s" % (key + (w,)) for w in worse(table.get(key, row), row)]
    for w in wrong:
        print("WORSE " + w)
    if (not wrong or args.accept) and not args.arch and not args.module:
        table.update(rows)
        digests.update(fresh)
        names = [m[0] + "." + k for m in modules for k in m[3]]
        write_table({(n, a): table[n, a] for n in names for a in ARCHS if (n, a) in table}, digests,
                    nvrtc_check.Nvrtc(nvrtc).version())
    print("sass_check: %d modules x %d architectures read: %d figures worse than in %s" %
          (len(changed), len(archs), len(wrong), os.path.relpath(TABLE, ROOT)))
    return 1 if wrong and not args.accept else 0


if __name__ == "__main__":
    sys.exit(main())
