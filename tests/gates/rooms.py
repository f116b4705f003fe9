"""Every file of src/ compiles alone: it includes what it uses. So an editor (clangd) understands it, and a reader sees
what a file stands on.

    python3 tests/gates/rooms.py        writes compile_commands.json: how each of them is compiled (make
    compile_commands.json)

That no room uses one above its own is a rule of amalgamate.py (gate house)."""
import json
import os
import re
import sys

if __name__ != "__main__":
    from gates import gate
    from house import replace, source
else:
    def gate(name, faults=()):
        return lambda check: check

    def source(text):
        return None

    def replace(path, old, new):
        return None

COMMON = ["cc", "-std=c99", "-x", "c", "-fsyntax-only", "-Werror=implicit-function-declaration",
          "-Werror=misleading-indentation"]
PARTS = ("src/hybrid_all.c", "src/hybrid_cuda_all.c", "src/hybrid_top.h", "src/hybrid_cuda_top.h", "src/api/api.h",
         "src/core/end.h")
CPU = "src/compute/cpu/"
# Files with intrinsics: to read the compiler's own header of them takes most of the time.
INTRINSICS = r"src/compute/cpu/(int/(avx|panel|gemm|amx|repack|neon|select)|x86|arm)\w*\.c"
# Texts that are stamped by others: what stands above them there. tile.inc and neon.inc of cpu/int are compiled by those
# that stamp them.
STAMPED = {"vec_avx2.inc": ["target.c", "kernels.c"], "vec_avx512.inc": ["target.c", "kernels.c"]}
STAMPS = ["math.inc", "rows.inc", "recurrent.inc", "train.inc", "attention.inc", "float.inc"]  # in order
for before, name in enumerate(STAMPS):
    STAMPED[name] = ["target.c", "float.c", "recurrent_back.c", "train_generic.c", "vec_avx2.inc"] + STAMPS[:before]


def commands(root):
    """(file, command) of every file that can be compiled alone."""
    for folder, _, names in sorted(os.walk(os.path.join(root, "src"))):
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")
            if path.endswith((".c", ".h")) and path not in PARTS:
                plain = [] if re.match(INTRINSICS, path) else ["-DHYBRID_NO_SIMD"]
                yield path, COMMON + plain + [path]
            elif path.startswith(CPU) and path[len(CPU):] in STAMPED:
                yield path, COMMON + [word for other in STAMPED[name] for word in ("-include", CPU + other)] + [path]


@gate("rooms", faults=[
    ("a file that does not include what it uses", lambda root: replace(
        os.path.join(root, "src", "text", "stop.c"), '#include "automaton.c"\n', "")),
    ("a function that nothing above has", source("static int hyb_lost(void) { return hyb_nowhere(); }\n")),
    ("an indentation that misleads", source("static int hyb_lost(int a)\n{\n    if (a)\n        a++;\n        a++;\n"
                                           "    return a;\n}\n")),
    ("a kernel's text that is not whole",
     lambda root: replace(os.path.join(root, "src", "compute", "cpu", "rows.inc"), "/* ---- norms", "} /* ---- norms")),
])
def rooms(box):
    alone = list(commands(box.root))

    def compile_one(item):
        path, command = item
        status, out = box.run([os.environ.get("CC", "cc").split()[0]] + command[1:], box.root)
        return None if status == 0 else "%s\n%s" % (path, "\n".join(re.findall(r"^.*error:.*$", out, re.M)[:3]))
    wrong = [words for words in box.parallel(compile_one, alone) if words]
    box.expect("many files were compiled", len(alone) > 140, str(len(alone)))
    box.expect("every file of src/ compiles alone", not wrong,
               "%d of %d do not\n%s" % (len(wrong), len(alone), "\n".join(wrong)))


if __name__ == "__main__":
    top = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    entries = [{"directory": top, "file": path, "arguments": [word for word in command if word != "-DHYBRID_NO_SIMD"]}
               for path, command in commands(top)]
    with open(os.path.join(top, "compile_commands.json"), "w", encoding="utf-8") as f:
        json.dump(entries, f, indent=1)
    sys.exit(print("compile_commands.json: %d files" % len(entries)))
