#!/usr/bin/env python3
"""amalgamate: makes hybrid.h from src/hybrid_all.c, and hybrid_cuda.h from src/hybrid_cuda_all.c.

    python3 amalgamate.py            writes both
    python3 amalgamate.py --check    writes nothing; fails when one of them is not what src/ makes

Every #include "file" there is replaced by the file, between fences that name it. What a file includes itself it only
uses: that must stand above it in the header, and is left out, as the guard around the file is; other .inc files take
the place of the line (each time, so that one text can be stamped per instruction set). Files of src/api are the
declarations, everything else the implementation, at whose end all private macros are undefined again. A line
HYB_EMBED(name, "file.cu") becomes an array of string literals with the text of that file, because a kernel is compiled
on the user's machine. The result depends on the sources only: no date, no git, no machine.

It also keeps the house rules that a compiler does not: every file of src/ is included by something, has a guard named
for it, and uses no room above its own; private functions are static, there is no global that can change, names are
ours, no string literal is longer than compilers must accept.
"""
import argparse
import functools
import hashlib
import os
import re
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
ROOMS = [  # in the order of the header
    ("api", "the public interface, documented"),
    ("core", "errors, memory, threads, files, processor features, random numbers"),
    ("gguf", "reading, checking and writing model files"),
    ("quant", "formats of numbers, a file a family"),
    ("text", "Unicode, tokenizers, chat templates"),
    ("compute", "the table of operations, and its kernels for each instruction set"),
    ("cuda", "the table of operations on a GPU"),
    ("model", "architectures, weights, memory plan, the forward pass"),
    ("infer", "KV cache, sequences, sampling, sessions"),
    ("train", "training"),
    ("predict", "the hybrid predictive trainer"),
]
HEADERS = [  # whole file in src, top of the header, the header
    ("hybrid_all.c", "hybrid_top.h", "hybrid.h"),
    ("hybrid_cuda_all.c", "hybrid_cuda_top.h", "hybrid_cuda.h"),
]
# parts of a header, not of a program
PARTS = ("src/hybrid_all.c", "src/hybrid_cuda_all.c", "src/api/api.h", "src/core/end.h")
SOURCES = (".c", ".h", ".inc", ".cu")
LITERAL_LIMIT = 4000      # C99 promises 4095 characters, adjacent literals joined
INCLUDE = re.compile(r'\s*#\s*include\s*("([^"]+)"|<([^>]+)>|\S+)')
DEFINE = re.compile(r"\s*#\s*define\s+(\w+)")


class Problems(list):
    def add(self, path, line, text):
        self.append("%s:%d: %s" % (path, line, text))


# ---- the lexer: as much of C as the rules need -----------------------------------------------------------------------

TOKEN = re.compile(r"""
    (?P<comment> /\*.*?\*/ | //[^\n]* )
  | (?P<directive> (?<![^\n]) [ \t]* \# (?: /\*.*?\*/ | \\\r?\n | [^\n] )* )
  | (?P<string> (?:u8|[LuU])? " (?: \\. | [^"\\\n] )* " )
  | (?P<char> ' (?: \\. | [^'\\\n] )* ' )
  | (?P<name> [A-Za-z_]\w* )
  | (?P<number> \.?[0-9] (?: [eEpP][+-] | [\w.] )* )
  | (?P<space> \n | [^\S\n]+ )
  | (?P<mark> . )
""", re.X | re.S)
ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]+|[0-7]{1,3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.S)


@functools.lru_cache(None)
def tokens_of(text):
    """(kind, text, line) of every token that is not white space."""
    line, tokens = 1, []
    for m in TOKEN.finditer(text):
        kind, token = m.lastgroup, m.group()
        if kind != "space":
            tokens.append((kind, token, line))
        if "\n" in token:
            line += token.count("\n")
    return tokens


def check_literals(path, text, problems):
    """Adjacent literals are one literal to the compiler."""
    size, start = 0, 0
    for kind, token, line in tokens_of(text):
        if kind == "string":
            start = start if size else line
            size += len(ESCAPE.sub(b"?", token[token.index('"') + 1:-1].encode("utf-8")))
            if size > LITERAL_LIMIT:
                problems.add(path, start,
                             "a string literal of more than %d characters: split it into an array of them" %
                             LITERAL_LIMIT)
                size = -1 << 60
        elif kind not in ("comment", "directive"):
            size = 0


# ---- the rules for what stands at file scope -------------------------------------------------------------------------

def is_constant(words):
    """static const T x, static const T *const x: nothing of it can change."""
    if "const" not in words:
        return False
    head = words[:words.index("=")] if "=" in words else words
    return "*" not in head or "const" in head[len(head) - 1 - head[::-1].index("*"):]


@functools.lru_cache(None)
def stamping_macros(text):
    """Macros of a file that make something static."""
    return [m.group(1) for m in re.finditer(r"^\s*#\s*define\s+(HYB_\w+)(?:\([^)]*\))?[^\n]*\bstatic\b", text, re.M)]


def check_scope(path, text, static_macros, problems):
    """Walks the declarations at file scope. Both branches of an #if are read, each from the state before it."""
    excused = {line for kind, token, line in tokens_of(text) if kind == "comment" and "idempotent" in token}
    scope = 0            # braces around us
    chunk = []           # words of the declaration being read, without what stands in braces
    parens = 0
    body = False         # inside the braces of a function
    branches = []
    local = None         # words of a static inside a function

    def linkage(words):
        return any(w in ("static", "HYBRID_API") or w in static_macros for w in words)

    def function_name(words):
        depth, at = 0, None
        for i, w in enumerate(words):
            if w == "(":
                if depth == 0:
                    at = i
                depth += 1
            elif w == ")":
                depth -= 1
        return words[at - 1] if at else ""

    def judge(words, line, defined):
        """A whole declaration: ended by ';', or a function with its body."""
        if not words or words[0] in ("typedef", "_Static_assert", "static_assert"):
            if len(words) > 2 and words[0] == "typedef":
                name = re.search(r"\( \* (\w+) \)", " ".join(words))
                name = name.group(1) if name else [w for w in words if re.match(r"[A-Za-z_]", w)][-1]
                if not name.startswith(("hybrid_", "hyb_")):
                    problems.add(path, line, "the type '%s' needs the prefix hyb_" % name)
            return
        if words[0] in ("struct", "enum", "union") and "(" not in words and "=" not in words and len(words) <= 3:
            if len(words) > 1 and words[1] != "{}" and not words[1].startswith(("hybrid_", "hyb_")):
                problems.add(path, line, "'%s %s' needs the prefix hyb_" % (words[0], words[1]))
            return
        plain = words[:words.index("=")] if "=" in words else words
        if defined or ("(" in plain and "=" not in words and not re.search(r"\( \*", " ".join(plain))):
            name = function_name(plain)
            if all(w.isupper() or not w[0].isalpha()
                   for w in words[:1]) and words[0].startswith("HYB_") and words[1:2] == ["("]:
                # a macro that stamps functions: its text is checked by the nm gate
                return
            if name.startswith("hyb_") and "HYBRID_API" in words:
                problems.add(path, line, "private function '%s' is declared HYBRID_API" % name)
            elif name.startswith("hybrid_") and "HYBRID_API" not in words:
                problems.add(path, line, "public function '%s' lacks HYBRID_API (private names start with hyb_)" % name)
            elif not linkage(words):
                problems.add(path, line, "private function '%s' is not static" % name)
            elif re.match(r"[a-z]", name) and not name.startswith(("hyb_", "hybrid_")):
                problems.add(path, line, "function '%s' needs the prefix hyb_" % name)
        elif not (linkage(words) and is_constant(words)) and line not in excused and words[0] != "extern":
            problems.add(path, line, "a global that is not 'static const': %s" % " ".join(words)[:60])

    start = 1
    for kind, token, line in tokens_of(text):
        if kind == "comment":
            continue
        if kind == "directive":
            word = re.match(r"\s*#\s*(\w*)", token).group(1)
            if word in ("if", "ifdef", "ifndef"):
                branches.append((scope, list(chunk), parens, body))
            elif word in ("else", "elif") and branches:
                scope, saved, parens, body = branches[-1]
                chunk = list(saved)
            elif word == "endif" and branches:
                branches.pop()
            continue
        if scope:                                        # inside braces: only count, and look for static
            if token == "{":
                scope += 1
            elif token == "}":
                scope -= 1
                if scope == 0:
                    if body:
                        judge(chunk, start, True)
                        chunk, body = [], False
                    else:
                        chunk.append("{}")
            elif body:
                if token == "static":
                    local = (line, [token])
                elif local:
                    local[1].append(token)
                    if token in (";", "="):
                        if not is_constant(local[1]) and local[0] not in excused:
                            problems.add(path, local[0],
                                         "a static variable that is not const: %s" % " ".join(local[1])[:60])
                        local = None
            continue
        if not chunk:
            start = line
        if token == "{" and parens == 0:
            if len(chunk) == 2 and chunk[0] == "extern" and chunk[1].startswith('"'):
                chunk = []
                continue
            body = bool(chunk) and chunk[-1] == ")" and "=" not in chunk
            scope = 1
        elif token == "}":
            chunk = []                                   # the end of extern "C" {
        elif token == ";" and parens == 0:
            judge(chunk, start, False)
            chunk = []
        else:
            parens += (token == "(") - (token == ")")
            chunk.append(token)


@functools.lru_cache(None)
def said_of(path, text, static_macros):
    """What the rules say of one file (gate house asks for the same files again and again). static_macros: None where
    nothing is asked about file scope."""
    problems = Problems()
    check_literals(path, text, problems)
    if static_macros is not None:
        check_scope(path, text, static_macros, problems)
    return problems


def guard_of(path):
    """src/text/stop.c: HYB_TEXT_STOP_C"""
    return "HYB_" + re.sub(r"\W", "_", path[len("src/"):]).upper()


def room_of(path):
    return next((i for i, (room, _) in enumerate(ROOMS) if path.startswith("src/%s/" % room)), -1)


# ---- inlining --------------------------------------------------------------------------------------------------------

class Header:
    def __init__(self, root, whole, top, name):
        self.root, self.whole, self.top, self.name = root, "src/" + whole, "src/" + top, name
        self.guard = name[:-2].upper()                   # HYBRID or HYBRID_CUDA
        self.src = os.path.join(root, "src")
        self.problems = Problems()
        self.texts = {}              # path -> text with LF, no trailing blanks
        self.order = []              # paths in order of first appearance
        self.system = set()          # system headers that were included without a condition
        self.out = []
        self.above = []              # paths of the headers that stand before this one
        self.listed = set()          # files that are parts of a header: what other files say of them is left out

    def read(self, path):
        if path not in self.texts:
            with open(os.path.join(self.root, path), encoding="utf-8") as f:
                text = f.read()
            self.texts[path] = "\n".join(line.rstrip() for line in text.split("\n")).rstrip("\n") + "\n"
        return self.texts[path]

    def list(self, path):
        """What a frame includes, and what api.h does."""
        for name in re.findall(r'^\s*#\s*include "([^"]+)"', self.read(path), re.M):
            child = self.find(name, path)
            if child:
                yield child
                yield from self.list(child) if child in PARTS else ()

    def find(self, name, path):
        for folder in (os.path.dirname(path), "src"):
            candidate = os.path.normpath(os.path.join(folder, name)).replace(os.sep, "/")
            if os.path.isfile(os.path.join(self.root, candidate)):
                return candidate
        return None

    def alone(self, path):
        """(line number, line) of a file without what makes it compile alone: its guard, and what it uses."""
        lines = list(enumerate(self.read(path).split("\n")[:-1], 1))
        if path not in self.listed or path in PARTS:
            return lines
        guard = guard_of(path)
        at = next((i for i, (_, line) in enumerate(lines) if line.startswith("#")), 0)
        if [line for _, line in lines[at:at + 2] + lines[-1:]] != ["#ifndef " + guard, "#define " + guard, "#endif"]:
            self.problems.add(path, at + 1, "the guard %s must be around all that follows the first comment" % guard)
            return lines
        kept, skip = [], False
        for number, line in lines[at + 2:-1]:
            skip = skip or line.startswith("#ifndef HYB_EMBED")          # what stands for embed()
            if skip:
                skip = line != "#endif"
                continue
            name = re.match(r'\s*#\s*include "([^"]+)"', line) if "#" in line else None
            child = self.find(name.group(1), path) if name else None
            if child == path:
                self.problems.add(path, number, "%s includes itself" % child)
            elif child in self.listed:
                if child not in self.order and child not in self.above:
                    self.problems.add(path, number, "it uses %s, which does not stand above it" % child)
                elif room_of(child) > room_of(path):
                    self.problems.add(path, number, "it uses %s, a room above its own" % child)
                kept.append((number, None))
            else:
                # an #if around nothing else
                if kept and kept[-1][1] is None and re.match(r"\s*#\s*endif", line):
                    before = len(kept) - 1
                    while before >= 0 and kept[before][1] is None:
                        before -= 1
                    if re.match(r"\s*#\s*if", kept[before][1] or ""):
                        del kept[before:]
                        continue
                kept.append((number, line))
        return lines[:at] + [(number, line) for number, line in kept if line is not None]

    def embed(self, array, child):
        """The text of a file as an array of literals that every compiler takes."""
        self.order.append(child)
        rows = ['"%s\\n"' % line.replace("\\", "\\\\").replace('"', '\\"').replace("??", "?\\?")
                for line in self.read(child).split("\n")[:-1]]
        self.out.append("static const char *const %s[] = {" % array)
        size = 0
        for i, row in enumerate(rows):
            size += len(row)
            last = i + 1 == len(rows) or size + len(rows[i + 1]) > LITERAL_LIMIT
            self.out.append(row + ("," if last else ""))
            size = 0 if last else size
        self.out += ["NULL", "};"]

    def inline(self, path, stack, conditions):
        """Appends the text of a file to out. conditions: how many #if are open that may be false."""
        if path not in self.order:
            self.order.append(path)
        in_comment = False
        for number, line in self.alone(path):
            directive = re.match(r"\s*#\s*(\w+)\s*(.*)", line) if "#" in line and not in_comment else None
            if "*" in line:
                opened, closed = line.rfind("/*"), line.rfind("*/")
                in_comment = opened > closed or (in_comment and closed < 0)
            word = directive.group(1) if directive else ""
            if word in ("if", "ifdef", "ifndef"):
                always = re.match(r"(%s_H|HYBRID_IMPLEMENTATION|%s_IMPLEMENTED)\b" % (self.guard, self.guard),
                                  directive.group(2))
                conditions.append(not always)
            elif word == "endif" and conditions:
                conditions.pop()
            embedded = line.startswith("HYB_EMBED(") and not in_comment
            text = re.match(r'HYB_EMBED\((\w+), "([^"]+)"\)', line) if embedded else None
            if text:
                child = self.find(text.group(2), path)
                if child:
                    self.embed(text.group(1), child)
                else:
                    self.problems.add(path, number, "cannot find the file of this line: %s" % line.strip())
                continue
            if word != "include":
                self.out.append(line)
                continue
            what = INCLUDE.match(line)
            if what.group(3):
                if what.group(3) not in self.system:
                    self.out.append(line)
                if not any(conditions):
                    self.system.add(what.group(3))
                continue
            child = self.find(what.group(2), path) if what.group(2) else None
            if not child:
                self.problems.add(path, number, "cannot find the file of this line: %s" % line.strip())
            elif child in stack:
                self.problems.add(path, number, "%s includes itself" % child)
            elif child in self.order and not (child.endswith(".inc") and child not in self.listed):
                self.problems.add(path, number, "%s is included twice (only .inc files may be)" % child)
            else:
                self.out.append("")
                self.out.append("/* ==== begin %s ==== */" % child)
                self.inline(child, stack + [child], conditions)
                self.out.append("/* ==== end %s ==== */" % child)

    # -- what is added

    def source_id(self):
        digest = hashlib.sha256()
        for path in sorted(self.order):
            digest.update(("%s\0%s\0" % (path, self.texts[path])).encode("utf-8"))
        return digest.hexdigest()[:16]

    def undefine(self, text, declarations):
        """The implementation leaves no macro behind."""
        own, foreign, markers = [], [], {}
        previous = None
        for m in re.finditer(r"^\s*#\s*define\s+(\w+)", text, re.M):
            name = m.group(1)
            if name.startswith(("HYB_", "hyb_", "hybrid_")):
                if previous and previous not in markers:
                    between = text[text.rindex(previous, 0, m.start()):m.start()]
                    if between.count("\n") == 1:
                        markers[previous] = name
                if name not in own:
                    own.append(name)
                previous = None
            elif not name.startswith("HYBRID_"):
                foreign.append(name)
                previous = name
        lines = []
        for name in foreign:
            if name not in markers:
                self.problems.append(
                    "src: '#define %s' needs '#define HYB_...' on the next line, so that it can be undefined at the "
                    "end" % name)
            else:
                lines += ["#ifdef " + markers[name], "    #undef " + name, "#endif"]
        for name in re.findall(r"^\s*#\s*define\s+(HYB_\w+|hyb_\w+|hybrid_\w+)", declarations, re.M):
            if not re.search(r"^\s*#\s*undef\s+%s\b" % name, declarations, re.M):
                self.problems.append("src/api: the private macro %s is not undefined" % name)
        return ["", "/* No private macro stays behind. */"] + lines + ["#undef " + name for name in sorted(own)]

    def title(self, path):
        """The first sentence of a file: /* core/base: what every room uses. */"""
        m = re.match(r"/\*[\s-]*(?:[\w/. ]+?:\s+)?(.*?)\s*-*\s*(?:\*/|\n)", self.read(path), re.S)
        text = m.group(1) if m else ""
        text = re.split(r"(?<=[a-z)])\. |(?<=[a-z)])\.$", text)[0]
        return text if len(text) <= 81 else text[:78].rstrip() + "..."

    def contents(self, first_line):
        """The table of contents. Line numbers are those of the fences."""
        at = {}
        for i, line in enumerate(self.out):
            m = re.match(r"/\* ==== begin (\S+) ==== \*/", line) if line.startswith("/* ==== ") else None
            if m:
                at.setdefault(m.group(1), i)
        rows = []
        for room, what in ROOMS:
            files = [p for p in self.order if p.startswith("src/%s/" % room) and not p.endswith("api/api.h")]
            if files:
                rows += [None, " *   src/%s: %s" % (room, what)]
                # texts of kernels have no fence
                rows += [(p, at[p]) for p in files if p in at and not p.endswith(".inc")]
        rows = rows[1:]
        total = first_line + len(rows)
        return [" *" if r is None else r if isinstance(r, str)
                else " *   %6d  %-24s %s" % (r[1] + total + 1, r[0].split("/", 2)[2], self.title(r[0])) for r in rows]

    def cutouts(self, top):
        described = {m.group(1): m.groups() for m in re.finditer(r"^@cutout (HYBRID_NO_\w+)( \*)?\s+(.*)$", top, re.M)}
        used = {}
        for path in self.order:
            for kind, token, _ in tokens_of(self.texts[path]) if "HYBRID_NO_" in self.texts[path] else ():
                if kind == "directive" and re.match(r"\s*#\s*(if|elif)", token):
                    for name in re.findall(r"\bHYBRID_NO_\w+", token):
                        used.setdefault(name, []).append(path)
        rows = []
        for name in sorted(used):
            _, mark, words = described.get(name, (name, "", "(used by %s)" % ", ".join(sorted(set(used[name])))))
            rows.append(" *   %-22s %s" % (name + (mark or ""), words))
        return rows or [" *   (none yet)"]

    def make(self):
        # The frame is read line by line as any file, but its first comment is about working on it.
        frame = self.read(self.whole)
        self.texts[self.whole] = frame[frame.index("*/") + 2:].lstrip("\n") if frame.startswith("/*") else frame
        self.order.append(self.whole)
        self.inline(self.whole, [self.whole], [])
        self.texts[self.whole] = frame
        text = "\n".join(self.out)
        implemented = "#define %s_IMPLEMENTED\n" % self.guard
        if implemented not in text or "#ifdef HYBRID_IMPLEMENTATION\n" not in text:
            sys.exit("amalgamate: %s must hold '#ifdef HYBRID_IMPLEMENTATION' and '%s'" %
                     (self.whole, implemented.strip()))

        static_macros = frozenset(name for p in self.order for name in stamping_macros(self.texts[p])) | {"HYB_INLINE"}
        for path in (p for p in self.order if not p.endswith(".cu")):
            self.problems += said_of(path, self.texts[path], static_macros if path != self.whole else None)

        split = text.index("#ifdef HYBRID_IMPLEMENTATION\n")
        begins = {m.group(1): m.start() for m in reversed(list(re.finditer(r"/\* ==== begin (\S+) ==== \*/", text)))}
        for path in (p for p in self.order[1:] if not p.endswith(".cu")):
            if (begins[path] < split) != path.startswith("src/api/"):
                self.problems.append(
                    "%s: declarations are the files of src/api, included above HYBRID_IMPLEMENTATION, and no others" %
                    path)
        end = text.rindex("\n#endif\n#endif")
        identity = '#define %s__SOURCE_ID "%s"\n' % (self.guard, self.source_id())
        undefines = "\n".join(self.undefine(text[split:end] + "\n" + identity, text[:split]))
        text = text[:end] + "\n" + undefines + text[end:]
        text = text.replace(implemented, implemented + identity, 1)
        text = re.sub(r"\n{3,}", "\n\n", text)
        self.out = text.rstrip("\n").split("\n")

        top = self.read(self.top)
        with open(os.path.join(self.src, "api", "base.h"), encoding="utf-8") as f:
            version = re.search(r'#define HYBRID_VERSION "([^"]+)"', f.read())
        lines = []
        for line in re.sub(r"^@cutout .*\n", "", top, flags=re.M).rstrip("\n").split("\n"):
            if line.strip() == "@cutouts":
                lines += self.cutouts(top)
            else:
                line = line.replace("@version", version.group(1) if version else "?")
                lines.append(line.replace("@source_id", self.source_id()) if "@source_id" in line else line)
        at = [line.strip() for line in lines].index("@contents")
        lines[at:at + 1] = self.contents(len(lines) - 1)
        licence = [" * " + line if line else " *" for line in self.read("LICENSE").rstrip("\n").split("\n")]
        text = "\n".join(lines + self.out + ["", "/*"] + licence + [" */"]) + "\n"
        if "\t" in text or "\r" in text:
            self.problems.append("src: a tab or a carriage return: %s" %
                                 next(p for p in self.order if "\t" in self.texts[p] or "\r" in self.texts[p]))
        return text


def forgotten(root, headers):
    """Files of src that no header holds."""
    held = {path for header in headers for path in header.order + [header.top]}
    everything = sorted(os.path.join(folder, name) for folder, _,
                        names in os.walk(os.path.join(root, "src")) for name in names if not name.startswith("."))
    for path in (os.path.relpath(p, root).replace(os.sep, "/") for p in everything):
        if path.endswith(SOURCES) and path not in held:
            yield ("%s: nothing includes this file: add it to src/hybrid_all.c or src/hybrid_cuda_all.c, or remove it"
                   % path)


def current(path):
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8", newline="") as f:
        return f.read()


def main():
    parser = argparse.ArgumentParser(description="Makes hybrid.h and hybrid_cuda.h from src/.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when a header is out of date")
    parser.add_argument("--root", default=ROOT, help="the repository (default: where this file is)")
    args = parser.parse_args()
    headers = [Header(args.root, *spec) for spec in HEADERS]
    listed = {path for header in headers for path in header.list(header.whole)}
    texts = []
    for header in headers:
        header.listed = listed
        texts.append(header.make())
        for other in headers:
            other.above += header.order if other is not header else []
    problems = [problem for header in headers for problem in header.problems] + list(forgotten(args.root, headers))
    if problems:
        sys.exit("\n".join(dict.fromkeys(problems)) + "\namalgamate: nothing was made (%d problems)" % len(problems))
    for header, text in zip(headers, texts):
        path = os.path.join(args.root, header.name)
        old = current(path)
        if old == text:
            print("%s is up to date" % header.name)
        elif args.check:
            sys.exit("%s is not what src/ makes. This fixes it:\n    python3 amalgamate.py" % header.name)
        else:
            with open(path + ".new", "w", encoding="utf-8", newline="\n") as f:
                f.write(text)
            os.replace(path + ".new", path)
            print("%s: %d lines, %d files, source id %s" %
                  (header.name, text.count("\n"), len(header.order), header.source_id()))


if __name__ == "__main__":
    main()
