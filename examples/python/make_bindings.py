#!/usr/bin/env python3
"""make_bindings: writes hybrid.py, which lets Python call hybrid, from the declarations of hybrid.h.

    python3 make_bindings.py            writes hybrid.py beside this file
    python3 make_bindings.py --check    writes nothing; fails when hybrid.py is not what hybrid.h makes

It knows as much of C as the public half of the header is written in, and refuses by name what it does not know.
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = os.path.join(HERE, "..", "..", "hybrid.h")
NUMBERS = {"bool": "c_bool", "char": "c_char", "int32_t": "c_int32", "uint32_t": "c_uint32", "int64_t": "c_int64",
           "uint64_t": "c_uint64", "uint8_t": "c_uint8", "size_t": "c_size_t", "float": "c_float", "double": "c_double",
           "unsigned": "c_uint", "unsigned char": "c_ubyte", "void": "None"}
# A comment, or a declaration that begins a line. Members and parameters stand inside of one.
ITEM = re.compile(r"""
    /\*(?P<comment>.*?)\*/
  | ^[ ]*\#[ ]*define[ ]+(?P<macro>HYBRID_\w+)[ ]+(?P<value>(?:"[^"]*"|0x[0-9A-Fa-f]+|\d+)u?)(?=[ ]*(?:/\*|$))
  | ^[ ]*\#(?:\\\n|/\*.*?\*/|[^\n])*
  | ^typedef[ ]struct[ ](?P<struct>\w+)[ ]\{(?P<members>.*?)^\}[ ]\w+;
  | ^(?:typedef[ ])?enum[ ]?(?P<enum>\w*)[ ]\{(?P<values>.*?)\}[ ]?\w*;
  | ^typedef[ ]struct[ ](?P<opaque>\w+)[ ]\w+;
  | ^typedef[ ](?P<result>[^;{}]*?)\(\*(?P<callback>\w+)\)\((?P<arguments>[^;]*)\);
  | ^HYBRID_API[ ](?P<returns>[^;(]*?)(?P<function>hybrid_\w+)\((?P<parameters>[^;]*)\);(?:[ ]*/\*(?P<after>.*?)\*/)?
""", re.X | re.M | re.S)


def words_of(comment):
    """The text of a C comment, without its stars."""
    lines = [re.sub(r"^\s*\* ?", "", line) if i else line.strip() for i, line in enumerate(comment.split("\n"))]
    return "\n".join(line.rstrip() for line in lines).strip()


def comments_of(text):
    return "\n".join(words_of(c) for c in re.findall(r"/\*(.*?)\*/", text, re.S))


def bare(text):
    return re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", " ", text, flags=re.S)).strip()


def split(text):
    """At commas outside of brackets."""
    parts, depth = [""], 0
    for c in text:
        depth += (c in "([") - (c in ")]")
        if c == "," and not depth:
            parts.append("")
        else:
            parts[-1] += c
    return [p.strip() for p in parts if p.strip()]


class Header:
    def __init__(self, text):
        self.text = text.split("#ifdef HYBRID_IMPLEMENTATION\n")[0].split("#define HYBRID_H\n")[1]
        self.enums, self.structs, self.callbacks, self.opaque = set(), set(), set(), set()
        self.results = re.findall(r"X\((HYBRID_\w+),\s*(-?\d+),", self.text)
        self.version = int(re.search(r"HYBRID_VERSION_NUMBER (\d+)", self.text).group(1))

    def type(self, text, where):
        """The ctypes of a C type without a name: 'const hybrid_model_desc *'."""
        words = re.sub(r"\b(const|struct)\b", " ", text)
        stars, base = words.count("*"), " ".join(words.replace("*", " ").split())
        if stars and base in ("void", "char"):
            kind, stars = "c_void_p" if base == "void" else "c_char_p", stars - 1
        elif base in NUMBERS:
            kind = NUMBERS[base]
        elif base in self.enums:
            kind = "c_int"
        elif base in self.structs | self.callbacks | self.opaque:
            kind = base
        else:
            raise SystemExit("make_bindings: %s: the type '%s' is not known" % (where, text))
        return "POINTER(" * stars + kind + ")" * stars

    def function(self, returns, arguments, where):
        """FUNCTION(result, arguments...) of a pointer to a function."""
        kinds = [self.declared(a, where)[1] for a in split(arguments) if a != "void"]
        return "CFUNCTYPE(%s)" % ", ".join([self.type(returns, where)] + kinds)

    def declared(self, text, where):
        """(name, ctypes) of a member or parameter."""
        pointer = re.match(r"(.*?)\(\*(\w+)\)\((.*)\)$", text)
        if pointer:
            return pointer.group(2), self.function(pointer.group(1), pointer.group(3), where)
        kind, name, count = re.match(r"(.*?)(\w+)((?:\[\w+\])?)$", text).groups()
        kind = self.type(kind, where)
        if kind == "c_char_p" and name == "data":        # with a size beside it, not a zero at its end: data[:size]
            kind = "POINTER(c_char)"
        return name, "%s * %s" % (kind, count[1:-1]) if count else kind

    def members(self, text, where):
        """(name, ctypes) of each; 'uint64_t a, *b' are two."""
        for line in bare(re.sub(r"(?m)^[ ]*#.*$", "", text)).split(";"):
            first, *others = split(line.strip()) or [""]
            if first:
                yield self.declared(first, where)
                for other in others:
                    kind = re.match(r"(.*?)\**\w+(?:\[\w+\])?$", first).group(1).rstrip("* ")
                    yield self.declared(kind + " " + other, where)


def docstring(text, indent):
    text = text.replace("\\", "\\\\").replace('"""', "'''")
    lines = text.split("\n")
    if lines[-1].endswith('"'):
        lines[-1] += " "
    return '%s"""%s"""' % (indent, ("\n" + indent).join(lines).replace("\n%s\n" % indent, "\n\n"))


def enum_values(header, text, where):
    """NAME = value lines; a name without a value is the last one and 1."""
    at = -1
    for item in split(bare(re.sub(r"(?m)^\s*#.*$|^\s*HYBRID_RESULTS\(HYB_X\)", "", text))):
        name, _, value = (part.strip() for part in item.partition("="))
        at = int(value, 0) if value else at + 1
        yield name, at
    if "HYBRID_RESULTS" in text:
        yield from header.results


def generate(text):
    header = Header(text)
    constants, classes, bodies, functions, comment, ended = [], [], [], [], "", 0
    for m in ITEM.finditer(header.text):
        far = header.text[ended:m.start()].count("\n") > 1          # a comment belongs to what follows at once
        ended = m.end()
        if m.group("comment") is not None:
            comment = words_of(m.group("comment"))
            continue
        said, comment = ("" if far else comment), ""
        said += words_of(m.group("after") or "")
        if m.group("macro"):
            constants.append("%s = %s" % (m.group("macro"), re.sub(r"(?<=\w)u$", "", m.group("value"))))
        elif m.group("values"):
            header.enums.add(m.group("enum"))
            constants += ["%s = %s" % pair for pair in enum_values(header, m.group("values"), m.group("enum"))]
        elif m.group("struct"):
            name = m.group("struct")
            header.structs.add(name)
            notes = [said] + [line.rstrip() for line in comments_lines(m.group("members"))]
            classes.append("class %s(Structure):\n%s\n" % (name, docstring("\n".join(n for n in notes if n), "    ")))
            fields = list(header.members(m.group("members"), name))
            bodies.append("%s._fields_ = [\n%s]\n" % (name, "".join('    ("%s", %s),\n' % f for f in fields)))
        elif m.group("opaque"):
            name = m.group("opaque")
            header.opaque.add(name)
            note = (said + "\n" if said else "") + "A handle: its members are the library's."
            classes.append("class %s(Structure):\n%s\n" % (name, docstring(note, "    ")))
        elif m.group("callback"):
            header.callbacks.add(m.group("callback"))
            kind = header.function(m.group("result"), bare(m.group("arguments")), m.group("callback"))
            bodies.append("%s = %s\n" % (m.group("callback"), kind))
        elif m.group("function"):
            name = m.group("function")
            named = [header.declared(p, name) for p in split(bare(m.group("parameters"))) if p != "void"]
            returns = header.type(m.group("returns"), name)
            declaration = bare(m.group("returns")) + " " + name + "(" + bare(m.group("parameters")) + ")"
            functions.append("%s = _function(%s, %s, [%s],\n%s)\n" % (
                name, repr(name), returns, ", ".join(kind for _, kind in named),
                docstring((declaration.replace("* ", "*") + "\n\n" + said).strip(), "    ")))
    structs = sorted(header.structs)
    count = len(re.findall(r"^HYBRID_API ", header.text, re.M))
    if count != len(functions):
        raise SystemExit("make_bindings: %d of %d functions were understood" % (len(functions), count))
    return HEAD + "\n".join(constants) + "\n\n\n" + "\n\n".join(classes) + "\n\n" + "".join(bodies) + TAIL_BEFORE + \
        "\n".join(functions) + CHECK % ("\n".join("    " + name + "," for name in structs), header.version)


def comments_lines(members):
    """'name: comment' of the members that have one, in the header's order."""
    for line in re.findall(r"(/\*.*?\*/)|([^;]*;)[ \t]*(/\*.*?\*/)?", members, re.S):
        alone, member, after = line
        inside = re.findall(r"/\*(.*?)\*/", member, re.S)
        member = bare(member).rstrip(";")
        if alone:
            yield words_of(alone[2:-2])
        else:
            told = " ".join(words_of(c) for c in inside + ([after[2:-2]] if after else []))
            yield "%s%s" % (member, ": " + told if told else "")


HEAD = '''"""hybrid from Python: every public function, struct and constant of hybrid.h, by ctypes.

MADE FROM hybrid.h BY make_bindings.py: edit neither. The library is libhybrid.so beside this file, or what the
environment's HYBRID_LIBRARY names; README.md beside hybrid.h has the line that builds it.

Functions and structs are those of the header, which help(hybrid.hybrid_model_load) shows; texts are bytes. What takes a
pointer takes byref(...); None is NULL. Keep what C keeps: a callback, and memory that a struct points to, must live as
long as the header says.
"""
import os
from ctypes import (CDLL, CFUNCTYPE, POINTER, Structure, byref, c_bool, c_char, c_char_p, c_double, c_float, c_int,
                    c_int32, c_int64, c_size_t, c_ubyte, c_uint, c_uint8, c_uint32, c_uint64, c_void_p, sizeof)

'''
TAIL_BEFORE = '''
LIBRARY = os.environ.get("HYBRID_LIBRARY") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "libhybrid.so")
_library = CDLL(LIBRARY)


def _function(name, returns, arguments, words):
    try:
        function = getattr(_library, name)
    except AttributeError:
        raise ImportError("%s has no %s: make it from the hybrid.h that hybrid.py was made from, without HYBRID_NO_..."
                          % (LIBRARY, name)) from None
    function.restype, function.argtypes, function.__doc__ = returns, arguments, words
    return function


'''
CHECK = '''

STRUCTS = [
%s
]


def _check():
    """Whether the library's structs have the sizes of those above."""
    sizes = (hybrid_struct_size * len(STRUCTS))(*[(s.__name__.encode(), sizeof(s)) for s in STRUCTS])
    error = hybrid_error()
    if hybrid_abi_check(%d, sizes, len(STRUCTS), byref(error)):
        raise ImportError("%%s: %%s" %% (LIBRARY, error.message.decode()))


_check()
'''


def main():
    with open(HEADER, encoding="utf-8") as f:
        made = generate(f.read())
    path = os.path.join(HERE, "hybrid.py")
    if "--check" in sys.argv:
        with open(path, encoding="utf-8") as f:
            if f.read() != made:
                raise SystemExit("examples/python/hybrid.py is not what hybrid.h makes: python3 examples/python/"
                                 "make_bindings.py writes it")
        return
    with open(path, "w", encoding="utf-8") as f:
        f.write(made)


if __name__ == "__main__":
    main()
