#!/usr/bin/env python3
"""JSON Schema against the validator of Python: what a grammar accepts must be valid, and what is valid accepted.

    python tests/oracle/check_schema.py [--schemas N] [--seed N] [--suite FOLDER]
                                                    needs jsonschema, rfc3339-validator, a C compiler

Random schemas, with random values near them (written in every order of their members, in the layout that grammar.h
describes): a value must be accepted in some order exactly when jsonschema finds it valid. Random walks through the
grammars of these schemas, and of all schemas of the JSON Schema Test Suite: each text must be valid. Prints the counts
and the first differences; those that are known (jsonschema is not exact there) are left out: see `known`.
"""
import argparse
import glob
import itertools
import json
import math
import os
import random
import re
import subprocess
import sys

import jsonschema

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NAMES = ["a", "b", "ab", "c\"", "\u00e9"]
WORDS = ["", "a", "b", "ab", "aab", "abc", "x1", "\u00e9\u00e9", "a\nb", "\\", "2024-02-29", "1.5", "A-9"]
PATTERNS = ["^a", "b$", "^[a-c]{2,3}$", "a|1", "^(ab)*$", "[^a]", "^.?$", "\\d", "^\\w+$"]
NUMBERS = [0, 1, -1, 2, 3, 10, -10, 0.5, -0.5, 1.25, 99, 100, 2.75, -3.5, 0.125, 12345]
FORMATS = ["date", "ipv4", "uuid"]


def schema(r, depth, defs):
    """A random schema."""
    kinds = ["number", "string", "array", "object", "enum", "const", "bool", "type"]
    if depth > 0:
        kinds += ["anyOf", "oneOf", "allOf", "not", "if", "array", "object", "object"] + ["ref"] * bool(defs)
    kind = r.choice(kinds)
    sub = lambda: schema(r, depth - 1, defs)
    some = lambda k: [sub() for _ in range(r.randint(1, k))]
    out = {}
    if kind == "bool":
        return r.random() < 0.8
    if kind == "type":
        return {"type": r.choice(["null", "boolean", "integer", "number", "string", ["string", "null"],
                                  ["integer", "object"]])}
    if kind == "enum":
        return {"enum": [value(r, 1) for _ in range(r.randint(1, 4))]}
    if kind == "const":
        return {"const": value(r, 1)}
    if kind in ("anyOf", "oneOf", "allOf"):
        out = {kind: some(3)}
        if r.random() < 0.4:
            other = schema(r, 0, defs)
            if isinstance(other, dict):
                out.update(other)
        return out
    if kind == "not":
        return {"not": sub()}
    if kind == "if":
        return {"if": sub(), "then": sub(), "else": sub()}
    if kind == "ref":
        return {"$ref": "#/$defs/" + r.choice(defs)}
    if r.random() < 0.7:
        out["type"] = kind if kind != "number" else r.choice(["number", "integer"])
    if kind == "number":
        for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if r.random() < 0.35:
                out[key] = r.choice(NUMBERS)
        if r.random() < 0.2:
            out["multipleOf"] = r.choice([1, 2, 3, 7])
    if kind == "string":
        if r.random() < 0.5:
            out["pattern"] = r.choice(PATTERNS)
        if r.random() < 0.4:
            out["minLength"] = r.randint(0, 3)
        if r.random() < 0.4:
            out["maxLength"] = r.randint(0, 4)
    if kind == "array":
        if r.random() < 0.4:
            out["prefixItems"] = some(2)
        if r.random() < 0.7:
            out["items"] = sub()
        if r.random() < 0.4:
            out["minItems"] = r.randint(0, 2)
        if r.random() < 0.4:
            out["maxItems"] = r.randint(0, 3)
    if kind == "object":
        names = r.sample(NAMES, r.randint(0, 3))
        if names:
            out["properties"] = {n: sub() for n in names}
        if r.random() < 0.5:
            out["required"] = r.sample(NAMES, r.randint(0, 2))
        if r.random() < 0.5:
            out["additionalProperties"] = r.choice([False, False, sub()])
        if r.random() < 0.25:
            out["patternProperties"] = {r.choice(PATTERNS): sub()}
        if r.random() < 0.15:
            out["propertyNames"] = {"pattern": r.choice(PATTERNS)}
        if r.random() < 0.2:
            out["maxProperties"] = r.randint(0, 3)
        if r.random() < 0.2:
            out["minProperties"] = r.randint(0, 2)
        if r.random() < 0.15:
            out["dependentRequired"] = {r.choice(NAMES): [r.choice(NAMES)]}
    return out


def value(r, depth):
    """A random value."""
    kind = r.randint(0, 5 if depth > 0 else 3)
    if kind == 0:
        return r.choice([None, True, False])
    if kind == 1:
        return r.choice(NUMBERS)
    if kind in (2, 3):
        return r.choice(WORDS)
    if kind == 4:
        return [value(r, depth - 1) for _ in range(r.randint(0, 3))]
    return {n: value(r, depth - 1) for n in r.sample(NAMES, r.randint(0, 3))}


def orders(v):
    """The value in all orders of its members, as text."""
    if isinstance(v, dict):
        for keys in itertools.permutations(v):
            for parts in itertools.product(*[list(orders(v[k])) for k in keys]):
                yield "{" + ",".join(json.dumps(k, ensure_ascii=False) + ":" + p for k, p in zip(keys, parts)) + "}"
    elif isinstance(v, list):
        for parts in itertools.product(*[list(orders(x)) for x in v]):
            yield "[" + ", ".join(parts) + "]"
    else:
        yield json.dumps(v, ensure_ascii=False)


def validator(s):
    draft7 = isinstance(s, dict) and "draft-07" in str(s.get("$schema", ""))
    cls = jsonschema.Draft7Validator if draft7 else jsonschema.Draft202012Validator
    return cls(s, format_checker=cls.FORMAT_CHECKER)


def known(text):
    """\\d and \\w of Python know digits and letters that ECMAScript does not, and $ a line end after itself."""
    return bool(re.search(r"[^\x00-\x7f]", text)) or "\\n" in text


def ask(program, questions):
    feed = "".join(json.dumps(q) + "\n" for q in questions)
    done = subprocess.run([program], input=feed.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]


def suite(folder):
    for path in sorted(glob.glob(os.path.join(folder, "tests", "draft*", "**", "*.json"), recursive=True)):
        for group in json.load(open(path, encoding="utf-8")):
            s = group["schema"]
            if "draft7" in path and isinstance(s, dict) and "$schema" not in s:
                s = dict({"$schema": "http://json-schema.org/draft-07/schema#"}, **s)
            yield s


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--schemas", type=int, default=2000)
    parser.add_argument("--walks", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--suite", default=os.path.join(ROOT, "..", "shared", "data", "json-schema-suite"))
    parser.add_argument("--program", help="tests/oracle/walk_schema.c, built already")
    args = parser.parse_args()
    program = args.program
    if not program:
        program = os.path.join(ROOT, "build", "walk_schema")
        os.makedirs(os.path.dirname(program), exist_ok=True)
        subprocess.run(["cc", "-O1", "-w", "-DHYBRID_NO_SIMD", os.path.join("tests", "oracle", "walk_schema.c"), "-o",
                        program, "-lm", "-lpthread"], cwd=ROOT, check=True)
    r = random.Random(args.seed)
    asked = []
    for _ in range(args.schemas):
        defs = r.sample(["p", "q"], r.randint(0, 2))
        s = schema(r, 2, defs)
        if defs and isinstance(s, dict):
            s = dict(s, **{"$defs": {d: schema(r, 1, defs) for d in defs}})
        if isinstance(s, dict) and "$defs" not in s and "#/$defs" in json.dumps(s):
            continue
        asked.append((s, [value(r, 2) for _ in range(12)]))
    n_random = len(asked)
    asked += [(s, []) for s in suite(args.suite)]
    questions = []
    for s, values in asked:
        texts = [list(itertools.islice(orders(v), 200)) for v in values]
        questions.append((s, values, texts))
    answers = ask(program, [{"schema": s, "texts": sum(t, []), "walks": args.walks} for s, _, t in questions])
    count = dict.fromkeys(["compiled", "refused", "empty", "valid", "invalid", "walks", "wrong", "unsure"], 0)
    shown = 0
    for i, ((s, values, texts), a) in enumerate(zip(questions, answers)):
        try:
            v = validator(s)
            judged = [v.is_valid(x) for x in values]
        except Exception as e:                                  # endless recursion, patterns that Python does not know
            count["unsure"] += 1
            continue
        wrong = []
        if "error" in a:
            empty = "no value fits" in a["error"]
            count["empty" if empty else "refused"] += 1
            if empty:
                wrong = ["valid, but nothing fits: " + t[0] for t, ok in zip(texts, judged) if ok]
        else:
            count["compiled"] += 1
            at = 0
            for t, ok in zip(texts, judged):
                got = "1" in a["accepted"][at:at + len(t)]
                at += len(t)
                count["valid" if ok else "invalid"] += 1
                if got != ok and not known(t[0]):
                    wrong.append("%s, but %s: %s" % ("valid" if ok else "not valid",
                                                     "accepted" if got else "refused", t[0]))
            for w in a["walks"]:
                count["walks"] += 1
                try:
                    if not v.is_valid(json.loads(w)) and not known(w):
                        wrong.append("a walk is not valid: " + w)
                except Exception as e:
                    if isinstance(e, ValueError):
                        wrong.append("no JSON: " + w)
                    else:
                        count["unsure"] += 1
        count["wrong"] += len(wrong)
        if wrong and shown < 12:
            shown += 1
            print(json.dumps(s, ensure_ascii=False), *wrong[:3], sep="\n    ")
    print("%d random schemas, %d of the suite: %s" % (n_random, len(asked) - n_random,
                                                     ", ".join("%s %d" % x for x in count.items())))
    return 1 if count["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
