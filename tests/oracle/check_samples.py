#!/usr/bin/env python3
"""check_samples.py FILE...: judges the documents that test_schema.c wrote (HYBRID_SCHEMA_SAMPLES, HYBRID_SCHEMA_OUT) by
Python's jsonschema (pip install jsonschema), formats included where Python can tell: the four schemas come first, then
each document behind the number of its schema."""
import datetime
import json
import re
import sys

import jsonschema


def formats():
    checker = jsonschema.FormatChecker(formats=())
    checker.checks("date", ValueError)(lambda v: not isinstance(v, str) or bool(datetime.date.fromisoformat(v)))
    checker.checks("email")(lambda v: not isinstance(v, str) or
                            bool(re.fullmatch(r"[^@\s]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*", v)))
    checker.checks("date-time", ValueError)(moment)
    return checker


def moment(value):
    """RFC 3339: a date, T, a time (the second 60 is a leap second), and Z or the distance to it."""
    if not isinstance(value, str):
        return True
    m = re.fullmatch(r"(\d{4}-\d\d-\d\d)[Tt](\d\d):(\d\d):(\d\d)(\.\d+)?([Zz]|[+-](\d\d):(\d\d))", value)
    return bool(m and datetime.date.fromisoformat(m[1]) and int(m[2]) < 24 and int(m[3]) < 60 and int(m[4]) <= 60 and
                int(m[7] or 0) < 24 and int(m[8] or 0) < 60)


def main():
    n = wrong = 0
    counts, different = {}, set()
    for path in sys.argv[1:]:
        with open(path, "rb") as f:
            parts = f.read().split(b"\x1e")
        schemas = [json.loads(p) for p in parts[:4]]
        judges = [jsonschema.Draft202012Validator(s, format_checker=formats()) for s in schemas]
        for part in parts[4:-1]:
            form, text = int(part[:1]), part[1:]
            n += 1
            counts[form] = counts.get(form, 0) + 1
            different.add(part)
            try:
                judges[form].validate(json.loads(text.decode("utf-8")))
            except (ValueError, jsonschema.ValidationError) as e:
                wrong += 1
                print("%s: %r: %s" % (path, text, str(e).split("\n")[0]))
    print("%d documents (%s of each schema), %d different: %d do not fit" % (
        n, ", ".join(str(counts[k]) for k in sorted(counts)), len(different), wrong))
    return bool(wrong or not n)


if __name__ == "__main__":
    sys.exit(main())
