"""How long a decoded token takes on an H200, estimated from the machine code: nothing here is measured.

    python3 tests/gpu_model.py [--table other/sass.txt] [--parts]

Reads tests/results/sass.txt (tests/sass_check.py) and the launches a token that tests/test_cuda_models.c counts on the
emulated GPU. A kernel takes as long as the slowest of: its bytes at the rate of the memory, its instructions at the
rate at which they are issued or at which the integer pipe takes them, and what one warp alone needs for its row. Then
there are a gap between two launches of a graph, and a ramp. The constants below are what a measurement of one real
token calibrates; until then the result may be off by a third, and ratios are better than absolute numbers.
"""
import argparse, os, re, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sass_check
from sass_check import ROOT

SMS, CLOCK, RATE, REACHED = 132, 1755.0, 4.8e6, 0.9   # clocks a us; bytes a us, and the part of them that is reached
IPC = 2.6            # warp instructions a clock and multiprocessor: the biggest unknown, 2.2 to 3.0
LONE = 2.8           # clocks an instruction of a warp that is alone on its scheduler
GAP, RAMP = 1.0, 1.0                                  # us between two launches; from a launch to its first data
L2_HIT = 280         # clocks
PROLOGUE = 400       # instructions of a warp of matvec before its first row, without quantize_x
QUANTIZE = 84        # instructions of a warp for 512 values of x, in every block of a matvec that quantizes
QUANTIZE_LONE = 270  # clocks of the same for a block alone, besides the loads when they are not ahead of their turn
SMALL = {"norm": 1.9, "heads": 2.0, "glu": 1.6, "quantize": 1.6, "rope": 1.0, "embed": 1.5, "top_k": 10.0}   # us
ATTENTION, TRIP = {64: 1.3, 128: 3.3}, 0.53           # us with 512 positions, by head size; each wait for memory
ARCH, WARPS, FAR_K = 90, 4, 8192

# layers, n_embd, rows of q k v, of gate and up, n_ff, vocabulary, head size
SHAPES = {"0.5B": (24, 896, 1152, 9728, 4864, 151936, 64), "7B": (32, 4096, 12288, 22016, 11008, 32000, 128)}
MODELS = [("0.5B", "F16", "F16"), ("0.5B", "Q8_0", "Q8_0"), ("0.5B", "Q4_0", "Q8_0"), ("7B", "F16", "F16"),
          ("7B", "Q8_0", "Q8_0"), ("7B", "Q4_0", "Q6_K"), ("7B", "Q4_K", "Q6_K"), ("7B", "Q6_K", "Q6_K")]


class Kernels:
    def __init__(self, table):
        self.rows, _, self.version = sass_check.read_table(table)
        self.sizes = sass_check.bytes_a_value()
        self.sizes.update({"F16": 2.0})
        text = open(os.path.join(ROOT, "src", "cuda", "kernels", "matvec.cu")).read()
        self.rows_a_warp = int(re.search(r"#define ROWS\s+(\d+)", text).group(1))
        text = open(os.path.join(ROOT, "tests", "test_cuda_models.c")).read()
        self.a_layer, self.beside = (int(re.search(r"#define LAUNCHES_%s\s+(\d+)" % w, text).group(1))
                                     for w in ("A_LAYER", "BESIDE"))

    def matvec(self, type_, rows, k):
        """(us, bytes, instructions a byte) of a product with a matrix (rows, k)."""
        far = not type_.startswith("F") and k > FAR_K
        row = self.rows["matvec_%s%s.matvec_1" % ("far_" if far else "", type_), ARCH]
        loop, end, warps = int(row["loop"]), int(row["end"]), int(row["warps"])
        values = loop / float(row["ins/B"]) / self.sizes[type_]             # of a pass, over the rows of a warp
        passes = k * self.rows_a_warp / values
        near = 0 if far or type_.startswith("F") else -(-k // 512)
        groups = -(-rows // self.rows_a_warp)
        blocks = -(-groups // WARPS)
        turns = -(-blocks // (8 * SMS))
        blocks = -(-blocks // turns)
        of_group = -(-passes // 1) * loop + (end - loop)
        instructions = groups * of_group + blocks * WARPS * (PROLOGUE + near * QUANTIZE)
        bytes_ = rows * k * self.sizes[type_]
        memory = bytes_ / (RATE * REACHED)
        issue = instructions / (SMS * IPC * CLOCK)
        fit = SMS * warps // WARPS
        if blocks > fit:                                                    # a second wave, nearly empty
            issue += turns * of_group * LONE / CLOCK
        ahead = int(row["loads"]) >= 32                                     # two turns' loads of 16 bytes together
        alone = ((PROLOGUE + turns * of_group) * LONE + near * QUANTIZE_LONE
                 + L2_HIT * (1 if ahead else near)) / CLOCK
        return max(memory, issue, alone) + RAMP, bytes_, instructions / bytes_


def token(kernels, shape, type_, head):
    """(us, bytes, launches, {part: us})"""
    layers, n_embd, qkv, gate_up, n_ff, vocabulary, head_size = SHAPES[shape]
    parts, bytes_ = {}, 0

    def add(name, us, times=1):
        parts[name] = parts.get(name, 0) + us * times
    for name, rows, k, times, t in (("qkv", qkv, n_embd, layers, type_), ("wo", n_embd, n_embd, layers, type_),
                                    ("gate+up", gate_up, n_embd, layers, type_),
                                    ("down", n_embd, n_ff, layers, type_), ("head", vocabulary, n_embd, 1, head)):
        us, read, _ = kernels.matvec(t, rows, k)
        add(name, us, times)
        bytes_ += read * times
    launches = layers * kernels.a_layer + kernels.beside + 2
    if n_ff > FAR_K and not type_.startswith("F"):
        launches += layers
        add("quantize", SMALL["quantize"], layers)
    add("norm", SMALL["norm"], 2 * layers + 1)
    add("heads", SMALL["heads"], layers)
    add("glu", SMALL["glu"], layers)
    trips = int(kernels.rows["attention_F16_%d.attention_few" % head_size, ARCH]["trips"])
    add("attention", ATTENTION[head_size] + TRIP * trips, layers)
    add("beside", SMALL["rope"] + SMALL["embed"] + 2 * SMALL["top_k"] * 0.9)
    add("gaps", GAP * launches)
    return sum(parts.values()), bytes_, launches, parts


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", default=sass_check.TABLE, help="another sass.txt")
    parser.add_argument("--parts", action="store_true", help="also where the time goes")
    args = parser.parse_args()
    kernels = Kernels(args.table)
    print("Estimated from machine code (NVRTC %s, sm_%d), not measured: H200, one sequence, 512 positions, without the "
          "host's part.\n" % (kernels.version, ARCH))
    print("| model | weights | GB a token | launches | us a token | tokens/s | % of 4.8 TB/s |\n"
          "|---|---|---:|---:|---:|---:|---:|")
    for shape, type_, head in MODELS:
        us, bytes_, launches, parts = token(kernels, shape, type_, head)
        print("| %s | %s%s | %.2f | %d | %.0f | %.0f | %.0f |" %
              (shape, type_, "" if head == type_ else ", head " + head, bytes_ / 1e9, launches, us, 1e6 / us,
               100 * bytes_ / RATE / us))
        if args.parts:
            print("    " + ", ".join("%s %.0f" % p for p in parts.items()))


if __name__ == "__main__":
    main()
