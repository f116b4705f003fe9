"""The programs of ../shared/cases, as they were written against the library that failed them: each says now what its
row calls right."""
import os
import re

from compiling import ALONE, GRAPHED, MUSL, optimized
from gates import LINKED, ROOT, gate
from house import replace

STACK = "macro macro2 call recur repr json cmp paren brk not minus plus pipe pow tern elif dots if".split()


def broken(old, new):
    return lambda root: replace(os.path.join(root, "hybrid.h"), old, new)


@gate("cases", faults=[
    ("a recursion that may take more than there is",
     broken("44 * 1024 * HYB_STACK_FACTOR", "440 * 1024 * HYB_STACK_FACTOR")),
    ("a host's exceptions inside the library", broken("HYB_SSE_PLAIN = 0x1F80", "HYB_SSE_PLAIN = 0")),
])
def cases(box):
    folder = os.path.join(os.path.dirname(os.environ.get("HYBRID_DATA", os.path.join(ROOT, "..", "shared", "data"))),
                          "cases")
    if not os.path.isdir(folder):
        return box.passed("there are no cases beside this repository, which is as it should be on a user's machine")
    story = box.path("examples", "data", "stories260K-q8_0.gguf")
    here = optimized(box, *GRAPHED)
    musl = box.object("the implementation with musl", MUSL, ALONE)[0] if box.has("musl-gcc") else None
    if not here:
        return None

    def program(source, name, compiler="gcc", held=here):
        """One that holds the library itself is linked with it like the others."""
        return box.compiles(name, [compiler, "-O1", "-w"] + LINKED +
                            ["-I", box.root, source, held, "-o", name, "-lm", "-lpthread"])

    def says(title, command, right, wrong="$^"):
        status, out = box.run(command, timeout=120, env=dict(os.environ, HYBRID_DEVICE="cpu"))
        box.expect(title, status == 0 and re.search(right, out, re.S) and not re.search(wrong, out),
                   "exit status %s: %s" % (status, out[-2000:]))

    for source, title, right in (("04-fork-destroy/forkbug.c", "04: a child destroys everything", "child: exit 0"),
                                 ("04-fork-destroy/forkhang.c", "04: a child goes on and destroys everything",
                                  "child: exit 0"),
                                 ("16-fpu-exceptions/fpe.c", "16: a host whose exceptions are unmasked", "survived")):
        name = os.path.basename(source)[:-2]
        if program(os.path.join(folder, source), name):
            says(title, ["./" + name, story], right)
    if program(os.path.join(folder, "13-rep-penalty-denormal", "samp.c"), "samp"):
        says("13: a penalty that overflows", ["./samp"], r"rep 1e-45 \(overflow to inf\) +got 3 ", "damaged")
    if program(os.path.join(folder, "19-special-token-quadratic", "say.c"), "say"):
        flood = os.path.join(folder, "19-special-token-quadratic", "flood.gguf")
        says("19: a long special token and a long text", ["./say", flood], r"say: -?\d+ .* \d\.\d\d s cpu")
    if program(box.path("examples", "inspect.c"), "inspect"):
        for name in ("zero1", "zero_mid"):
            says("07: %s" % name, ["./inspect", os.path.join(folder, "07-zero-size-tensor", name + ".gguf")], "tensors")
    if program(box.path("examples", "quantize.c"), "quantize") and os.getuid() == 0 and box.has("mknod"):
        status, out = box.run(["sh", os.path.join(folder, "15-output-replaces-device", "try.sh"), "./quantize", story])
        device, link = re.search(r"^crw\S* .*/null$", out, re.M), re.search(r"^l\S* .*link.gguf", out, re.M)
        box.expect("15: a device stays a device, a link a link", device and link, out)
    if musl and program(os.path.join(folder, "06-template-recursion-small-stack", "stk.c"), "stk", "musl-gcc", musl):
        for what in STACK:
            says("06: %s on a stack of 128 KB" % what, ["./stk", "0", what], "survived")
    model = os.path.join(os.environ.get("HYBRID_MODELS", os.path.join(ROOT, "models")),
                         "SmolLM2-135M-Instruct.Q4_1.gguf")
    if os.path.exists(model) and program(os.path.join(folder, "05-history-lost-on-refused-say", "histlost.c"),
                                         "histlost"):
        status, out = box.run(["./histlost", model])
        kept = re.findall(r"^(?:A 3|B 2)\D.*prompt of (\d+) tokens, (\d+) messages forgotten", out, re.M)
        box.expect("05: a refused message leaves the conversation", kept == [("70", "0")] * 2, out)
    return None
