"""Python calls the library: examples/python is what hybrid.h makes, and sees of every struct what C sees."""
import os
import re
import shutil
import sys

from compiling import ALONE, WITHOUT_SIMD
from gates import LINKED, gate
from house import append, replace

MADE = os.path.join("examples", "python", "hybrid.py")
PROMPT = "Once upon a time"

# What ctypes makes of a struct, line by line as the program in C below says it.
LAYOUT = """import hybrid
for s in hybrid.STRUCTS:
    print(s.__name__, hybrid.sizeof(s))
    for name, _ in s._fields_:
        print(s.__name__, name, getattr(s, name).offset, getattr(s, name).size)
for name in sorted(vars(hybrid)):
    if name.startswith("HYBRID_") and isinstance(getattr(hybrid, name), int):
        print(name, getattr(hybrid, name))
"""


def program_of(said):
    """In C, what those lines are about."""
    lines = []
    for words in (line.split() for line in said.strip().split("\n")):
        if len(words) == 2 and words[0].startswith("HYBRID_"):
            lines.append('printf("%s %%lld\\n", (long long)%s);' % (words[0], words[0]))
        elif len(words) == 2:
            lines.append('printf("%s %%d\\n", (int)sizeof(%s));' % (words[0], words[0]))
        else:
            lines.append('printf("%s %s %%d %%d\\n", (int)offsetof(%s, %s), (int)sizeof(((%s *)0)->%s));' %
                         (words[0], words[1], words[0], words[1], words[0], words[1]))
    head = '#include "hybrid.h"\n#include <stddef.h>\n#include <stdio.h>\n'
    return head + "int main(void)\n{\n    %s\n    return 0;\n}\n" % "\n    ".join(lines)


def lines_apart(a, b):
    return "\n".join("ctypes: %s   C: %s" % pair for pair in zip(a.split("\n"), b.split("\n")) if pair[0] != pair[1])


@gate("bindings", faults=[
    ("a struct that is not the header's", lambda root: replace(
        os.path.join(root, MADE), '    ("n_ctx", c_int32),\n', '    ("n_ctx", c_int64),\n')),
    ("bindings of another header", lambda root: append(os.path.join(root, MADE), "\n")),
    ("a public struct that HYBRID_STRUCTS lacks", lambda root: replace(
        os.path.join(root, "hybrid.h"), "X(hybrid_logit_bias) ", "")),
    ("an example that stops too early", lambda root: replace(
        os.path.join(root, "examples", "python", "chat.py"), "max_tokens=256", "max_tokens=25")),
])
def bindings(box):
    folder = box.folder("python")
    status, out = box.run([sys.executable, "-B", box.path("examples", "python", "make_bindings.py"), "--check"])
    box.expect("hybrid.py is what hybrid.h makes", status == 0, out)
    for name in ("hybrid.py", "chat.py"):
        shutil.copy2(box.path("examples", "python", name), folder)
    box.expect("chat.py is short", box.read("examples", "python", "chat.py").count("\n") <= 60, "more than 60 lines")
    header = re.sub(r"/\*.*?\*/", "", box.read("hybrid.h").split("#ifdef HYBRID_IMPLEMENTATION\n")[0], flags=re.S)
    declared = set(re.findall(r"^typedef struct (\w+) \{", header, re.M))
    listed = set(re.findall(r"X\((hybrid_\w+)\)", header))
    box.expect("HYBRID_STRUCTS has every public struct", len(declared) > 40 and declared == listed,
               ", ".join(sorted(declared ^ listed)))
    held, _ = box.object("the library, position-independent", WITHOUT_SIMD, ALONE)
    library = os.path.join(folder, "libhybrid.so")
    if not held or not box.compiles("a shared library", ["cc", "-shared", held, "-o", library, "-lm"]):
        return
    status, said = box.run([sys.executable, "-B", "-c", LAYOUT], folder)
    box.expect("hybrid.py is imported", status == 0, said)
    box.write("layout.c", program_of(said) if status == 0 else "")
    if status == 0 and box.compiles("what C sees", ["cc", "-O0", "-I", box.root, "layout.c", "-o", "layout"]):
        _, seen = box.run(["./layout"])
        box.expect("ctypes and C see the same structs and constants", said == seen and said.count("\n") > 500,
                   lines_apart(said, seen))
    tells(box, folder, held)


def tells(box, folder, held):
    """A story by chat.py and by generate.c."""
    story = box.path("examples", "data", "stories260K-q8_0.gguf")
    if not os.path.exists(story):
        return box.skipped("chat.py", "there is no %s" % story)
    command = ["cc", "-O0"] + LINKED + ["-I", box.root, box.path("examples", "generate.c"), held]
    if not box.compiles("generate.c", command + ["-o", "generate", "-lm"]):
        return
    command = [os.path.join(box.tmp, "generate"), story, PROMPT]
    _, text = box.run(command + ["-q"])                              # without the prompt, and nothing on stderr
    status, told = box.run([sys.executable, "-B", "chat.py", story, PROMPT], folder)
    box.expect("chat.py tells generate.c's story", status == 0 and told == PROMPT + text and len(text) > 200,
               "%s\n---- generate.c:\n%s" % (told, text))
    status, said = box.run([sys.executable, "-B", "chat.py", "nowhere.gguf"], folder)
    box.expect("chat.py says what is wrong", status == 1 and said.startswith("chat: ") and "nowhere.gguf" in said, said)
