"""The example that saves a conversation, on the real model: what two runs say is what one run says."""
import os

from compiling import GRAPHED, optimized
from gates import LINKED, ROOT, gate
from house import replace
from meaning import lines_of_code, shortened


@gate("saved", faults=[
    ("an example of more than 40 lines", shortened("save.c", "#include <stdio.h>\n", "#include <stdio.h>\n" * 20)),
    ("random numbers that begin anew", lambda root: replace(
        os.path.join(root, "hybrid.h"), "    s->position = position - n;\n", "    s->position = 0;\n")),
])
def saved(box):
    folder = box.folder("saved")
    model = os.path.join(os.environ.get("HYBRID_MODELS", os.path.join(ROOT, "models")),
                         "SmolLM2-135M-Instruct.Q4_1.gguf")
    held = optimized(box, *GRAPHED)
    n = lines_of_code(box.read("examples", "save.c"))
    box.expect("save.c is short", n <= 40, "%d lines of code, more than 40" % n)
    if not held:
        return None
    box.compiles("save", ["gcc", "-O1", "-w"] + LINKED + ["-I", box.root, box.path("examples", "save.c"), held, "-o",
                                                         "save", "-lm", "-lpthread"], folder)
    if not os.path.exists(model):
        return box.skipped("the real model", "there is no %s (make model fetches it)" % model)

    def said(game, *words):
        status, out = box.run(["./save", model, game] + list(words), folder)
        return out[:-1] if status == 0 else "failed: " + out

    question = "My name is Ada. What is a heron?"
    whole = said("whole", question)
    parts = said("parts", question, "4") + said("parts")
    box.expect("a run that goes on", whole == parts and len(whole) > 20, "it says\n%s\nand not\n%s" % (parts, whole))
    box.expect("the turn after it", said("whole", "And an owl?") == said("parts", "And an owl?"),
               "it says another thing")
    path = os.path.join(folder, "parts")
    with open(path, "rb") as f:
        good = f.read()
    with open(path, "wb") as f:
        f.write(good[:9999] + bytes([good[9999] ^ 1]) + good[10000:])
    box.expect("a damaged file", "save: the saved game is damaged" in said("parts", "Hello?"), "it was taken")
    with open(path, "rb") as f:
        box.expect("which stays as it is", len(f.read()) == len(good), "it was written over")
    return None
