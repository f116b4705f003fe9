"""What people copy from us works as it stands: every example by the line at its top, every block of the README."""
import glob
import os
import re
import shutil
import threading

from compiling import ALONE, GRAPHED, OPTIMIZED, WITHOUT_SIMD, optimized
from gates import LINKED, QUICK, gate
from house import append, replace

COMMAND = re.compile(r"^[ /*]*\$?\s*((?:cc|c\+\+|mpicc)\s[^\n]*?)\s*(?:\*/)?$", re.M)


def first_command(text):
    """The build line of an example: in its first comment, starts with cc (or mpicc)."""
    comment = re.match(r"\s*/\*.*?\*/|(?:\s*//[^\n]*\n)+", text, re.S)
    found = COMMAND.search(comment.group(0)) if comment else None
    return re.split(r"\s{2,}|\s*&&", found.group(1))[0] if found else None


def spoil_example(text):
    def damage(root):
        path = os.path.join(root, "examples", "fault.c")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        append(path, text)
    return damage


# Examples that are also run to their end, on the model of the repository: (arguments, what they write).
RUNS = {
    "npc.c": (["--alone"], r"(?s)Bram: .* \.\.\.\nBram: .+"),
    "crowd.c": (["Who are you?"], r"(?s)\..*\nsmith: +\S.*\nghost: +\S"),
}

GOOD = '/* fault:\n *     cc -O2 fault.c -o fault -lm\n */\n#define HYBRID_IMPLEMENTATION\n#include "hybrid.h"\n#include <stdio.h>\n'


@gate("examples", faults=[
    ("an example without its build line", spoil_example('#include "hybrid.h"\nint main(void) { return 0; }\n')),
    ("an example that does not compile", spoil_example(GOOD + "int main(void) { return nothing; }\n")),
    ("an example that warns", spoil_example(GOOD + "int main(void) { int a; return 0; }\n")),
    ("a GPU that writes another text",
     lambda root: replace(os.path.join(root, "hybrid_cuda.h"), "a.half = op->n_rot / 2;", "a.half = 0;")),
    ("an example that warns in C++20", lambda root: replace(
        os.path.join(root, "examples", "stories.cpp"), "    bool told = false;\n",
        "    bool told = false;\n    volatile int n = 0;\n    void more() { n++; }\n")),
    ("an example that needs more than C++11", lambda root: replace(
        os.path.join(root, "examples", "stories.cpp"), "struct ends {", "struct ends {\n    auto three() { return 3; }")),
    ("a character that says nothing", lambda root: replace(
        os.path.join(root, "examples", "npc.c"), 'talks = printf("Bram: ")', 'printf("Bram: ")')),
    ("an example that crashes on --help", spoil_example(GOOD + "int main(void) { return 1; }\n")),
])
def examples(box):
    """In an empty folder, with hybrid.h beside it, and what other header its first lines say. Warnings are asked for, and there are none. --help prints and
    succeeds. The whole of an example, the library in it, goes through the compiler by the example's own line as far as
    the optimizer; its own text goes through that, too, and is linked with a library that is compiled once. The gate
    readme runs such a line to the end."""
    header = box.path("hybrid.h")
    found = sorted(glob.glob(box.path("examples", "*.c")) + glob.glob(box.path("examples", "*.cpp")))
    kept, lock = {}, threading.Lock()
    story = box.path("examples", "data", "stories260K-q8_0.gguf")

    def read_once(command, folder):
        """Nearly all examples begin with the library, and say the same of how: what gcc made of it for the first, it
        takes for the others (a precompiled header beside hybrid.h, which gcc ignores where macros or flags differ)."""
        with lock:
            if command not in kept:
                place = box.folder("read-%d" % len(kept))
                shutil.copy2(header, place)
                kept[command] = box.compiles("the header as %s reads it" % command, command + " -x c-header "
                                             "-DHYBRID_IMPLEMENTATION= hybrid.h -o hybrid.h.gch", place) and place
        if kept[command]:
            os.symlink(os.path.join(kept[command], "hybrid.h.gch"), os.path.join(folder, "hybrid.h.gch"))

    def newer(name, command, folder):
        """A program in C++ says nothing in an old dialect and in a new one; that the library does neither, the gate
        readme sees."""
        for compiler in ("g++", "clang++"):
            for standard in ("c++11", "c++20"):
                if box.has(compiler):
                    box.compiles("%s: %s -std=%s" % (name, compiler, standard),
                                 re.sub(r"^c\+\+", "%s -std=%s" % (compiler, standard), command).replace(" -lm", "") +
                                 " -fsyntax-only " + " ".join(LINKED), folder)

    def build(path):
        name = os.path.basename(path)
        with open(path, encoding="utf-8") as f:
            text = f.read()
        command = first_command(text)
        if not command:
            return box.failed(name, "its first comment must hold the line that builds it: cc -O2 %s -o %s -lm" %
                              (name, os.path.splitext(name)[0]))
        folder = box.folder(os.path.splitext(name)[0])
        shutil.copy2(header, folder)
        for also in sorted(set(re.findall(r"\b(\w+\.h(?:pp)?)\b", text.split("*/")[0])) - {"hybrid.h", "windows_utf8.h"}):
            if os.path.exists(box.path("examples", also)):
                shutil.copy2(box.path("examples", also), folder)
        compiler = command.split()[0]
        if compiler == "mpicc" and not box.has(compiler):
            return box.skipped(name, "there is no mpicc here (tests/setup.sh installs Open MPI)")
        if "examples/" in command:
            os.makedirs(os.path.join(folder, "examples"))
            shutil.copy2(path, os.path.join(folder, "examples"))
            forward = box.path("examples", "hybrid.h")
            if os.path.exists(forward):
                shutil.copy2(forward, os.path.join(folder, "examples"))
        else:
            shutil.copy2(path, folder)
        strict = re.sub(r"^(cc|c\+\+|mpicc)", r"\1 -Wall %s -Wextra -Wpedantic -Wshadow" % QUICK, command)
        without_name = re.sub(r" -o \S+", "", strict)
        box.expect("%s holds the library" % name,
                   re.search(r'\n#define HYBRID_IMPLEMENTATION\n#include "hybrid.h(pp)?"\n', text),
                   "it must be built by one line")
        if strict.startswith("cc ") and "examples/" not in command:
            read_once(strict.split(" " + name)[0], folder)
        if not box.compiles("%s: %s" % (name, command), without_name + " -fsyntax-only", folder):
            return
        if name.endswith(".cpp"):
            newer(name, without_name, folder)
        if not box.compiles("%s with the optimizer" % name, without_name + " -c -o own.o " + " ".join(LINKED), folder):
            return
        if not held or not box.compiles("%s linked" % name, re.sub(r"\S+\.c(pp)?\b", "own.o " + held, strict), folder):
            return
        program = re.search(r"-o (\S+)", command)
        status, out = box.run([os.path.join(folder, program.group(1) if program else "a.out"), "--help"], folder)
        box.expect("%s --help" % name, status == 0 and len(out) > 40, "exit status %d: %s" % (status, out))
        if name in RUNS:
            arguments, words = RUNS[name]
            status, out = box.run([os.path.join(folder, program.group(1)), story] + arguments, folder)
            box.expect("%s runs" % name, status == 0 and re.search(words, out), "exit status %d: %s" % (status, out))
    held, _ = box.object("the library", WITHOUT_SIMD, ALONE)
    box.parallel(build, found)
    if not found:
        box.passed("no examples yet")
    on_the_gpu(box)


def on_the_gpu(box):
    """With both headers beside it: without a GPU one sentence says so; on the emulated one the same binary writes the
    CPU's text."""
    folder, story = box.folder("gpu"), box.path("examples", "data", "stories260K-q8_0.gguf")
    for name in ("hybrid.h", "hybrid_cuda.h", os.path.join("examples", "generate.c")):
        shutil.copy2(box.path(name), folder)
    held = optimized(box, *GRAPHED)
    if not held or not box.compiles("generate.c with both headers",
                                    ["gcc", "-O1"] + LINKED + ["generate.c", held, "-o", "generate", "-lm"], folder):
        return
    if not os.path.exists(story):
        return box.skipped("generate.c on the emulated GPU", "there is no %s" % story)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HYBRID_CUDA", "HYBRID_DEVICE", "CUDA_"))}
    command = ["./generate", story, "Once upon a time", "-n", "30"]
    status, on_cpu = box.run(command, folder, env=environment)
    box.expect("generate.c says where it runs", status == 0 and "\n" in on_cpu
               and len([r for r in on_cpu.split("\n") if "CPU" in r or "layers" in r]) == 1, on_cpu)
    # where the tests of `make test` have built it, and compiled kernels with it
    emulator = box.path("build", "emu")
    status, out = box.run(["python3", box.path("tests", "emu", "build.py"), "--to", emulator])
    if status:
        return box.skipped("generate.c on the emulated GPU", "it could not be built: %s" % out)
    environment.update(HYBRID_CUDA_PATH=emulator, HYBRID_CUDA_CACHE=os.path.join(folder, "cache"))
    status, out = box.run(command, folder, env=environment)
    box.expect("generate.c on the emulated GPU says so", status == 0 and "5/5 layers" in out, out)
    story_of = [re.sub(r"(?m)^(on the CPU:|hybrid emulator|loading|\[).*\n?", "", text).strip()
                for text in (on_cpu, out)]
    box.expect("generate.c on the emulated GPU writes the CPU's text",
               story_of[0] == story_of[1] and len(story_of[0]) > 60, "\n".join(story_of))


def blocks_of(text):
    """(language, text, line) of every fenced block."""
    for m in re.finditer(r"^```(\w*)[^\n]*\n(.*?)^```", text, re.M | re.S):
        yield m.group(1), m.group(2), text[:m.start()].count("\n") + 1


def quick_start(header):
    """The program in the first comment of the header."""
    text = header[header.index("QUICK START"):header.index("* LICENCE")]
    return "\n".join(line[len(" *     "):] for line in text.split("\n") if line.startswith(" *     ")
                     or line == " *").strip() + "\n"


def readme_with(text):
    return lambda root: append(os.path.join(root, "README.md"), text)


@gate("readme", faults=[
    ("a program that does not compile",
     readme_with(
         '\n```c\n#define HYBRID_IMPLEMENTATION\n#include "hybrid.h"\nint main(void) { return nothing; }\n```\n')),
    ("a program that warns",
     readme_with(
         '\n```c\n#define HYBRID_IMPLEMENTATION\n#include "hybrid.h"\nint main(void) { int a; return 0; }\n```\n')),
    ("a program in C++20 only", lambda root: replace(
        os.path.join(root, "README.md"), "    hybrid_model_desc from{};\n    hybrid_session_desc as{};\n",
        "    hybrid_model_desc from{ .path = nullptr };\n    hybrid_session_desc as{};\n")),
    ("a quick start that does not compile",
     lambda root: replace(os.path.join(root, "hybrid.h"), " *         hybrid_error err;",
                          " *         hybrid_eror err;")),
    ("a target that is not there", readme_with("\n```sh\nmake nonsense\n```\n")),
    ("a file that is not there", readme_with("\n[a room](src/nowhere/file.c)\n")),
    ("a command that does not work", readme_with("\n```sh\ncc -O2 nowhere.c -o nowhere -lm\n```\n")),
])
def readme(box):
    """C blocks with a main are read by the compiler as pasted (as app.c), linked with a library that other gates
    compile, too, and started; cc lines are run, make targets and links must be there. The lines are run without the
    optimizer, which has seen the library elsewhere; the first one makes a program with all kernels."""
    if not os.path.exists(box.path("README.md")):
        return box.failed("README.md", "there is none")
    text = box.read("README.md")
    folder = box.folder("paste")
    shutil.copy2(box.path("hybrid.h"), folder)
    if os.path.isdir(box.path("examples")):
        shutil.copytree(box.path("examples"), os.path.join(folder, "examples"))
    programs, seen = 0, set()
    blocks = [("README.md:%d" % line, language, block) for language, block, line in blocks_of(text)]
    start = quick_start(box.read("hybrid.h"))
    # one that the README shows word for word is built once
    if ("c", start) not in [b[1:] for b in blocks]:
        blocks.insert(0, ("the quick start of hybrid.h", "c", start))
    for where, language, block in blocks:
        if language in ("c", "cpp") and re.search(r"\bmain\s*\(", block):
            programs += 1
            name = "app.c" if language == "c" else "app.cpp"
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(block)
            compiler, library = ("cc", GRAPHED) if language == "c" else ("c++", OPTIMIZED[0])
            for standard in ("c++11", "c++20") if language == "cpp" else ():
                box.compiles("%s, %s" % (where, standard),
                             "c++ -std=%s -Wall -Wextra -Wpedantic -Wshadow %s -fsyntax-only" % (standard, name), folder)
            words, held = "%s -Wall %s -Wextra %s" % (compiler, QUICK, name), optimized(box, *library)
            if box.compiles(where, words + " -fsyntax-only", folder) and held and \
               box.compiles(where + ", linked", " ".join([words] + LINKED + [held, "-o app -lm"]), folder):
                status, out = box.run(["./app", "no-such-file.gguf"], folder)
                box.expect("%s runs, and says what is wrong with its argument" % where,
                           0 <= status < 100 and (status == 0 or out.strip()), "exit status %d: %s" % (status, out))
        elif language in ("sh", "bash", "console", "shell"):
            for command in (re.sub(r"\s+#.*", "", c).lstrip("$ ").strip() for c in block.split("\n")):
                if command.startswith("make"):
                    for target in command.split()[1:]:
                        if "=" not in target:
                            status, out = box.run(["make", "-n", target], box.root)
                            box.expect("%s: make %s" % (where, target), status == 0, out)
                elif re.match(r"(cc|gcc|clang|c\+\+)\s", command) and (command, programs) not in seen:
                    again = any(" -O2 " in line for line, _ in seen)
                    seen.add((command, programs))                    # again of the same program it would say the same
                    box.compiles("%s: %s" % (where, command),
                                 command.replace(" -O2 ", " -O0 -DHYBRID_NO_SIMD " if again else " -O0 "), folder)
    box.expect("the README shows a program", programs > 0, "no C block with a main")
    for link in sorted(set(re.findall(r"\]\((?!https?:|#)([^)#\s]+)", text))):
        box.expect("the link to %s" % link, os.path.exists(box.path(link))
                   or not os.path.exists(box.path("tests", "oracle")), "there is no such file")
