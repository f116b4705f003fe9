"""What the header leaves in other people's programs: its own names, and nothing else."""
import os
import re

from gates import gate
from house import in_declarations, in_header, replace

FORBIDDEN = {"abort", "exit", "_exit", "_Exit", "quick_exit", "atexit", "signal", "raise", "printf", "vprintf", "puts",
             "putchar", "putc",
             "fputs", "perror", "stdout", "stderr", "stdin", "__assert_fail", "__printf_chk", "__fprintf_chk", "rand",
             "srand", "system", "getenv", "setenv", "setlocale"}
# Idempotent caches: the only data that may change. Name -> reason.
MUTABLE = {"hyb_gpu_provider": "core/device.c: the GPU back end that is compiled in. Set once, before main",
           "known": "compute/cpu/int/select.c: does the system lend this process its AMX tiles? Asked once"}
# The GPU part looks for libraries and caches where the environment says, and puts the locale back that old compilers
# change.
GPU_MAY = {"getenv", "setlocale"}
ALONE = '#define HYBRID_IMPLEMENTATION\n#include "hybrid.h"\n'
SOURCE = '#define HYBRID_IMPLEMENTATION\n#include "hybrid.h"\n#include "hybrid_cuda.h"\n'
OURS = ("hybrid.h", "hybrid_cuda.h")


def symbols(box, name, source, flags):
    """(kind, name) of every symbol of the object; constants of pointers count as constants: no position-independent
    code."""
    path, _ = box.object(name, ["cc", "-O0", "-fno-pie", "-fno-pic"] + flags, source)
    if not path:
        return []
    _, out = box.run(["nm", path])
    return [(m.group(1), m.group(2)) for m in re.finditer(r"^[0-9a-f ]* ([A-Za-z]) (\S+)$", out, re.M)]


@gate("symbols", faults=[
    ("an external of a foreign name", in_header("int loose(void);\nint loose(void) { return 1; }")),
    ("a private external", in_header("int hyb_loose(void);\nint hyb_loose(void) { return 1; }")),
    ("a public function that HYBRID_STATIC does not reach",
     in_header("extern int hybrid_loose(void);\nint hybrid_loose(void) { return 1; }")),
    ("a global that can change",
     in_header(
         "static int hyb_n;\nHYBRID_API int hybrid_next(void);\nHYBRID_API int hybrid_next(void) { return ++hyb_n; }")),
    ("printing", in_header('HYBRID_API void hybrid_say(void);\nHYBRID_API void hybrid_say(void) { printf("%d", 1); }')),
    ("aborting", in_header("HYBRID_API void hybrid_end(void);\nHYBRID_API void hybrid_end(void) { abort(); }")),
])
def check_symbols(box):
    if not box.has("nm"):
        return box.skipped("nm", "binutils are not installed (tests/setup.sh installs them)")
    # the kernels of this machine: of the first, which other gates have as well
    for name, source, flags, may in (("plain", ALONE, [], set()),
                                     ("with the GPU part", SOURCE, ["-DHYBRID_NO_SIMD"], GPU_MAY),
                                     ("static", SOURCE, ["-DHYBRID_STATIC", "-DHYBRID_NO_SIMD"], GPU_MAY)):
        found = symbols(box, name.split()[0], source, flags)
        external = sorted(n for kind, n in found if kind.isupper() and kind != "U" and kind not in "VW")
        if "-DHYBRID_STATIC" in flags:
            box.expect("with HYBRID_STATIC nothing is external", not external, ", ".join(external))
        else:
            foreign = [n for n in external if not re.match(r"hybrid_", n)]
            box.expect("externals are public hybrid_ names", external and not foreign, ", ".join(foreign))
        mutable = sorted(n for kind, n in found if kind in "bBdDcCsSgG" and re.sub(r"\.\d+$", "", n) not in MUTABLE)
        box.expect("no data that can change (%s)" % name, not mutable, ", ".join(mutable))
        forbidden = sorted(n for kind, n in found if kind == "U" and n in FORBIDDEN - may)
        box.expect("it never ends, prints or asks the environment (%s)" % name, not forbidden, ", ".join(forbidden))


def foreign_macros(macros):
    return [m for m in macros if not re.match(r"HYBRID_", m)]


def left_behind(box, text, language, compiler="cc"):
    """Macros that hybrid.h defined and did not undefine, and the system headers that it included itself."""
    path = box.write("macros.c", text)
    status, out = box.run([compiler, "-E", "-dD"] + language + ["-I", box.root, path])
    if status:
        box.failed("preprocessing", out[-1000:])
    where, stack, macros, includes = "", [], {}, []
    for line in out.split("\n"):
        marker = re.match(r'# \d+ "([^"]*)"(.*)', line)
        if marker:
            if " 1" in marker.group(2).split(" 3")[0] and os.path.basename(where) in OURS:
                includes.append(os.path.basename(marker.group(1)))
            where = marker.group(1)
        elif os.path.basename(where) in OURS:
            define = re.match(r"#(define|undef) (\w+)", line)
            if define and define.group(1) == "define":
                macros[define.group(2)] = True
            elif define:
                macros.pop(define.group(2), None)
    return sorted(macros), includes


@gate("macros", faults=[
    ("a private macro that stays", lambda root: replace(os.path.join(root, "hybrid.h"), "#undef HYB_UNUSED\n", "")),
    ("a foreign macro in the implementation", in_header("#define LOOSE 1")),
    ("a foreign macro in the declarations", in_declarations("#define LOOSE 1")),
    ("a system header in the declarations", in_declarations("#include <stdio.h>")),
])
def check_macros(box):
    for title, language in (("C", ["-x", "c", "-std=c99"]), ("C++", ["-x", "c++", "-std=c++11"])):
        for half, text in (("declarations", '#include "hybrid.h"\n'), ("implementation", SOURCE)):
            macros, includes = left_behind(box, text, language)
            foreign = foreign_macros(macros)
            box.expect("macros left by the %s in %s" % (half, title), macros and not foreign, ", ".join(foreign))
            if half == "declarations":
                box.expect("the declarations include three headers in %s" % title,
                           sorted(set(includes)) == ["stdbool.h", "stddef.h", "stdint.h"], ", ".join(includes))
