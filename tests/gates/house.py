"""The header is what the sources make, and the sources keep the rules that no compiler checks."""
import os
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
    return lambda root: replace(os.path.join(root, HEADER), "/* ==== end src/core/base.c ==== */", text + "\n/* ==== end src/core/base.c ==== */")


def in_declarations(text):
    return lambda root: replace(os.path.join(root, HEADER), "/* ==== end src/api/base.h ==== */", text + "\n/* ==== end src/api/base.h ==== */")


def source(text):
    """Adds text to a source file. The rules are checked before the header is compared."""
    return lambda root: append(os.path.join(root, "src", "core", "base.c"), text)


def new_file(root):
    append(os.path.join(root, "src", "core", "forgotten.c"), "/* core/forgotten: nothing includes this. */\n")




RULES = [
    ("a file that nothing includes", "nothing includes", new_file),
    ("a private function that is not static", "is not static", source("int hybrid__loose(void) { return 1; }\n")),
    ("a public function without HYBRID_API", "lacks HYBRID_API", source("int hybrid_loose(void) { return 1; }\n")),
    ("a function of a foreign name", "needs the prefix", source("static int loose(void) { return 1; }\n")),
    ("a type of a foreign name", "needs the prefix", source("typedef struct loose { int a; } loose;\n")),
    ("a global that can change", "not 'static const'", source("static int hybrid__counter;\n")),
    ("a table of pointers that can change", "not 'static const'", source('static const char *hybrid__names[] = { "a" };\n')),
    ("a static variable in a function", "not const", source("static int hybrid__next(void) { static int n; return ++n; }\n")),
    ("a long string literal", "string literal", source('static const char hybrid__long[] = "%s"\n    "%s";\n' % ("x" * 2500, "y" * 2500))),
    ("a file that includes itself", "includes itself", source('#include "base.c"\n')),
    ("a file that is included twice", "included twice", source('#include "begin.h"\n')),
    ("a missing file", "cannot find", source('#include "nowhere.c"\n')),
    ("a macro of a foreign name", "needs '#define HYBRID__", source("#define LOOSE 1\n")),
    ("a private macro left in the declarations", "is not undefined", lambda root: append(os.path.join(root, "src", "api", "base.h"), "#define HYBRID__LOOSE 1\n")),
]


def amalgamate_says(box, root):
    return box.run([sys.executable, os.path.join(root, "amalgamate.py"), "--check"])


@gate("house", faults=[
    ("a source edited without regenerating", source("/* one more line */\n")),
    ("a header edited by hand", lambda root: append(os.path.join(root, HEADER), "/* by hand */\n")),
    ("amalgamate.py lost a rule", lambda root: replace(os.path.join(root, "amalgamate.py"), "def check_scope(path, text, static_macros, problems):", "def check_scope(path, text, static_macros, problems):\n    return")),
])
def house(box):
    from gates import copy_of
    status, out = amalgamate_says(box, box.root)
    box.expect("hybrid.h is up to date", status == 0, out)
    header = box.read(HEADER)
    box.expect("no trailing blanks, tabs or carriage returns", not any(line != line.rstrip() or "\t" in line for line in header.split("\n")), "hybrid.h")
    box.expect("the first lines say what it is", all(word in "\n".join(header.split("\n")[:40]) for word in ("QUICK START", "LICENCE", "OPTIONS")), "hybrid.h")

    def refuses(rule):
        title, word, damage = rule
        copy = os.path.join(box.tmp, title.replace(" ", "-"))
        copy_of(box.root, copy)
        damage(copy)
        status, out = amalgamate_says(box, copy)
        box.expect("amalgamate.py refuses " + title, status != 0 and word in out, "it said (%d): %s" % (status, out))
    box.parallel(refuses, RULES)
