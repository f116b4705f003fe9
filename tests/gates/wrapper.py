"""examples/hybrid.hpp: it compiles as C++11 and C++20 without a warning and without exceptions, each public function of
the objects that it covers is wrapped or listed there as left out, and its example streams a chat on the real model."""
import os
import re
import shutil

from compiling import GRAPHED, optimized
from gates import LINKED, ROOT, gate
from house import replace

COVERED = ("model", "tokenizer", "context", "stream", "session", "sampler", "grammar", "adapter", "saved", "score")
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", "-fno-exceptions"]


def public(box):
    """The functions that the parts of the header declare for the objects."""
    for part in COVERED:
        text = re.sub(r"/\*.*?\*/", "", box.read("src", "api", part + ".h"), flags=re.S)
        for name in re.findall(r"HYBRID_API[^;(]*?\b(hybrid_\w+)\(", text):
            yield name


def spoilt(old, new):
    return lambda root: replace(os.path.join(root, "examples", "hybrid.hpp"), old, new)


@gate("wrapper", faults=[
    ("a function that is not wrapped", spoilt("hybrid_seq_fork(get(), from, to, why)", "HYBRID_OK")),
    ("a function in the list that is not there", spoilt("hybrid_plan    ", "hybrid_plane   ")),
    ("a warning", spoilt("int32_t room() const {", "int32_t room(int unused) const {")),
])
def wrapper(box):
    folder = box.folder("wrapper")
    text = box.read("examples", "hybrid.hpp")
    head, body = text.split("*/", 1)
    listed = re.findall(r"\bhybrid_\w+\*?", head.split("Left out", 1)[1])
    names = sorted(set(public(box)))
    missing = [n for n in names if not re.search(r"\b%s\b" % n, body) and
               not any(n == w or (w.endswith("*") and n.startswith(w[:-1])) for w in listed)]
    box.expect("all functions are wrapped or left out", len(names) > 90 and not missing,
               "%d functions; neither wrapped nor in the list of examples/hybrid.hpp: %s" % (len(names),
                                                                                            ", ".join(missing)))
    lost = [w for w in listed if not any(n == w or (w.endswith("*") and n.startswith(w[:-1])) for n in names)]
    box.expect("what is left out exists", not lost, "no such function: " + ", ".join(lost))
    with open(os.path.join(folder, "all.cpp"), "w", encoding="utf-8") as f:
        f.write('#include "hybrid.hpp"\nint main() { return 0; }\n')
    for compiler in ("g++", "clang++"):
        for standard in ("c++11", "c++20"):
            if shutil.which(compiler):
                box.compiles("%s -std=%s" % (compiler, standard),
                             [compiler, "-std=" + standard, "-fsyntax-only"] + WARNINGS +
                             ["-I", box.path("examples"), "-I", box.root, "all.cpp"], folder)
    lines = sum(1 for line in re.sub(r"/\*.*?\*/", "", box.read("examples", "talk.cpp"), flags=re.S).split("\n")
                if line.strip())
    box.expect("talk.cpp is short", lines < 40, "%d lines" % lines)
    held = optimized(box, *GRAPHED)
    model = os.path.join(os.environ.get("HYBRID_MODELS", os.path.join(ROOT, "models")),
                         "SmolLM2-135M-Instruct.Q4_1.gguf")
    if not held:
        return None
    box.compiles("talk", ["g++", "-O1", "-w"] + LINKED + ["-I", box.root, box.path("examples", "talk.cpp"), held, "-o",
                                                          "talk", "-lm", "-lpthread"], folder)
    if not os.path.exists(model):
        return box.skipped("the real model", "there is no %s (make model fetches it)" % model)
    status, out = box.run(["sh", "-c", "echo 'What is the capital of France?' | ./talk '%s'" % model], folder)
    box.expect("it answers", status == 0 and "Paris" in out, out)
    status, out = box.run(["./talk", "nothing.gguf"], folder)
    box.expect("it says what is wrong", status == 1 and "nothing.gguf" in out, out)
    return None
