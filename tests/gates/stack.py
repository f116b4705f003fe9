"""No call takes more than 64 KB of the host's stack: the compiler's own figures, added up along every chain of calls.

gcc writes the frame of each function and who calls whom (-fcallgraph-info=su). A call through a pointer has no target
there, but a source line: the member that it calls (be->norm) may hold every function whose address is taken and whose
name has that word (hyb_cpu_norm, hyb_norm_avx2), or what HOLDS says. Every turn of a recursion asks for room
(hyb_stack_room, core/stack.c), or BOUNDED knows how deep it gets. What a call takes at most is then the way to where
the stack is first measured, the budget of core/stack.c, and the longest way from one asking to the next, or to the last
function that is called."""
import os
import re

from compiling import GRAPHED, optimized
from gates import gate
from house import in_header, replace

LIMIT = 64 * 1024
ASKS, OPENS = r"hyb_(stack_room|jarena_room|j\w+_enter)", "hyb_stack_open"
# Frames of the C library in bytes, by what glibc and musl take, rounded up; what is not here: 1024.
LIBC = {"snprintf": 8192, "vsnprintf": 8192, "strtod": 8192, "qsort": 2048}
# Recursions that do not ask: how many of its calls may be open at a time, whatever the input.
BOUNDED = {
    # whether a schema has any value: four questions in each other (hyb_schema.asking)
    "hyb_alternatives_none": 5, "hyb_goal_none": 5, "hyb_form_no_list": 5, "hyb_form_no_object": 5,
    "hyb_form_object": 6, "hyb_object_extras": 6, "hyb_object_extras_of": 6, "hyb_schema_names": 6,
    "hyb_schema_expand": 6, "hyb_expand_term": 6, "hyb_expand_one": 6, "hyb_expand_apart": 5,
    "hyb_dfa_narrow": 2,            # all texts without some
    "hyb_experts_run": 2,           # a batch too large for the scratch in two parts
    "hyb_file_read": 2,             # a file that is read out of a part of another (a checkpoint)
    "hyb_folder_expand": 8,         # a path with stars in it
    "hyb_gguf_scan_array": 9,       # arrays in arrays (HYBRID_GGUF_MAX_DEPTH)
    "hyb_jbuiltin_call": 2,         # a filter that asks a test
    # a generator that runs the filter that made it; one of another begins with hyb_jinja_wake
    "hyb_jf_generator": 2,
    "hyb_jhash": 17,                # tuples in tuples (HYB_J_KEY_DEPTH)
    "hyb_jinja_format_text_of": 3,  # fields in fields of format(): two levels
    "hyb_jinja_strftime": 2,        # %c is made of others
    "hyb_json_write": 128,          # values in values (HYB_JSON_DEPTH)
    "hyb_jparse_operators": 12,     # levels of precedence
    "hyb_slicer_heads": 2,          # its parts come to its brothers one by one
    "hyb_tokenize_piece": 9,        # the rules of one pre-tokenizer
    "hyb_words_cut": 9,             # and in training a vocabulary
    "hybrid_mix_find": 2,           # one name for another
}
# What a call through a pointer leads to: the expression that is called, by its end; the functions ({} is the member's
# name).
FOREIGN = r".*\b(spare->destroy|cu[A-Z]\w*|cublas\w+|nvrtc\w+|log|progress|trace|find|use|bad_line|count|gradients|all_reduce(_end)?|mark|desc\.(go_back|function)|reader\.\w+|host\.(load|store)|read_at|write)"
MEMBER = r"((?:[\w.\]]|->)*(?:->|\.)\w+)\)?\(|" \
    r"\b(fn|lay|unpack|tile|multiply|decode|progress|find|split|write|match|member|number|steps|way|visit|mend)(?:\[0\])?\("
HOLDS = [
    (r".*\b(mixer|ffn|part)\]?->(find|needs|slot|forward|backward)",
     r"hyb_(attention|shortconv|time_mix|ffn|experts|channel_mix)_{}"),
    (r".*\bkernels->\w+", r"hyb_{}_(generic|scalar|avx2|avx512|neon)"),
    (r".*\b(allocator|a)\.\w+", r"hyb_(default|counter)_{}"),
    (r".*\bbase\.\w+", r"hyb_default_{}"),
    (r".*\breal->ops->\w+", r"hyb_(cpu|cuda_be)_{}"),
    (r".*\bbe->ops->begin", r"hyb_((cpu|cuda_be)_begin|slicer_batch)"),
    (r".*\bbe->ops->\w+", r"hyb_(cpu|cuda_be|slicer)_{}"),
    (r".*->learner_free", r"hyb_pupil_free"),
    (r".*\b(o|objective)->ops->\w+", r"hyb_(transformer|own)_{}"),
    (r"old->ops->\w+", r"hyb_(cpu|cuda_be)_{}"),
    (r".*\brider->ops->\w+", r"hyb_predictor_{}"),
    (r"way", r"hyb_displacement_(in|out)"),
    (r"s->weigh(_sum)?", r"hyb_weigh_(sum_)?(generic|avx2)"),
    (r"visit", r"hyb_\w+_piece"),
    (r"mend", r"hyb_mend_(skip|shorten|raise|full|reset|back)"),
    (r".*\b(device|gpu|host)(->|\.)ops->\w+", r"hyb_(host|gpu)_(backend_)?{}"),
    (r".*\bhyb_gpu_provider->\w+", r"hyb_gpu_provider_{}"),
    (r".*\bto->write", r"(?!)"),      # a host's alone
    (r"f->fn", r"hyb_j[fglmt]_\w+"),
    (r"part->fn", r"hyb_(?!pace)\w+_(chunk|turn|prepare|space)"),
    (r"(pool|s)->fn", r"hyb_\w+_(chunk|turn|prepare|space)"),
    (r"fn", r"hyb_library_in_folder"),
    (r".*\bhost_for", r"hyb_host_lane"),
    (r".*->prepare", r"hyb_(?!matmul|experts)\w+_prepare(_\w+)?"),
    (r".*\bunpack", r"hyb_(ints|byte_q|panel)\w*_\w+"),
    (r".*bytes", r"hyb_\w*(bytes|scratch)\w*"),
    (r".*\b(tile|multiply)", r"hyb_\w*tile\d+_\w+"),
    (r"steps", r"hyb_steps_avx2_\w+"),
    (r"decode", r"hyb_dequantize_\w+"),
    (r"match", r"hyb_match_\w+"),
    (r"member", r"hyb_is_\w+"),
    (r"number", r"hyb_number_of\w*"),
    (r".*\binfo", r"hyb_cuda_module"),
    (r".*\b(quantize|dequantize)_row", r"hyb_(de)?quantize_\w+"),
    (r".*\b(begin|end)", r"hyb_amx_{}"),
    # kernels, rules of a tokenizer
    (r".*\w", r"(?!hyb_(cpu|cuda|slicer|own|transformer|host|gpu|default|counter)_)hyb_(\w+_)?{}(_\w+)?"),
]
# Called by qsort, by a new thread, before main; by a child of fork in the driver's place; by JSON's writer in the place
# of a host's function.
NOT_CALLED = r"hyb_(falling|\w+_order|layout_quote|worker_entry|cuda_register|forked_\w+)"


def plain(title):
    """one.c:hyb_f.constprop.0 is hyb_f."""
    return re.sub(r"\.(isra|part|constprop|cold)\b.*", "", title.split(":")[-1])


class Calls:
    """The functions of an object: the frame of each in bytes, and whom it calls."""

    def __init__(self, path, root):
        self.frame, self.calls, self.wrong = {}, {}, []
        with open(path, encoding="utf-8") as f:
            text = f.read()
        for title, label in re.findall(r'^node: \{ title: "([^"]+)" label: "([^"]*)"', text, re.M):
            size = re.search(r"(\d+) bytes \(([\w,]+)\)", label)
            bytes_of = int(size.group(1)) if size else LIBC.get(title, 1024)
            if size and size.group(2) == "dynamic":
                self.wrong.append("%s has an array whose size is not known" % title)
            self.frame[plain(title)] = bytes_of + self.frame.get(plain(title), 0)       # its parts may call each other
            self.calls.setdefault(plain(title), set())
        pointers = []
        for source, target, place in re.findall(
            r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"(?: label: "([^"]*)")?', text, re.M):
            if target == "__indirect_call":
                pointers.append((plain(source), place))
            elif plain(source) != plain(target) or source == target:
                self.calls[plain(source)].add(plain(target))
        self.follow(pointers, root)

    def follow(self, pointers, root):
        """Finds the targets of the calls through pointers."""
        lines = {}
        for name in ("hybrid.h", "hybrid_cuda.h"):
            with open(os.path.join(root, name), encoding="utf-8") as f:
                lines[name] = f.read().split("\n")
        ops = re.findall(r"^    (?:OP|PARTS)\((\w+)\)", "\n".join(lines["hybrid.h"]), re.M)
        code = "\n".join(line for part in lines.values() for line in part if not re.match(r"static |HYB_\w+\(", line))
        code = re.sub(r"/\*.*?\*/", "", code, flags=re.S)
        called = {target for targets in self.calls.values() for target in targets}
        taken = set(re.findall(r"\b(hyb_\w+)\b(?!\s*\()", code)) | {f for f in self.calls if f not in called}
        taken |= {f for f in self.calls if re.fullmatch(r"hyb_\w+_(generic|avx2|avx512|neon)", f)}     # names that are pasted together
        taken = {f for f in taken if f in self.calls and f.startswith("hyb_") and not re.fullmatch(NOT_CALLED, f)}
        reached = set()
        for caller, place in pointers:
            name, row = re.search(r"([^/]+):(\d+):\d+$", place).groups()
            line = lines[name][int(row) - 1]
            if re.match(r"HYB_(\w+_)?OPS\(", line):         # calls that are made from the list of ops: any of them
                line = " ".join("be->ops->%s(" % op for op in ops)
            members, end = re.findall(MEMBER, line), int(row)
            while not members and not line.endswith(";"):         # a call that begins on a later line of the statement
                line, end = line + " " + lines[name][end].strip(), end + 1
                members = re.findall(MEMBER, line)
            if not members:
                self.wrong.append("%s: which member is called here? %s" % (place, line.strip()))
            for expression in (a or b for a, b in members):
                targets = self.targets(expression, taken)
                if not targets and not re.fullmatch(FOREIGN, expression):
                    self.wrong.append("%s: no function is known that '%s' may hold (HOLDS)" % (place, expression))
                reached |= targets
                if caller.startswith("hyb_slicer_"):              # it stands before one that computes, never before another
                    targets = {f for f in targets if not f.startswith("hyb_slicer_")}
                self.calls[caller] |= targets
        lost = sorted(taken - reached - called)                   # the rest may only be passed to what is inlined
        if lost:
            self.wrong.append("no member is known that holds (HOLDS): " + ", ".join(lost))

    @staticmethod
    def targets(expression, taken):
        """Of the functions whose address is taken those that a call of the expression may reach."""
        member = re.search(r"\w+$", expression).group()
        for pattern, functions in HOLDS:
            if re.fullmatch(pattern, expression):
                return {f for f in taken if re.fullmatch(functions.format(member), f)}
        return set()


class Depths:
    """The longest chains of calls: (bytes, [functions])."""

    def __init__(self, calls):
        self.frame, self.calls, self.wrong = calls.frame, calls.calls, []
        self.asking = {f for f in self.calls if any(re.fullmatch(ASKS, g) for g in self.calls[f])
                       and not re.fullmatch(ASKS, f)}
        self.opening = {f for f in self.calls if OPENS in self.calls[f]}
        self.kept, self.path = {}, []

    def longest(self, function, way, turns=False, to=None):
        """Down from a function: 'turns' goes into what asks for room once more, which then refuses; 'to' counts only
        ways to such functions."""
        key = (function, turns, way)
        if key in self.kept:
            if self.kept[key] is None:
                if function not in BOUNDED:
                    self.wrong.append("a recursion that does not ask for room: " +
                                      " > ".join(self.path[self.path.index(function):] + [function]))
                return -LIMIT * LIMIT, []
            return self.kept[key]
        self.kept[key] = None
        self.path.append(function)
        below = (0, []) if not to or function in to else (-LIMIT * LIMIT, [])
        for callee in sorted(self.calls[function]):
            if callee not in self.asking:
                below = max(below, self.longest(callee, way, turns, to))
            elif turns:
                below = max(below, self.longest(callee, "refused"))
        self.path.pop()
        self.kept[key] = (self.frame[function] * BOUNDED.get(function, 1) + below[0], [function] + below[1])
        return self.kept[key]

    def of_call(self, function, budget):
        """What a call of a public function takes at most."""
        plain_way = self.longest(function, "plain")
        opened = self.longest(function, "to open", to=self.opening)
        if opened[0] < 0:
            return plain_way
        last = max(self.longest(f, "turn", turns=True) for f in self.asking)
        return max(plain_way,
                   (opened[0] + budget + last[0], opened[1] + ["... %d bytes of recursion ..." % budget] + last[1]))


@gate("stack", faults=[
    ("a large frame",
     in_header("HYBRID_API int hybrid_fault(int i);\nHYBRID_API int hybrid_fault(int i) { volatile char a[66000]; a[i] "
               "= 1; return a[i + 1]; }")),
    ("a recursion that does not ask", lambda root: replace(
        os.path.join(root, "hybrid.h"), "if (!hyb_jarena_work(&j->arena, 1) || !hyb_jarena_room(&j->arena, j->depth))",
        "if (!hyb_jarena_work(&j->arena, 1))")),
    ("a recursion that may take too much",
     lambda root: replace(os.path.join(root, "hybrid.h"), "44 * 1024 * HYB_STACK_FACTOR",
                          "62 * 1024 * HYB_STACK_FACTOR")),
    ("an array whose size is not known", in_header(
        "HYBRID_API int hybrid_fault(int i);\nHYBRID_API int hybrid_fault(int i) { volatile char a[i]; a[0] = 1; "
        "return a[i - 1]; }")),
    ("a pointer that leads nobody knows where", in_header(
        "HYBRID_API int hybrid_fault(struct hyb_f *f);\nstruct hyb_f { int (*nowhere)(void); };\nHYBRID_API int "
        "hybrid_fault(struct hyb_f *f) { return f->nowhere(); }")),
])
def stack(box):
    if not box.has("gcc"):
        return box.skipped("gcc", "gcc is not installed (tests/setup.sh installs it)")
    path = optimized(box, *GRAPHED)
    if not path:
        return None
    budget = int(re.search(r"HYB_STACK_BUDGET = (\d+) \* 1024", box.read("hybrid.h")).group(1)) * 1024
    calls = Calls(path[:-2] + ".ci", box.root)
    depths = Depths(calls)
    roots = [f for f in calls.calls if f.startswith("hybrid_")] + ["hyb_worker_entry"]
    deepest = sorted((depths.of_call(f, budget) for f in roots), reverse=True)
    box.expect("every call is understood", not calls.wrong, "\n".join(calls.wrong))
    box.expect("every recursion asks for room", not depths.wrong, "\n".join(sorted(set(depths.wrong))))
    box.expect("many functions were seen", len(roots) > 100 and len(calls.frame) > 1000,
               "%d of %d" % (len(roots), len(calls.frame)))
    for size, chain in deepest[:3]:
        box.expect("%s takes at most 64 KB of stack" % chain[0], size <= LIMIT, "%d bytes: %s" % (size, " > ".join(
            "%s (%d)" % (f, calls.frame[f]) if f in calls.frame else f for f in chain)))
    if not box.quiet:
        print("  the deepest call, %s, takes at most %.1f KB of stack (limit: 64)" %
              (deepest[0][1][0], deepest[0][0] / 1024), flush=True)
    return None
