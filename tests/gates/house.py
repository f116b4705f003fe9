"""The header is what the sources make, and the sources keep the rules that no compiler checks."""
import json
import os
import re
import shutil
import subprocess
import sys

from gates import gate

HEADER = "hybrid.h"


def replace(path, old, new):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if old not in text:
        raise ValueError("%s does not hold %r" % (path, old))
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace(old, new, 1))


def append(path, text):
    with open(path, "a", encoding="utf-8") as f:
        f.write(text)


def in_header(text):
    """Damages the implementation half of hybrid.h only."""
    return lambda root: replace(os.path.join(root, HEADER), "/* ==== end src/core/base.c ==== */",
                                text + "\n/* ==== end src/core/base.c ==== */")


def in_declarations(text):
    return lambda root: replace(os.path.join(root, HEADER), "/* ==== end src/api/base.h ==== */",
                                text + "\n/* ==== end src/api/base.h ==== */")


def source(text):
    """Adds text to a source file, within its guard. The rules are checked before the header is compared."""
    def add(root):
        path = os.path.join(root, "src", "core", "base.c")
        with open(path, encoding="utf-8") as f:
            kept = f.read()
        with open(path, "w", encoding="utf-8") as f:
            f.write(kept[:kept.rindex("#endif")] + text + "#endif\n")
    return add


def new_file(root):
    append(os.path.join(root, "src", "core", "forgotten.c"), "/* core/forgotten: nothing includes this. */\n")




RULES = [
    ("a file that nothing includes", "nothing includes", new_file),
    ("a private function that is not static", "is not static", source("int hyb_loose(void) { return 1; }\n")),
    ("a public function without HYBRID_API", "lacks HYBRID_API", source("int hybrid_loose(void) { return 1; }\n")),
    ("a function of a foreign name", "needs the prefix", source("static int loose(void) { return 1; }\n")),
    ("a type of a foreign name", "needs the prefix", source("typedef struct loose { int a; } loose;\n")),
    ("a global that can change", "not 'static const'", source("static int hyb_counter;\n")),
    ("a table of pointers that can change", "not 'static const'",
     source('static const char *hyb_names[] = { "a" };\n')),
    ("a static variable in a function", "not const",
     source("static int hyb_next(void) { static int n; return ++n; }\n")),
    ("a long string literal", "string literal",
     source('static const char hyb_long[] = "%s"\n    "%s";\n' % ("x" * 2500, "y" * 2500))),
    ("a file that includes itself", "includes itself", source('#include "base.c"\n')),
    ("a file that is included twice", "included twice", lambda root: replace(
        os.path.join(root, "src", "hybrid_all.c"), '#include "core/base.c"\n',
        '#include "core/base.c"\n#include "core/base.c"\n')),
    ("a file that uses what stands below it", "does not stand above", source('#include "number.c"\n')),
    ("a room that looks up", "a room above its own", lambda root: (
        replace(os.path.join(root, "src", "hybrid_all.c"), '#include "gguf/names.c"\n', ""),
        replace(os.path.join(root, "src", "hybrid_all.c"), '#include "core/json.c"\n',
                '#include "gguf/names.c"\n#include "core/json.c"\n'),
        replace(os.path.join(root, "src", "core", "json.c"), "#define HYB_CORE_JSON_C\n",
                '#define HYB_CORE_JSON_C\n#include "../gguf/names.c"\n'))),
    ("a file without a guard", "must be around",
     lambda root: replace(os.path.join(root, "src", "core", "base.c"), "#define HYB_CORE_BASE_C\n", "")),
    ("a guard of another name", "must be around", lambda root: (
        replace(os.path.join(root, "src", "core", "base.c"), "#define HYB_CORE_BASE_C\n", "#define HYB_CORE_UTF8_C\n"),
        replace(os.path.join(root, "src", "core", "base.c"), "#ifndef HYB_CORE_BASE_C\n",
                "#ifndef HYB_CORE_UTF8_C\n"))),
    ("a missing file", "cannot find", source('#include "nowhere.c"\n')),
    ("a macro of a foreign name", "needs '#define HYB_", source("#define LOOSE 1\n")),
    ("a private macro left in the declarations", "is not undefined",
     lambda root: append(os.path.join(root, "src", "api", "base.h"), "#define HYB_LOOSE 1\n")),
]


# Public functions that need no border (src/core/fpenv.c): they touch no floating-point number and call nothing of the
# host's.
NO_BORDER = """
    hybrid_result_text hybrid_version hybrid_source_id hybrid_runtime_isa hybrid_runtime_threads hybrid_runtime_device
    hybrid_gguf_type_name hybrid_gguf_tensor_type_name hybrid_gguf_version hybrid_gguf_file_size hybrid_gguf_alignment
    hybrid_gguf_key_count hybrid_gguf_tensor_count hybrid_gguf_tensor_at hybrid_model_tokenizer hybrid_model_template
    hybrid_model_gguf hybrid_model_runtime hybrid_vocab_size hybrid_tokenizer_adds_bos hybrid_tokenizer_adds_eos
    hybrid_type_name hybrid_type_block_size hybrid_type_block_bytes hybrid_type_row_bytes hybrid_mix_name
    hybrid_context_room hybrid_seq_length hybrid_seq_back hybrid_stream_ids hybrid_session_count hybrid_session_user
""".split()


def borders(box):
    """Every public function is defined by HYB_BORDER, which puts the floating-point environment in order, or is one of
    the few above."""
    declared, defined = set(), {}
    for folder, _, names in sorted(os.walk(box.path("src"))):
        for name in sorted(names):
            with open(os.path.join(folder, name), encoding="utf-8") as f:
                text = f.read()
            if os.path.basename(folder) == "api":
                declared.update(re.findall(r"^HYBRID_API [^;(]*?\b(hybrid_\w+)\(", text, re.M))
                continue
            for public in re.findall(r"^HYBRID_API [^;(]*?\b(hybrid_\w+)\([^;]*?\)\s*\{", text, re.M):
                defined[public] = False
            for public in re.findall(r"^HYB_BORDER(?:_VOID)?\((?:[^,()]*, )?(hybrid_\w+),\s+\(", text, re.M):
                defined[public] = True
    box.expect("public functions were found", len(declared) > 100, str(len(declared)))
    lost = sorted(declared - set(defined))
    box.expect("every public function is defined in a way that is understood", not lost, ", ".join(lost))
    bare = sorted(n for n in declared & set(defined) if not defined[n] and n not in NO_BORDER)
    box.expect("every public function has a border", not bare, "say HYB_BORDER (src/core/fpenv.c): " + ", ".join(bare))
    spare = sorted(n for n in NO_BORDER if defined.get(n, True))
    box.expect("the list of functions without a border is up to date", not spare, ", ".join(spare))


# Public functions whose sentence is had from another call, so that the shortest program stays short.
NO_ERROR = """hybrid_session_say hybrid_session_say_json hybrid_session_complete hybrid_session_answer
    hybrid_session_step hybrid_session_add hybrid_session_edit hybrid_session_cut""".split()


def interface(box):
    """What src/api/base.h promises: a sentence for every failure, and no int."""
    ints, dumb = [], []
    for name in sorted(os.listdir(box.path("src", "api"))):
        text = box.read(os.path.join("src", "api", name))
        code = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
        ints += ["%s: %s" % (name, line.strip()) for line in code.split("\n") if re.search(r"\bint\b", line)]
        for function, last in re.findall(r"^HYBRID_API hybrid_result (hybrid_\w+)\(([^;]*)\);", code, re.M):
            if not re.search(r"\bhybrid_error \*error$", last) and function not in NO_ERROR:
                dumb.append(function)
    box.expect("counts are int32_t or size_t", not ints, "; ".join(ints))
    box.expect("every fallible function takes a hybrid_error", not dumb, ", ".join(dumb))


# amalgamate.py --check of several roots, one after the other: what it read of a file serves the next root, in which the
# file is the same.
CHECKS = """import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
import amalgamate
said = []
for root in sys.argv[2:]:
    words, status = io.StringIO(), 0
    sys.argv = ["amalgamate.py", "--check", "--root", root]
    with contextlib.redirect_stdout(words):
        try:
            amalgamate.main()
        except SystemExit as end:
            status = 1
            print(end.code)
    said.append((status, words.getvalue()))
print(json.dumps(said))
"""


def amalgamate_says(box, roots):
    """[(exit status, output)] of the repository's amalgamate.py for each of the roots."""
    status, out = box.run([sys.executable, "-B", "-c", CHECKS, box.root] + roots)
    try:
        return json.loads(out)
    except ValueError:
        return [(status, out)] * len(roots)


# How programs, objects and libraries begin: ELF, Windows, macOS, archives, profiles.
BUILT = (b"\x7fELF", b"MZ\x90\0", b"\xcf\xfa\xed\xfe", b"!<arch>\n", b"gmon")


def files_of(root):
    """What is kept: of a clone what git knows, of a copy all."""
    if os.path.exists(os.path.join(root, ".git")):
        out = subprocess.run(["git", "ls-files", "-z"], cwd=root, stdout=subprocess.PIPE, check=True).stdout
        return [name for name in out.decode().split("\0") if name]
    return [os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(root) for name in names]


def starts_built(path):
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as f:
        return f.read(8).startswith(BUILT)


@gate("house", faults=[
    ("a source edited without regenerating", source("/* one more line */\n")),
    ("a header edited by hand", lambda root: append(os.path.join(root, HEADER), "/* by hand */\n")),
    ("a public function without a border", lambda root: replace(os.path.join(root, "src", "core", "lifetime.c"),
        "HYB_BORDER_VOID(hybrid_runtime_destroy, (hybrid_runtime *runtime), (runtime))",
        "HYBRID_API void hybrid_runtime_destroy(hybrid_runtime *runtime)")),
    ("an int in the interface", lambda root: replace(os.path.join(root, "src", "api", "runtime.h"),
        "int32_t n_threads;", "int n_threads;")),
    ("a fallible function without its sentence", lambda root: replace(os.path.join(root, "src", "api", "chat.h"),
        "hybrid_text *out, hybrid_error *error);\n\n/* One turn.", "hybrid_text *out);\n\n/* One turn.")),
    ("amalgamate.py lost a rule",
     lambda root: replace(os.path.join(root, "amalgamate.py"), "def check_scope(path, text, static_macros, problems):",
                          "def check_scope(path, text, static_macros, problems):\n    return")),
    ("a program among the sources",
     lambda root: shutil.copy(sys.executable, os.path.join(root, "tests", "bench_mine"))),
])
def house(box):
    from gates import copy_of
    status, out = box.run([sys.executable, "-B", os.path.join(box.root, "amalgamate.py"), "--check"])
    box.expect("hybrid.h is up to date", status == 0, out)
    borders(box)
    interface(box)
    header = box.read(HEADER)
    box.expect("no trailing blanks, tabs or carriage returns",
               not any(line != line.rstrip() or "\t" in line for line in header.split("\n")), "hybrid.h")
    box.expect("the first lines say what it is",
               all(word in "\n".join(header.split("\n")[:40]) for word in ("QUICK START", "LICENCE", "OPTIONS")),
               "hybrid.h")

    built = [path for path in files_of(box.root) if starts_built(os.path.join(box.root, path))]
    box.expect("only sources and data are kept", not built, "made by a compiler: " + ", ".join(built))

    copies = []
    for title, _, damage in RULES:
        copies.append(os.path.join(box.tmp, title.replace(" ", "-")))
        copy_of(box.root, copies[-1])
        damage(copies[-1])
    for (title, word, _), (status, out) in zip(RULES, amalgamate_says(box, copies)):
        box.expect("amalgamate.py refuses " + title, status == 1 and word in out, "it said (%d): %s" % (status, out))




# Scripts with lines that are data: expressions, lists, programs in C and pages as they are written out.
DATA = """
    examples/python/hybrid.py
    tests/bench_tokenizer.py tests/gpu_check.py tests/gates/compiling.py tests/gates/documents.py tests/gates/places.py
    tests/gates/stack.py tests/oracle/check_files.py tests/oracle/crosscheck.py tests/oracle/make_case.py
    tests/oracle/make_jinja.py tests/oracle/make_json.py tests/oracle/make_real.py tests/oracle/make_tokenizer.py
    tests/oracle/make_unicode.py tests/oracle/tok_random.py
""".split()


def statements(text):
    """(line, how many statements end in it), without comments, strings, directives, and what stands in parentheses. A
    short case, 'case x: f(); break;', is one; so is a lambda."""
    blank = lambda m: re.sub(r"[^\n]", " ", m.group())
    text = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)
    text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, text, flags=re.M)
    text = re.sub(r"^([ \t]*(?:case\b|default:)[^;\n]*;) (?:break|return\b[^;\n]*);", r"\1", text, flags=re.M)
    text = re.sub(r"(\[[&=]?\]\([^)\n]*\) \{[^;\n]*);( \};)", r"\1\2", text)
    depth, line, ends = 0, 1, {}
    for c in re.findall(r"[();\n]", text):
        depth += {"(": 1, ")": -1}.get(c, 0)
        line += c == "\n"
        ends[line] = ends.get(line, 0) + (c == ";" and depth == 0)
    return ends.items()


@gate("lines", faults=[
    ("a line that is too wide", source("/* %s */\n" % ("x" * 115))),
    ("a wide line of a test",
     lambda root: append(os.path.join(root, "tests", "test_json.c"), "/* %s */\n" % ("x" * 115))),
    ("a wide line of a script", lambda root: append(os.path.join(root, "tests", "venv.py"), "# %s\n" % ("x" * 119))),
    ("two statements in one line", source("static int hyb_two(int i) { i++; return i; }\n")),
    ("a loop of two statements in one line",
     source("static int hyb_two(int i)\n{\n    for (; i < 9; i++) { i++; i--; }\n    return i;\n}\n")),
])
def lines(box):
    """120 columns, one statement a line (.clang-format makes it so)."""
    wide, crowded, seen = [], [], 0
    for top in ("src", "tests", "examples"):
        for folder, _, names in sorted(os.walk(box.path(top))):
            for path in (os.path.relpath(os.path.join(folder, name), box.root) for name in sorted(names)):
                if not path.endswith((".c", ".h", ".inc", ".cu", ".cpp", ".py")):
                    continue
                text, seen = box.read(path), seen + 1
                rows = enumerate(text.split("\n"), 1) if path.replace(os.sep, "/") not in DATA else ()
                wide += ["%s:%d: %d columns" % (path, n, len(row)) for n, row in rows if len(row) > 120]
                if path.endswith(".py"):
                    continue
                crowded += ["%s:%d: %d statements" % (path, n, count) for n, count in statements(text) if count > 1]
    box.expect("many files were seen", seen > 200, str(seen))
    box.expect("no line is wider than 120 columns", not wide, "%d lines\n%s" % (len(wide), "\n".join(wide)))
    box.expect("one statement a line", not crowded, "%d lines\n%s" % (len(crowded), "\n".join(crowded)))
