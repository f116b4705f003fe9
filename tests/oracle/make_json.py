#!/usr/bin/env python3
"""Makes tests/oracle/data/json.json with Python's own json and float: what is JSON and what is not, and doubles as
text, both ways.

    python3 tests/oracle/make_json.py

texts: [text, canonical form or null when it is no JSON]. numbers: [decimal text, bits in hex, shortest text]."""
import json, os, random, struct

TEXTS = r'''
[]
{}
[[]]
{"a":{}}
[1,2,3]
[1, 2 ,3 ]
{"a":1,"b":[true,false,null]}
"x"
""
null
true
-0
-0.0
0
-1
1e5
1E+5
1e-5
1.5e300
9223372036854775807
-9223372036854775808
"\u00e9\n\t\"\\\/\b\f\r"
"\ud83d\ude00"
"\u0000"
"é日本👋"
{"a":1,"a":2}
{"":0}
 [ ]
[1,]
[,1]
[1 2]
[1,,2]
[
]
{
}
{"a"}
{"a":}
{"a":1,}
{,}
{a:1}
{1:2}
{'a':1}
{"a" 1}
{"a":1 "b":2}
[1}
{"a":1]
01
-
-01
+1
.5
1.
1.e5
1e
1e+
1.5.5
0x10
1_000
NaN
Infinity
-Infinity
tru
truee
nul
nulll
True
"
"a
"\x"
"\u12"
"\u12g4"
"\"
"a	b"
[1] 2
[1]]
""""
//x
[1]//x
/**/1
[1;2]
"\ud800"
"\udc00x"
"\ud800\u0041"
'''


def strict(name):
    raise ValueError(name)


def main():
    rows = []
    for text in TEXTS.split("\n")[1:-1] + ["", " ", "\t\n\r 1 \n", "\ufeff1", "[1]\0", "\"a\nb\"", "\"\x7f\"",
                                           "[" * 60 + "]" * 60, "[" * 60, "[\x0b1]", "\u00a01"]:
        try:
            value = json.loads(text, parse_constant=strict)
            rows.append([text, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace").decode().replace("?", "\ufffd") if "ud800" in text or "udc00" in text
                         else json.dumps(value, separators=(",", ":"), ensure_ascii=False)])
        except ValueError:
            rows.append([text, None])
    rng = random.Random(7)
    numbers = ["0.1", "0.3", "1e23", "9007199254740993.0", "9007199254740992.9999999999999999",
               "1.7976931348623157e308", "1.7976931348623159e308", "1e309", "4.9e-324", "2.4703282292062327e-324",
               "2.4703282292062328e-324", "2.2250738585072011e-308", "2.2250738585072014e-308", "1e-400",
               "0." + "0" * 400 + "1", "1" + "0" * 300 + ".0", "1" * 900 + ".0", "0." + "3" * 900,
               "123456789012345678.0", "1e16", "1e15", "123456.7e-10", "0.0001", "0.00001", "5e-5", "1.0e0", "100.0",
               "-0.0", "-2.5", "2.2250738585072011" + "9" * 800 + "e-308",
               "0.500000000000000166533453693773481063544750213623046875", "9007199254740993" + "." + "0" * 850 + "1",
               "6.02214076e23", "1e22", "1e21", "8.41e21", "9.5e-3"]
    numbers += [repr(struct.unpack("<d", struct.pack("<Q", rng.getrandbits(64) & ~(0x7FF << 52) | rng.randrange(1, 2046) << 52))[0]) for _ in range(150)]
    numbers += ["%de%d" % (rng.getrandbits(rng.randrange(1, 80)), rng.randrange(-340, 300)) for _ in range(150)]
    numbers += ["%.*f" % (rng.randrange(1, 20), rng.uniform(-1000, 1000)) for _ in range(100)]
    out = [[n, "%016x" % struct.unpack("<Q", struct.pack("<d", float(n)))[0], repr(float(n))] for n in numbers]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "json.json")
    with open(path, "w") as f:
        f.write('{"about": "made by tests/oracle/make_json.py",\n"texts": [\n' + ",\n".join(map(json.dumps, rows)) +
                '\n],\n"numbers": [\n' + ",\n".join(map(json.dumps, out)) + "\n]}\n")
    print(len(rows), "texts,", len(out), "numbers,", os.path.getsize(path), "bytes")


main()
