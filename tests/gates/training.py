"""The examples that train, from a text to a model that talks, and on bad days: stopped, started again, blown up, with
nothing to learn. Tiny models; the library is the one without SIMD that other gates compile, too."""
import json
import os
import re
import shutil
import signal
import subprocess
import time

from compiling import ALONE, WITHOUT_SIMD
from gates import LINKED, gate
from house import replace
from picture import BROWSERS, elements, look_at_elements

TINY = "--vocab 300 --layers 1 --width 32 --heads 2 -c 32 -b 4 --every 4 --rate 0.003 --validation 0.2".split()
TALKS = "".join('{"messages": [{"role": "user", "content": "Who are you? %d"}, {"role": "assistant", "content": '
                '"I am Fred.", "weight": %s}]}\n' % (i, 1 - i % 2 / 2) for i in range(20))


def build(box, name, held, folder):
    source = box.path("examples", name + ".c")
    return box.compiles(name, WITHOUT_SIMD + LINKED + [source, "-I", folder, held, "-o", name, "-lm"], folder)


def numbers(folder, name):
    with open(os.path.join(folder, name), encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def learns(box, folder):
    """A run of 12 steps, and one of 6 that is gone on with, have the same numbers and the same model."""
    for out, counts in (("a.gguf", ("12",)), ("b.gguf", ("7", "12"))):
        for n in counts:
            status, words = box.run(["./train", "text.txt", "-o", out, "-n", n, "--warmup", "1"] + TINY +
                                    ["--type", "q8_0"], folder)
            box.expect("train to step %s" % n, status == 0 and "wrote" in words, words[-600:])
    a, b = numbers(folder, "a.gguf.jsonl"), numbers(folder, "b.gguf.jsonl")
    box.expect("a run that is gone on with has every step once", [p["step"] for p in b] == list(range(1, 13)),
               str([p["step"] for p in b]))
    box.expect("the loss falls", a[-1]["loss"] < a[0]["loss"] - 0.3, "%s to %s" % (a[0]["loss"], a[-1]["loss"]))
    box.expect("validation is looked at", [p["step"] for p in a if "validation" in p] == [1, 4, 8, 12], str(a))
    for name in ("a.gguf.svg", "b.gguf.svg"):
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            box.expect(name, 'class="validation"' in f.read(), "no curve of validation")


def rounds(box, folder):
    """A run in bf16 has losses of its own, and stays in bf16 when it is gone on with, unless it is told otherwise."""
    losses = {}
    begun = ["7", "--format", "bf16"]
    for out, runs in (("whole", (["12", "--format", "bf16"],)), ("kept", (begun, ["12"])),
                      ("same", (begun, ["12", "--format", "bf16"])), ("other", (begun, ["12", "--format", "fp32"]))):
        for more in runs:
            status, words = box.run(["./train", "text.txt", "-o", out, "--warmup", "1", "-n"] + more + TINY, folder)
            box.expect("train %s" % " ".join(more), status == 0 and "wrote" in words, words[-600:])
        losses[out] = [p["loss"] for p in numbers(folder, out + ".jsonl")]
    plain = [p["loss"] for p in numbers(folder, "a.gguf.jsonl")]
    apart = max(abs(x - y) for x, y in zip(losses["whole"], plain))
    kept, other = losses["kept"], losses["other"]
    box.expect("bf16 is nearly fp32, not fp32", 1e-5 < apart < 0.05, "%s %s" % (losses["whole"], plain))
    box.expect("what is gone on with keeps its format", kept == losses["same"], "%s %s" % (kept, losses["same"]))
    box.expect("or has another from then on", kept[:8] != other[:8] and kept[:7] == other[:7], "%s %s" % (kept, other))
    for program, text in (("train", ["text.txt"]), ("finetune", ["a.gguf", "talks.jsonl"])):
        status, words = box.run(["./" + program] + text + ["-o", "n.gguf", "--format", "f8"], folder)
        box.expect("%s in no format" % program, status == 1 and "unknown option or value" in words, words[-300:])
    status, words = box.run(["./finetune", "a.gguf", "talks.jsonl", "-o", "n.gguf", "-n", "2", "--format", "fp16"],
                            folder)
    box.expect("finetune in fp16", status == 0 and "wrote" in words, words[-600:])


def tunes(box, folder):
    command = ["./finetune", "a.gguf", "talks.jsonl", "-o", "f.gguf", "--every", "4", "--rate", "0.003"]
    status, words = box.run(command + ["-n", "8"], folder)
    box.expect("finetune", status == 0 and "wrote" in words and "20 conversations" in words, words[-600:])
    status, words = box.run(command + ["-n", "12"], folder)
    box.expect("finetune, gone on with", status == 0 and "going on from the checkpoint" in words, words[-600:])
    f = numbers(folder, "f.gguf.jsonl")
    box.expect("finetune learns", [p["step"] for p in f] == list(range(1, 13)) and f[-1]["loss"] < f[0]["loss"] - 0.3,
               str([(p["step"], p["loss"]) for p in f]))
    with open(os.path.join(folder, "bad.jsonl"), "w", encoding="utf-8") as out:
        out.write(TALKS + "no JSON\n")
    command[2] = "bad.jsonl"
    command[4] = "g.gguf"
    status, words = box.run(command + ["-n", "1"], folder)
    box.expect("a bad line ends it, by its number", status == 1 and "line 21" in words, words[-600:])
    status, words = box.run(command + ["-n", "1", "--skip-bad"], folder)
    box.expect("or is left out, and named", status == 0 and "line 21" in words and "wrote" in words, words[-600:])
    status, words = box.run(["./finetune", "a.gguf", "talks.jsonl", "-o", "talks", "-n", "1"], folder)
    with open(os.path.join(folder, "talks.jsonl"), encoding="utf-8") as kept:
        box.expect("conversations are not written over by numbers", status == 1 and "move it away" in words and
                   kept.read() == TALKS, words[-600:])


def adapts(box, folder):
    """An adapter learns over the weights of the file, which is in Q8_0; merged it is a whole model."""
    sizes = {}
    for out, more in (("l.gguf", []), ("m.gguf", ["--merge"])):
        status, words = box.run(["./finetune", "a.gguf", "talks.jsonl", "-o", out, "-n", "16", "--lora", "4", "--rate",
                                 "0.02", "--every", "4", "--fresh"] + more, folder)
        losses = [p["validation"] for p in numbers(folder, out + ".jsonl") if "validation" in p] if status == 0 else []
        box.expect("finetune --lora %s" % " ".join(more), status == 0 and "wrote" in words and
                   losses[-1] < losses[0] - 0.01, "%s %s" % (losses, words[-600:]))
        path = os.path.join(folder, out)
        sizes[out] = os.path.getsize(path) if os.path.exists(path) else 0
    box.expect("an adapter is small, a merged model is not", 0 < sizes["l.gguf"] < sizes["m.gguf"], str(sizes))
    status, words = box.run(["./finetune", "a.gguf", "talks.jsonl", "-o", "l.gguf", "-n", "20", "--lora", "4"], folder)
    box.expect("finetune --lora, gone on with", status == 0 and "going on from the checkpoint" in words and
               [p["step"] for p in numbers(folder, "l.gguf.jsonl")] == list(range(1, 21)), words[-600:])
    status, words = box.run(["./finetune", "a.gguf", "talks.jsonl", "-o", "l.gguf", "-n", "24"], folder)
    box.expect("but not with all weights", status == 1 and "of 'adapter', not of" in words, words[-600:])


def bad_days(box, folder):
    with open(os.path.join(folder, "a.gguf.ckpt"), "rb") as f:
        before = f.read()
    for more in ([], ["--every", "1"], ["--every", "1", "--validation", "0"]):
        status, words = box.run(["./train", "text.txt", "-o", "a.gguf", "-n", "40"] + TINY + ["--rate", "1e9"] + more,
                                folder)
        with open(os.path.join(folder, "a.gguf.ckpt"), "rb") as f:
            kept = f.read() == before
        box.expect("a run that blows up says so, and names the last checkpoint", status == 1 and "blown up" in words and
                   "a.gguf.ckpt is the last good checkpoint" in words, words[-600:])
        box.expect("which is as it was (%s)" % " ".join(more), kept, "it was written over")
    status, words = box.run(["./train", "text.txt", "-o", "a.gguf", "-n", "16"] + TINY, folder)
    box.expect("and it goes on from there", status == 0 and numbers(folder, "a.gguf.jsonl")[-1]["step"] == 16,
               words[-600:])
    for out, says in (("text.txt", "write over what is read"), ("folder", "cannot be written")):
        os.makedirs(os.path.join(folder, "folder"), exist_ok=True)
        status, words = box.run(["./train", "text.txt", "-o", out, "-n", "2"] + TINY, folder)
        box.expect("train -o %s" % out, status == 1 and says in words and "step" not in words, words[-600:])
    status, words = box.run(["./finetune", "a.gguf", "talks.jsonl", "-o", "a.gguf", "--lora", "2"], folder)
    box.expect("a model is not written over by its adapter", status == 1 and "write over what is read" in words,
               words[-600:])
    for name, text, says in (("empty", "", "no two tokens"), ("short", "x", "too small"), ("nothing", None, "nothing")):
        if text is not None:
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(text)
        status, words = box.run(["./train", name, "-o", "n.gguf", "-n", "2"] + TINY, folder)
        box.expect("train on a text that is %s" % name, status == 1 and says in words, words[-600:])
    status, words = box.run(["./finetune", "a.gguf", "talks.jsonl", "-o", "n.gguf", "-c", "64"], folder)
    box.expect("a window that the model does not have", status == 1 and "64" in words and "32" in words, words[-600:])
    status, words = box.run(["./finetune", "f.gguf.jsonl", "talks.jsonl", "-o", "n.gguf"], folder)
    box.expect("a model that is none", status == 1 and "GGUF" in words, words[-600:])


def stopped(box, folder, out, command):
    """Ctrl-C: what was learned is saved, and the next start goes on from there."""
    with open(os.path.join(folder, "words"), "wb") as words:
        child = subprocess.Popen(command + ["-n", "100000"], cwd=folder, stdout=words, stderr=words,
                                 stdin=subprocess.DEVNULL)
    for _ in range(600):
        time.sleep(0.05)
        if os.path.exists(os.path.join(folder, out + ".jsonl")) and len(numbers(folder, out + ".jsonl")) > 2:
            break
    child.send_signal(signal.SIGINT)
    status = child.wait(timeout=60)
    with open(os.path.join(folder, "words"), encoding="utf-8", errors="replace") as f:
        words = f.read()
    done = numbers(folder, out + ".jsonl")[-1]["step"]
    said = re.search(r"goes on from step (\d+)", words)
    box.expect("%s: Ctrl-C saves, and says so" % out, status == 0 and said and int(said.group(1)) == done, words[-300:])
    status, words = box.run(command + ["-n", str(done + 2)], folder)
    box.expect("%s: the next start goes on from there" % out, status == 0 and
               [p["step"] for p in numbers(folder, out + ".jsonl")] == list(range(1, done + 3)), words[-600:])


def chats(box, held, folder):
    """train_chat in some steps less: what it answers then is nonsense, but it does."""
    text = box.read("examples", "train_chat.c")
    box.expect("train_chat is a page", text.count("\n") <= 60, "%d lines" % text.count("\n"))
    box.write(os.path.join("training", "train_chat.c"), text.replace("STEPS = 150", "STEPS = 5"))
    command = WITHOUT_SIMD + LINKED + ["train_chat.c", held, "-o", "train_chat", "-lm"]
    if not box.compiles("train_chat", command, folder):
        return
    done = subprocess.run(["./train_chat"], cwd=folder, input=b"What does the cow say?\nAnd the snake?\n",
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=400)
    box.expect("train_chat trains, writes, loads and answers", done.returncode == 0 and done.stdout.count(b"\n> ") == 3
               and b"step 5 " in done.stderr and os.path.exists(os.path.join(folder, "animals.gguf")),
               "%r" % (done.stdout[-300:],))


def reads_digits(box, folder):
    """Somebody else's model: it learns, and a checkpoint that is loaded reads the same digits."""
    status, words = box.run(["./own_model", "-n", "200"], folder)
    percent = re.search(r"([\d.]+) % of 2000 new digits.*", words)
    box.expect("own_model reads digits", status == 0 and percent and float(percent.group(1)) > 80, words[-300:])
    status, again = box.run(["./own_model", "-n", "200"], folder)
    box.expect("and goes on from its checkpoint", status == 0 and "going on from step 200" in again and percent and
               percent.group(0) in again, again[-300:])
    status, again = box.run(["./own_model", "-n", "300", "--optimizer", "muon"], folder)
    box.expect("but not with another optimizer", status == 1 and "trained by AdamW" in again, again[-300:])


def tells_facts(box, folder):
    """A real model is told five facts, and is the same otherwise: minutes, so only in make test-long."""
    model = os.path.join(os.environ.get("HYBRID_MODELS", box.path("models")), "SmolLM2-135M-Instruct.Q4_1.gguf")
    text = os.path.join(os.environ.get("HYBRID_DATA", os.path.join(box.root, "..", "shared", "data")), "corpus",
                        "wikitext-2-test.txt")
    if not os.environ.get("HYBRID_LONG"):
        return
    if not os.path.exists(model) or not os.path.exists(text):
        return box.skipped("adapt", "there is no %s, or no %s" % (model, text))
    if not box.compiles("adapt", ["cc", "-O2", box.path("examples", "adapt.c"), "-I", folder, "-o", "adapt", "-lm"],
                        folder):
        return
    status, words = box.run(["./adapt", model, text], folder, timeout=3600)
    known = [int(n) for n in re.findall(r"(\d+) of 25 answers hold the fact", words)]
    change = re.search(r"after: ([-+][\d.]+) %", words)
    box.expect("adapt learns what it is told", status == 0 and len(known) == 2 and known[0] == 0 and known[1] >= 23,
               words[-2000:])
    box.expect("and no fact is missing in the wording that was not told", words.count("    + ") == 5, words[-2000:])
    box.expect("perplexity is within 2 % of before", change and abs(float(change.group(1))) <= 2, words[-2000:])
    box.expect("rolled back, it says what it said before", "25 of 25 answers are those of before" in words,
               words[-200:])


def predicts(box, folder):
    """A run with a predictor moves; stopped, it goes on in a new process as if it had not been."""
    command = ["./train", "text.txt", "-n", "140", "--predict", "A", "-o"]
    tiny = ("--vocab 300 --layers 1 --width 16 --heads 2 -c 16 -b 2 --every 80 --rate 0.003 --validation 0.05 "
            "--warmup 8 -j 1").split()
    status, words = box.run(command + ["pa.gguf"] + tiny, folder)
    box.expect("train --predict", status == 0 and "steps in advance" in words, words[-600:])
    with open(os.path.join(folder, "words"), "wb") as out:
        child = subprocess.Popen(command + ["pb.gguf"] + tiny, cwd=folder, stdout=out, stderr=out,
                                 stdin=subprocess.DEVNULL)
    path = os.path.join(folder, "pb.gguf.jsonl")
    for _ in range(6000):
        time.sleep(0.01)
        if child.poll() is not None or os.path.exists(path) and len(numbers(folder, "pb.gguf.jsonl")) > 115:
            break
    child.send_signal(signal.SIGINT)
    child.wait(timeout=60)
    status, words = box.run(command + ["pb.gguf"] + tiny, folder)
    box.expect("train --predict, gone on with", status == 0 and "going on from" in words, words[-600:])
    a, b = ([{key: p.get(key) for key in ("step", "loss", "phase", "event", "low", "high", "confidence")}
             for p in numbers(folder, name)] for name in ("pa.gguf.jsonl", "pb.gguf.jsonl"))
    box.expect("it has the same numbers, of three phases and moves", a == b and len(a) == 140 and
               {p["phase"] for p in a} == {"warm-up", "full", "correct"} and
               any(p["event"] == "moved" for p in a), str([(p, q) for p, q in zip(a, b) if p != q][:2]))
    status, words = box.run(["./train", "--predict-set", "help"], folder)
    box.expect("train --predict-set help", status == 0 and "confidence_threshold" in words and "cannot be set" in words,
               words[-300:])
    for name, value, says in (("--predict-set", "window", "KEY=VALUE"), ("--predict-set", "window=1", "from 2 to"),
                              ("--predict-set", "check_interval=10", "every step"),
                              ("--predict-preset", "x", "no preset")):
        status, words = box.run(["./train", "text.txt", "-o", "n.gguf", name, value], folder)
        box.expect("train %s %s" % (name, value), status == 1 and says in words and "step" not in words.split(says)[0],
                   words[-300:])
    settings = "window=5 warmup_steps=8 full_steps=5 tune=batches tune_acts=batches mode=A".split()
    status, words = box.run(["./train", "text.txt", "-n", "30", "-o", "ps.gguf", "--predict-preset", "memory",
                             "--accumulate", "2"] + [w for s in settings for w in ("--predict-set", s)] + tiny, folder)
    box.expect("train with settings", status == 0 and "moves in 6 windows" in words, words[-600:])
    status, words = box.run(["./train", "text.txt", "-o", "n.gguf", "--predict", "E"], folder)
    box.expect("a mode that is none", status == 1 and "unknown option or value" in words, words[-300:])
    status, words = box.run(["./predict_any", "-n", "300", "--predict", "A"], folder)
    percent = re.search(r"([\d.]+) % of 1000 new waves", words)
    box.expect("predict_any", status == 0 and "steps in advance" in words and percent and
               float(percent.group(1)) > 40, words[-300:])
    status, words = box.run(["./predict_any", "--help"], folder)
    box.expect("predict_any --help", status == 0 and words.startswith("predict_any: "), words[-300:])


def predicts_by_itself(box, folder):
    """--predict auto goes through all four phases, and its picture shows them, the band and the calibration."""
    text = os.path.join(os.environ.get("HYBRID_DATA", os.path.join(box.root, "..", "shared", "data")), "corpus",
                        "tinyshakespeare.txt")
    browser = next((b for b in BROWSERS if box.has(b)), None)
    if not browser or not os.path.exists(text):
        return box.skipped("train --predict auto", "there is no Chromium, or no %s" % text)
    status, words = box.run(["./train", text, "-o", "auto.gguf", "-n", "240", "--predict", "auto", "--every", "120"] +
                            ("--vocab 300 --layers 1 --width 32 --heads 2 -c 16 -b 4 --rate 0.003 --validation 0.001 "
                             "--warmup 10 -j 1").split(), folder)
    box.expect("train --predict auto", status == 0 and "steps in advance" in words, words[-600:])
    box.expect("its line says where it is", re.search(r"correct, confidence 0\.\d\d .* steps ahead", words) and
               "  full, confidence" in words and "  warm-up, confidence" in words, words[-600:])
    steps = numbers(folder, "auto.gguf.jsonl") if status == 0 else []
    moved = sum(p.get("event") == "moved" for p in steps)
    judged = sum("said" in p and "worth" in p for p in steps)
    box.expect("it moves, and its moves are judged", moved > 2 and judged >= moved - 1, "%d, %d" % (moved, judged))
    if status == 0:
        look_at_elements(box, "train --predict auto", elements(box, browser, folder, "auto.gguf.svg"), {
            "warm-up": 100, "full": 20, "predict": moved, "correct": 5 * (moved - 1), "expected": 300, "said": 1,
            "piece": 11})


def spoil(name, old, new):
    return lambda root: replace(os.path.join(root, "examples", name), old, new)


@gate("training", faults=[
    ("numbers that begin anew", spoil("training.h", "cd.steps_done = hybrid_trainer_steps(t->trainer);", "")),
    ("a stop that saves nothing",
     spoil("training.h", "stop_wanted && (ok = training_save(t, e)", "stop_wanted && (ok = (t != NULL)")),
    ("a checkpoint that is not named", spoil("training.h", "if (!ok) training_failed(t, e);", "")),
    ("a checkpoint of weights that have blown up", spoil("training.h", "if (loss < 2 * log(",
                                                         "if (loss < 1e99 * log(")),
    ("conversations that are taken for text", spoil("finetune.c", "o->kind = HYBRID_DATA_CHAT;",
                                                    "o->kind = HYBRID_DATA_TEXT;")),
    ("digits that are not learned", spoil("own_model.c", "if (grads) backward(", "if (grads && d->n < 0) backward(")),
    ("a line that does not say what was gained", spoil("training.h", "if (m.n_moves) snprintf", "if (0) snprintf")),
    ("a format that is not told", spoil("training.h", "t->desc.format = formats[i];",
                                       "t->desc.format = formats[0];")),
    ("a format that a checkpoint takes back", spoil("training.h", "if (t->reformed &&", "if (!t->reformed &&")),
    ("a predictor that is not there", spoil("training.h", "(!t->predicts || training_predict(t, e)) && ", "")),
    ("a position in the data that is lost", spoil("training.h", "if (!user || size != sizeof position) return true;",
                                                  "return false;")),
])
def training(box):
    folder = box.folder("training")
    shutil.copy2(box.path("hybrid.h"), folder)
    shutil.copy2(box.path("README.md"), os.path.join(folder, "text.txt"))
    with open(os.path.join(folder, "talks.jsonl"), "w", encoding="utf-8") as f:
        f.write(TALKS)
    held, _ = box.object("the library", WITHOUT_SIMD, ALONE)
    programs = ("train", "finetune", "own_model", "predict_any")
    if not held or not all([build(box, name, held, folder) for name in programs]):
        return
    learns(box, folder)
    rounds(box, folder)
    tunes(box, folder)
    adapts(box, folder)
    reads_digits(box, folder)
    tells_facts(box, folder)
    predicts(box, folder)
    predicts_by_itself(box, folder)
    bad_days(box, folder)
    stopped(box, folder, "s.gguf", ["./train", "text.txt", "-o", "s.gguf"] + TINY)
    stopped(box, folder, "sf.gguf", ["./finetune", "a.gguf", "talks.jsonl", "-o", "sf.gguf"])
    stopped(box, folder, "sl.gguf", ["./finetune", "a.gguf", "talks.jsonl", "-o", "sl.gguf", "--lora", "2"])
    chats(box, held, folder)
