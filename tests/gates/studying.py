"""The study of prediction (tests/study): its statistics, tables and verdicts are right on studies whose truth is known,
and the program that makes its runs compiles. `make study-smoke` runs it in small."""
import os
import sys

from gates import QUICK, gate
from house import replace


def breaks(name, old, new):
    return lambda root: replace(os.path.join(root, "tests", "study", name), old, new)


FAULTS = [
    ("a correction of Holm that forgets those before", breaks("analysis.py", "max(worst, min(", "max(0, min(")),
    ("a t of n degrees of freedom", breaks("analysis.py", "t_below(-abs(t), n - 1)", "t_below(-abs(t), n)")),
    ("a ratio of steps upside down", breaks("analysis.py", "-gain / b", "gain / b")),
    ("the worst of the rates", breaks("plan.py", "return min(found)", "return max(found)")),
    ("the comparison of tuning seeds", breaks("report.py", "for s in model.seeds}", "for s in model.tuning_seeds}")),
    ("a lost run that counts for nothing", breaks("report.py", "and not arm.lost", "")),
    ("an arm.c that does not compile", breaks("arm.c", "return 0;", "return 0")),
]


@gate("study", FAULTS)
def study(box):
    status, out = box.run([sys.executable, box.path("tests", "study", "study.py"), "--self-test"])
    box.expect("study.py --self-test", status == 0, out[-800:])
    words = ["cc", "-fsyntax-only", "-DHYBRID_NO_SIMD", "-Wall", QUICK, "-Wextra", "-Werror", "-I", box.root]
    status, out = box.run(words + [box.path("tests", "study", "arm.c")])
    box.expect("arm.c compiles", status == 0, out[-800:])
