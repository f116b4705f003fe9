"""The header compiles everywhere it promises to, in every cut, without a word, and quickly."""
import glob
import os
import re

import opened
import run_tests

from gates import LINKED, QUICK, gate
from house import in_declarations, in_header, replace
from leaks import foreign_macros, left_behind

WARNINGS = ["-Wall", QUICK, "-Wextra", "-Wpedantic", "-Wshadow", "-Werror"]
STANDARDS = [(["-x", "c"], "-std=c99"), (["-x", "c"], "-std=c11"), (["-x", "c++"], "-std=c++11")]
COMPILERS = ["gcc", "clang"]
OPTIMIZED = [("g++", ["-std=c++11", "-x", "c++"]), ("clang", ["-std=c99"])]
GRAPHED = ("gcc", ["-std=c99", "-fcallgraph-info=su"])                    # gate stack: it has gcc write about frames
ALONE = '#define HYBRID_IMPLEMENTATION\n#include "hybrid.h"\n'
BOTH = ALONE + '#include "hybrid_cuda.h"\n'
IMPLEMENTATION = BOTH + "int main(void) { return 0; }\n"
# of ALONE: what gates link with that run something small
WITHOUT_SIMD = ["cc", "-O1", "-fPIC", "-Wall", QUICK, "-Wextra", "-DHYBRID_NO_SIMD"]
UNOPTIMIZED = ["cc", "-O0", "-fno-pie", "-fno-pic"]                       # linked with -no-pie
MUSL = ["musl-gcc", "-O0", "-DHYBRID_NO_SIMD"]
# with its private functions open to tests (opened.py)
# -O1, and what -O2 adds that could change a bit: products and sums that are fused
AARCH64 = (["aarch64-linux-gnu-gcc", "-O1", "-fexpensive-optimizations", "-std=c99"] + WARNINGS,
           ALONE.replace("hybrid.h", "%s/hybrid.h" % opened.HELD.replace(os.sep, "/")))
MINGW = ["x86_64-w64-mingw32-gcc", "-O1", "-std=c99"] + WARNINGS          # of BOTH
DECLARATIONS = '#include "hybrid.h"\n#include "hybrid.h"\n#include "hybrid_cuda.h"\n#include "hybrid_cuda.h"\nint main(void) { return 0; }\n'
TIME_GOAL = 20.0        # seconds of processor time for cc -O2; said, not tested: a busy neighbour doubles it
UNUSED = "static int hyb_fault(int a) { int b = a; return a; }"


def build_all(box, source, cases):
    """cases: (title, compiler, flags)."""
    path = box.write("one.c", source)
    present = {c for c in COMPILERS + ["g++"] if box.has(c)}
    for compiler in sorted({c for _, c, _ in cases} - present):
        box.skipped(compiler, "%s is not installed (tests/setup.sh installs it)" % compiler)

    def build(case):
        title, compiler, flags = case
        box.compiles(title, [compiler] + flags + ["-I", box.root, path])
    box.parallel(build, [c for c in cases if c[1] in present])


def optimized(box, compiler, flags):
    """The path of both headers at -O2, without a word; says how long it took. None: it does not compile."""
    title = "%s -O2 %s" % (compiler, flags[0])
    path, seconds = box.object(title, [compiler, "-O2"] + flags + WARNINGS, BOTH)
    if not box.quiet and path and seconds:
        print("  %s compiles both headers in %.1f s of processor time (goal, on an idle machine: %.0f); the object has "
              "%d KiB"
              % (title, seconds, TIME_GOAL, os.path.getsize(path) // 1024), flush=True)
    return path


@gate("standards", faults=[
    ("a warning in the implementation", in_header(UNUSED)),
    ("an indentation that misleads", in_header("static int hyb_fault(int a)\n{\n    if (a)\n        a++;\n        a++;\n"
                                              "    return a;\n}\nHYBRID_API int hybrid_fault(int a);\n"
                                              "HYBRID_API int hybrid_fault(int a) { return hyb_fault(a); }")),
    ("valid C that is not C++", in_header("static void *hyb_fault(void) { int *p = malloc(4); return p; }")),
    ("C11 in a C99 header", in_header("_Static_assert(1, \"\");")),
    ("a GPU part that clashes",
     lambda root: replace(os.path.join(root, "hybrid_cuda.h"), "#ifndef HYBRID_CUDA_IMPLEMENTED\n", "#if 1\n")),
    ("a warning of intrinsics in g++", lambda root: replace(
        os.path.join(root, "hybrid.h"), '#pragma GCC diagnostic ignored "-Wuninitialized"', "")),
    ("two implementations clash",
     lambda root: replace(os.path.join(root, "hybrid.h"), "#ifndef HYBRID_IMPLEMENTED\n", "#if 1\n")),
])
def standards(box):
    """The implementation, included twice, in three languages by two compilers. The optimizer finds more, and in C++
    what it finds in a compiler's own intrinsics: each compiler has it on once."""
    twice = IMPLEMENTATION.replace("int main", '#include "hybrid.h"\n#include "hybrid_cuda.h"\nint main')
    cases = []
    for compiler in COMPILERS:
        for language, standard in STANDARDS:
            # C99 of both, and C++11 of gcc: below, with the optimizer
            if standard != "-std=c99" and (compiler, standard) != ("gcc", "-std=c++11"):
                cases.append(("%s %s" % (compiler, standard), compiler,
                              [standard] + WARNINGS + (["-Wmisleading-indentation"] if compiler == "clang" else []) +
                              language + ["-fsyntax-only"]))
    build_all(box, twice, cases)

    box.parallel(lambda case: optimized(box, *case), [case for case in OPTIMIZED if box.has(case[0])])


@gate("declarations", faults=[
    ("a C++ keyword in the interface", in_declarations("typedef struct hybrid_fault { int new; } hybrid_fault;")),
    ("a narrowing in the interface", in_declarations("static inline short hybrid_fault(int a) { return a; }")),
    ("a function of a foreign type", in_declarations("HYBRID_API void hybrid_fault(FILE *f);")),
    ("no include guard", lambda root: replace(os.path.join(root, "hybrid.h"), "#define HYBRID_H\n", "")),
])
def declarations(box):
    """The interface under stricter warnings, because users compile it with theirs; included twice, and alone."""
    cases = []
    for compiler in COMPILERS:
        for language, standard in STANDARDS:
            strict = ["-Wconversion", "-Wcast-qual", "-Wstrict-prototypes",
                      "-Wc++-compat"] if language[1] == "c" else ["-Wconversion", "-Wcast-qual"]
            cases.append(("%s %s" % (compiler, standard), compiler,
                          [standard] + WARNINGS + strict + language + ["-fsyntax-only"]))
    build_all(box, DECLARATIONS, cases)


def cutouts_of(text):
    return sorted({name for line in re.findall(r"^[ \t]*#[ \t]*(?:if|elif|ifdef|ifndef)\b.*$", text, re.M)
                   for name in re.findall(r"HYBRID_NO_\w+", line)})


def without_text_only(before, statement):
    """Adds a statement before a line of hybrid.h, under HYBRID_NO_TEXT."""
    return lambda root: replace(os.path.join(root, "hybrid.h"), before,
                                "#ifdef HYBRID_NO_TEXT\n%s\n#endif\n%s" % (statement, before))


@gate("cutouts", faults=[
    ("a cut-out that does not compile", in_header("#ifdef HYBRID_NO_THREADS\nstatic hyb_nothing hyb_fault;\n#endif")),
    ("a cut-out that leaves a warning", in_header("#ifdef HYBRID_NO_SIMD\n%s\n#endif" % UNUSED)),
    ("a cut-out that the table does not explain", in_header("#ifdef HYBRID_NO_FAULT\n#endif")),
    ("a model that computes otherwise without text", without_text_only("    *model = m;\n", "m->hp.norm_eps *= 1000;")),
    ("a plan without threads that does not know the host's",
     lambda root: replace(os.path.join(root, "hybrid.h"), "desc.parallel_for = model->pool.host_for;", ";")),
    ("memory without text that the plan does not know",
     without_text_only("    *model = m;\n", "(void)hyb_alloc(m->rt, 100);")),
    ("text in a model without text",
     in_header("#ifdef HYBRID_NO_TEXT\nHYBRID_API int hybrid_tokenize(void);\nHYBRID_API int hybrid_tokenize(void) { "
               "return 0; }\n#endif")),
])
def cutouts(box):
    """Every HYBRID_NO_... that the header looks at: alone, and all at once."""
    header = box.read("hybrid.h")
    names = cutouts_of(header)
    box.expect("there are cut-outs", bool(names), "none found in hybrid.h")
    for name in names:
        row = re.search(r"^ \*   %s\s+(.*)$" % name, header, re.M)
        box.expect("%s is explained" % name, bool(row) and not row.group(1).startswith("(used by"),
                   "add a line '@cutout %s ...' to src/hybrid_top.h" % name)
    sets = [[name] for name in names] + [names, ["HYBRID_STATIC"]]
    cases = [(" ".join(s) if len(s) < 3 else "all of them", "gcc",
              ["-std=c99", "-fsyntax-only"] + WARNINGS + ["-D" + name for name in s]) for s in sets]
    cases.append(("all of them, C++11", "g++",
                  ["-std=c++11", "-x", "c++", "-fsyntax-only"] + WARNINGS + ["-D" + name for name in names]))
    build_all(box, IMPLEMENTATION, cases)
    if "HYBRID_NO_TEXT" in names:
        without_text(box)


# Decodes and samples ids, prints them, and ends with 0 when the plan was what was then taken.
IDS_ONLY = r"""
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef struct heap { uint64_t live; } heap;
static void *take(void *user, size_t n)
{
    size_t *p = (size_t *)malloc(n + 16);
    if (!p) return NULL;
    *p = n;
    ((heap *)user)->live += n;
    return p + 2;
}
static void run_all(void *user, int32_t n, hybrid_task_fn fn, void *arg) { int i; (void)user; for (i = 0; i < n; i++) fn(arg, i); }
static void give(void *user, void *block) { ((heap *)user)->live -= ((size_t *)block)[-2]; free((size_t *)block - 2); }

int main(int argc, char **argv)
{
    heap h = { 0 };
    hybrid_runtime_desc rd = { 0 };
    hybrid_model_desc md = { 0 };
    hybrid_context_desc cd = { 0 };
    hybrid_sampler_desc sd = { 0 };
    hybrid_runtime *rt; hybrid_model *model; hybrid_context *context; hybrid_sampler *sampler;
    hybrid_memory_plan plan; hybrid_model_info info; hybrid_error error;
    int32_t ids[4] = { 1, 403, 407, 261 }, id, i;
    uint64_t before;
    rd.allocator.alloc = take; rd.allocator.free = give; rd.allocator.user = &h;
    rd.n_threads = 4; rd.parallel_for = run_all;        /* without threads of its own it still has four lanes */
    md.path = argc > 1 ? argv[1] : "";
    cd.n_ctx = 128;
    sd.temperature = 0.8f; sd.top_p = 0.9f; sd.seed = 7;
    if (hybrid_runtime_create(&rd, &rt, &error)) return 2;
    before = h.live;
    if (hybrid_plan(rt, &md, &cd, &plan, &error) || hybrid_model_load(rt, &md, &model, &error) || hybrid_context_create(model, &cd, &context, &error))
        return fprintf(stderr, "%s\n", error.message), 3;
    if (h.live - before != plan.total) return fprintf(stderr, "planned %d, took %d\n", (int)plan.total, (int)(h.live - before)), 4;
    if (hybrid_sampler_create(rt, &sd, &sampler, &error) || hybrid_batch_add(context, 0, ids, 4, &error)) return 5;
    hybrid_model_describe(model, &info);
    for (i = 0; i < 40; i++) {
        if (hybrid_decode(context, &error)) return fprintf(stderr, "%s\n", error.message), 6;
        id = hybrid_sample(sampler, hybrid_logits(context, 0), info.n_vocab);
        hybrid_sampler_accept(sampler, id);
        printf("%d ", id);
        if (hybrid_batch_add(context, 0, &id, 1, &error)) return 7;
    }
    hybrid_sampler_destroy(sampler); hybrid_context_destroy(context); hybrid_model_destroy(model); hybrid_runtime_destroy(rt);
    return h.live != 0;
}
"""


def without_text(box):
    """The same ids with and without text, and without threads, the plan exact in all, and no name of the text room left
    in the object."""
    path, story, said = box.write("ids.c", IDS_ONLY), box.path("examples", "data", "stories260K-q8_0.gguf"), []
    unoptimized = ["-O0" if word == "-O1" else word for word in WITHOUT_SIMD]
    for name, flags in (("whole", WITHOUT_SIMD), ("no-threads", unoptimized + ["-DHYBRID_NO_THREADS"]),
                        ("no-text", unoptimized + ["-DHYBRID_NO_TEXT"])):
        held, _ = box.object("a program of ids, %s" % name, flags, ALONE)
        if held and box.compiles("a program of ids, %s, linked" % name,
                                 flags + LINKED + ["-I", box.root, path, held, "-o", name, "-lm"]):
            status, out = box.run([os.path.join(box.tmp, name), story])
            box.expect("the program of ids runs, %s" % name, status == 0, "exit status %d: %s" % (status, out))
            said.append(out)
    box.expect("the same ids in all",
               len(said) == 3 and said[0] == said[1] == said[2] and len(set(said[0].split())) > 10, "\n".join(said))
    if box.has("nm"):
        _, out = box.run(["nm", "no-text"])
        left = re.findall(r" [A-Za-z] (hybrid_\w*(?:token|template|chat|session|stop_|jinja|unicode|utf8)\w*)$", out,
                          re.M)
        box.expect("nothing of text is left", not left, ", ".join(left))


@gate("units", faults=[
    ("a definition among the declarations", in_declarations("int hybrid_fault = 1;")),
    ("a public function that is not defined",
     lambda root: replace(os.path.join(root, "hybrid.h"), 'HYBRID_API const char *hybrid_version(void) {',
                          'HYBRID_API const char *hybrid_other(void) {')),
])
def units(box):
    """Two files that only use it and one that holds it, C and C++ mixed; also used from tcc, which cannot hold it."""
    box.write("user.c",
              '#include "hybrid.h"\nconst char *from_user(void);\nconst char *from_user(void) { return '
              'hybrid_version(); }\n')
    main = '#include "hybrid.h"\n#include <string.h>\n%s const char *from_user(void);\nint main(void)\n{\n' \
           '    return strcmp(from_user(), hybrid_version()) || strcmp(hybrid_result_text(HYBRID_OK), "ok");\n}\n'
    box.write("main.c", main % "extern")
    box.write("main.cpp", main % 'extern "C"')
    include = ["-I", box.root]
    held, _ = box.object("the implementation", UNOPTIMIZED, ALONE)
    user = box.compiles("a user", ["cc", "-c", "user.c"] + include)
    for compiler, source in (("cc", "main.c"), ("c++", "main.cpp"), ("tcc", "main.c")):
        if not box.has(compiler):
            box.skipped(source, "%s is not installed (tests/setup.sh installs it)" % compiler)
        elif held and user and box.compiles(source, [compiler, source, "user.o", held, "-o", "app", "-lm"] +
                                            ["-no-pie"] * (compiler != "tcc") + include):
            status, out = box.run(["./app"])
            box.expect("%s of %s runs" % (source, compiler), status == 0, "exit status %d %s" % (status, out))


@gate("windows", faults=[
    ("an error in the Windows part", in_header("#if defined(_WIN32)\nstatic hyb_nothing hyb_fault;\n#endif")),
    ("a macro that stays on Windows",
     lambda root: replace(os.path.join(root, "hybrid.h"), "    #undef NOMINMAX\n", "")),
])
def windows(box):
    """The Windows code, by a cross compiler: it builds, links, and leaves no macro of ours."""
    cross = MINGW[0]
    if not box.has(cross):
        return box.skipped("Windows", "%s is not installed (tests/setup.sh installs it)" % cross)
    path = box.write("one.c", IMPLEMENTATION)
    held, _ = box.object("the header for Windows", MINGW, BOTH)
    if held:
        box.compiles("it links", MINGW + LINKED + ["-I", box.root, path, held, "-o", "one.exe", "-lm"])
    box.compiles("the header for Windows, -std=gnu11",
                 [cross, "-fsyntax-only", "-std=gnu11"] + WARNINGS + ["-I", box.root, path])
    macros, _ = left_behind(box, IMPLEMENTATION, [], cross)
    box.expect("macros left on Windows", macros and not foreign_macros(macros), ", ".join(foreign_macros(macros)))


@gate("arm", faults=[
    ("an error in the NEON part", in_header("#if defined(__aarch64__)\nstatic hyb_nothing hyb_fault;\n#endif")),
    ("a warning in the NEON part", in_header("#if defined(__aarch64__)\n%s\n#endif" % UNUSED)),
])
def arm(box):
    """aarch64: the header by a cross compiler, and the tests that ask for it ('[aarch64]' in their first comment) under
    qemu."""
    cross = AARCH64[0][0]
    qemu = next((q for q in ("qemu-aarch64", "qemu-aarch64-static") if box.has(q)), None)
    if not box.has(cross):
        return box.skipped("aarch64", "%s is not installed (tests/setup.sh installs it)" % cross)
    path = box.write("both.c", IMPLEMENTATION)
    box.compiles("both headers for aarch64", [cross, "-std=c99", "-fsyntax-only"] + WARNINGS + ["-I", box.root, path])
    opened.make(box.root)
    library, _ = box.object("the header for aarch64", *AARCH64)
    if not library:
        return
    if not qemu:
        return box.skipped("running", "qemu-user is not installed (tests/setup.sh installs it)")

    def run_test(test):
        name = os.path.basename(test)[:-2]
        source = box.path(opened.USED, "tests", name + ".c")
        if not box.compiles(name, [cross, "-O1", "-w", source, library, "-o", name, "-static", "-lm"]):
            return
        status, out = box.run([qemu, os.path.join(box.tmp, name)], cwd=box.root,
                              env=dict(os.environ, HYBRID_SANITIZER="emulator", HYBRID_RUNS="3",
                                       HYBRID_SHARE=run_tests.share()))
        last = out.strip().split("\n")[-1]
        box.expect("%s under qemu" % name, status == 0 and re.match(r"\d+ passed, 0 failed", last), out[-2000:])
    tests = []
    for test in sorted(glob.glob(box.path("tests", "test_*.c"))):
        with open(test, encoding="utf-8") as f:
            if "[aarch64]" in f.read(2000):
                tests.append(test)
    box.parallel(run_test, tests)
