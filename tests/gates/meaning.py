"""The examples about what texts mean, on the real model: one chooses an answer, one finds a note."""
import os
import re

from compiling import ALONE, GRAPHED, optimized
from gates import LINKED, ROOT, gate
from house import replace


NOTES = """The chain of the bicycle is broken.
The cat goes to the vet on Friday.

Milk and bread are to be bought.
The meeting about the budget was moved to the third of March.
"""


def lines_of_code(text):
    """Without comments, empty lines and the text of --help."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    text = re.sub(r"static const char usage\[\] =.*?;\n", "", text, count=1, flags=re.S)
    return sum(1 for line in text.split("\n") if line.strip())


def shortened(name, old, new):
    return lambda root: replace(os.path.join(root, "examples", name), old, new)


@gate("meaning", faults=[
    ("an example of more than 40 lines", shortened("choose.c", "#include <math.h>\n", "#include <math.h>\n" * 20)),
    ("the last note", shortened("search.c", "if (cosine > most)", "")),
    ("the worst answer", shortened("choose.c", "scores[i].sum > scores[best].sum", "scores[i].sum < scores[best].sum")),
])
def meaning(box):
    folder = box.folder("meaning")
    model = os.path.join(os.environ.get("HYBRID_MODELS", os.path.join(ROOT, "models")),
                         "SmolLM2-135M-Instruct.Q4_1.gguf")
    held = optimized(box, *GRAPHED)
    names = ("choose", "search")
    for name in names:
        n = lines_of_code(box.read("examples", name + ".c"))
        box.expect("%s.c is short" % name, n <= 40, "%d lines of code, more than 40" % n)
        if held:
            box.compiles(name, ["gcc", "-O1", "-w"] + LINKED + ["-I", box.root, box.path("examples", name + ".c"), held,
                                                                "-o", name, "-lm", "-lpthread"], folder)
    if not held:
        return None
    if not os.path.exists(model):
        return box.skipped("the real model", "there is no %s (make model fetches it)" % model)

    def chosen(prompt, *texts):
        status, out = box.run(["./choose", model, prompt] + list(texts), folder)
        star = re.search(r"^\* +([\d.]+) %.*a token  (.*)$", out, re.M)
        return (star.group(2), float(star.group(1))) if status == 0 and star else (out, 0)

    for prompt, right, wrong in (("The capital of France is", " Paris", (" Rome", " London", " Madrid")),
                                 ("Question: What do bees make?\nAnswer:", " Honey.", (" Milk.", " Wool.")),
                                 ("Water freezes and becomes", " ice", (" fire", " a table and four chairs"))):
        text, share = chosen(prompt, *(wrong + (right,)))
        box.expect("choose: %s%s" % (prompt, right), text == right and share > 60, "it is '%s', %g %%" % (text, share))
    with open(os.path.join(folder, "notes.txt"), "w", encoding="utf-8") as f:
        f.write(NOTES)
    for question, note in (("Fix the bicycle, whose chain is broken.", "bicycle"),
                           ("The cat must be taken to the vet on Friday.", "cat"), ("Buy bread and milk.", "milk")):
        status, out = box.run("echo '%s' | ./search %s notes.txt 2>/dev/null" % (question, model), folder)
        box.expect("search: " + question, status == 0 and note in out.lower() and out.count("\n") == 1, out)
    status, out = box.run(["./search", "nothing.gguf", "notes.txt"], folder)
    box.expect("search says what is wrong", status == 1 and "nothing.gguf" in out, out)
    status, out = box.run(["./choose", model, "One", "", "two"], folder)
    box.expect("choose says what is wrong", status == 1 and "text 0 is empty" in out, out)
    return None
