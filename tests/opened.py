"""The library with its private functions open to other objects, for tests that are linked with it.

Tests of private functions hold the text of the library, and would compile what they call of it, and what that calls:
under the sanitizers each of them half a minute of it. So two copies of the repository's sources and tests are made: in
build/open/held functions that are static are not, and the library is compiled there, once for all tests; in
build/open/used functions have no bodies, and the tests are compiled there. What is always inlined, constants, and what
macros define stay as they are in both. The style of the sources (.clang-format) says where a body ends."""
import glob
import os
import re
import threading

HELD, USED = os.path.join("build", "open", "held"), os.path.join("build", "open", "used")
MAKING = threading.Lock()
BEGIN = re.compile(r"^(static (?!inline\b)|HYBRID_API |HYB_BORDER(?:_VOID)?\()", re.M)
PROTOTYPE = re.compile(r"^(#define [^\n]*)\bstatic ([^\n{]*\);)$", re.M)    # of functions that are named by an X-list
STAMPED = re.compile(r'(# *include ")../src/(?=[^"\n]*\.inc")')    # texts that a test stamps itself: as they are
DATA = re.compile(r"^static ([^=;({\n]*\w;)", re.M)                # that may change: it has no value yet


def declarator(text, at):
    """Where a declaration that begins at a place ends, at its body, ';' or '='; None when it is no function."""
    depth, before, comment = 0, "", re.compile(r"/\*.*?\*/", re.S)
    i = at
    while i < len(text):
        if text.startswith("/*", i):
            i = comment.match(text, i).end()
            continue
        c = text[i]
        if c in ";{=" and depth == 0:
            return i if c != "=" and before == ")" else None
        if c == "*" and before == "(" and depth == 1:
            return None                                          # a pointer to functions
        depth += {"(": 1, ")": -1}.get(c, 0)
        before = before if c.isspace() else c
        i += 1
    return None


def body_end(text, at):
    """Behind a body that begins at a place: in the same line, or with the next brace that begins a line."""
    line = text.index("\n", at)
    if text[at:line].rstrip().endswith("}"):
        return line
    return text.index("\n}\n", at) + 2


def opened(text, used):
    """The text of the library as it is held, or as it is used."""
    parts, done = [], 0
    text = DATA.sub(r"extern \1" if used else r"\1", PROTOTYPE.sub(r"\1\2", text))
    for m in BEGIN.finditer(text):
        end = declarator(text, m.start())
        if m.start() < done or end is None:
            continue
        private, body = m.group().startswith("static"), text[end] == "{"
        parts.append(text[done:m.start()])
        done = m.end() if private else m.start()
        if not used or not body:
            continue
        if not m.group().startswith("HYB_BORDER"):
            parts.append(text[done:end].rstrip() + ";")
        done = body_end(text, end)
    return "".join(parts) + text[done:]


def write(path, text):
    """A file that is there already, and the same, is left alone."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            if f.read() == text:
                return
    whole = "%s.%d" % (path, os.getpid())                        # others may read it meanwhile
    with open(whole, "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(whole, path)


def make(root="."):
    """Writes both copies of a repository's sources into its build/open."""
    with MAKING:
        for pattern in ("hybrid.h", "hybrid_cuda.h", "src/**/*", "tests/**/*.[ch]", "tests/**/*.inc"):
            for found in filter(os.path.isfile, glob.glob(os.path.join(root, pattern), recursive=True)):
                path = os.path.relpath(found, root)
                with open(found, encoding="utf-8") as f:
                    text = f.read()
                ours = not path.startswith("tests") and not path.endswith(".cu")
                for folder in (HELD, USED):
                    write(os.path.join(root, folder, path), opened(text, folder == USED) if ours else
                          STAMPED.sub(r"\1../../../../src/", text))
