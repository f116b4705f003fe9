"""The same text on other machines: the story model under qemu, wine and node, statically with musl, and in 32 bits.

Each machine builds examples/generate.c with its own compiler, and must write what this one writes, bit by bit the same
choices. One that cannot run the library must say so in a sentence: when it compiles, or when it starts."""
import os
import shutil

import opened

from compiling import AARCH64, ALONE, BOTH, MINGW, MUSL, WITHOUT_SIMD
from gates import LINKED, gate
from house import replace

GENERATE = ["Once upon a time", "-n", "60", "-q"]
M32 = ["gcc", "-m32", "-I/usr/include/x86_64-linux-gnu"]      # there Debian keeps <asm/errno.h> for both sizes
HELD = {"musl": (MUSL, ALONE), "Windows": (MINGW, BOTH), "aarch64": AARCH64}      # what other gates compile as well
# title, how it builds, how it runs (None: it is only built: Debian's wine runs no program of 32 bits), what refuses it
# (None: nothing may)
MACHINES = [
    # the optimizer on 32 bits
    ("armhf", ["arm-linux-gnueabihf-gcc", "-static"], ["qemu-arm"], None),
    ("aarch64", ["aarch64-linux-gnu-gcc", "-static"], ["qemu-aarch64"], None),
    # the optimizer on a machine that fuses products and sums, which it does among its expensive optimizations
    ("riscv64", ["riscv64-linux-gnu-gcc", "-fexpensive-optimizations", "-static"], ["qemu-riscv64"], None),
    ("s390x", ["s390x-linux-gnu-gcc", "-static"], ["qemu-s390x"], "little-endian"),
    ("musl", ["musl-gcc", "-static", "-DHYBRID_NO_SIMD"], [], None),
    ("Windows", ["x86_64-w64-mingw32-gcc"], ["wine"], None),
    ("Windows, 32 bits", ["i686-w64-mingw32-gcc", "-msse2", "-mfpmath=sse"], None, None),
    ("32 bits", M32 + ["-msse2", "-mfpmath=sse"], [], None),
    ("32 bits, x87", M32 + ["-mno-sse"], [], "-mfpmath=sse"),
    ("tcc", ["tcc"], [], "hybrid: tcc"),
    ("WebAssembly", ["emcc", "-sNODERAWFS=1", "-sALLOW_MEMORY_GROWTH=1"], ["node", "--no-experimental-fetch"], None),
]
# The others have pointers and instructions of one of these, or are only compiled, or only say that they are refused:
# -O0, which takes a third of the time.
OPTIMIZED = "armhf", "riscv64", "musl", "Windows", "aarch64"


def program_of(title, folder):
    return os.path.join(folder,
                        "generate" + (".exe" if "Windows" in title else ".js" if title == "WebAssembly" else ""))


def stderr_apart(box, command, folder):
    """(exit status, stdout, stderr) in an environment that wine and emscripten want: a home of their own, silence,
    UTF-8."""
    environment = dict(os.environ, HOME=box.folder("home"), WINEDEBUG="-all", WINEPREFIX=box.folder("wine"),
                       LC_ALL="C.UTF-8")
    # no .NET, no browser: the folder is made faster
    environment["WINEDLLOVERRIDES"] = "mscoree,mshtml="
    errors = os.path.join(folder, "stderr")
    status, out = box.run(" ".join("'%s'" % word for word in command) + " 2>'%s'" % errors, folder, env=environment)
    with open(errors, encoding="utf-8", errors="replace") as f:
        return status, out.replace("\r\n", "\n"), f.read()


def missing(box, build, run):
    """What is not installed, or None."""
    if build[0] == "gcc":                                      # -m32 needs a second C library
        path = box.write("two.c", "#include <errno.h>\nint main(void) { return errno; }\n")
        return "a C library of 32 bits" if box.run(build + [path, "-o", "two", "-lm"])[0] else None
    return next((tool for tool in [build[0]] + (run or [])[:1] if not box.has(tool)), None)


@gate("machines", faults=[
    ("another quotient where pointers have 32 bits", lambda root: replace(
        os.path.join(root, "hybrid.h"), "? 1.0f / d : 0.0f; }", "? (sizeof(void *) == 4 ? 1.5f : 1.0f) / d : 0.0f; }")),
    ("tcc taken for MSVC", lambda root: replace(os.path.join(root, "hybrid.h"), "#if defined(__TINYC__)", "#if 0")),
    ("arguments in Windows' own code page", lambda root: replace(
        os.path.join(root, "examples", "windows_utf8.h"), "WideCharToMultiByte(CP_UTF8, 0, text, -1, utf8",
        "WideCharToMultiByte(CP_ACP, 0, text, -1, utf8")),
])
def machines(box):
    story = box.path("examples", "data", "stories260K-q8_0.gguf")
    name = "modèle-物語.gguf"

    def folder_of(title):
        folder = box.folder(title.replace(", ", "-").replace(" ", "-"))
        for path in (box.path("hybrid.h"), box.path("examples", "generate.c"), box.path("examples", "windows_utf8.h")):
            shutil.copy2(path, folder)
        shutil.copy2(story, os.path.join(folder, name))
        return folder

    here = folder_of("here")
    opened.make(box.root)
    held, _ = box.object("the implementation", WITHOUT_SIMD, ALONE)
    if not held or not box.compiles("this machine",
                                    WITHOUT_SIMD + LINKED + ["generate.c", held, "-o", "generate", "-lm"], here):
        return
    status, want, words = stderr_apart(box, [os.path.join(here, "generate"), name] + GENERATE, here)
    box.expect("this machine", status == 0 and len(want) > 60, want + words)

    def other(machine):
        title, build, run, refusal = machine
        lacks = missing(box, build, run)
        if lacks:
            return box.skipped(title, "%s is not installed (tests/setup.sh installs it)" % lacks)
        folder = folder_of(title)
        program = program_of(title, folder)
        held = [box.object("the implementation for " + title, *HELD[title])[0]] if title in HELD else []
        if None in held:
            return None
        optimize = "-O1" if title in OPTIMIZED else "-O0"
        command = [build[0], optimize] + build[1:] + (LINKED if held else [])
        # static: what it does not call is not compiled
        command += ["generate.c"] + (held or ["-DHYBRID_STATIC"]) + ["-o", program, "-lm"]
        status, out, words = stderr_apart(box, command, folder)
        if status and refusal:
            return box.expect("%s is refused by name" % title, refusal in words and "hybrid" in words, words)
        if status:
            return box.failed(title, words)
        if run is None:
            return box.passed(title)
        status, out, words = stderr_apart(box, run + [program, name] + GENERATE, folder)
        if refusal and status:
            return box.expect("%s is refused by name" % title, refusal in words, words)
        return box.expect(title, status == 0 and out == want,
                          "exit status %s\n%s\n%s\nhere: %s" % (status, out, words, want))

    box.parallel(other, MACHINES)
