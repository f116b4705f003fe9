#!/usr/bin/env python3
"""mutate_cuda: breaks the GPU's kernels, one place at a time, and expects the tests to notice.

    python3 tests/mutate_cuda.py                 every mutation; the last line is: N passed, N failed, N skipped
    python3 tests/mutate_cuda.py rows.cu head    those whose file or texts hold one of these words
    python3 tests/mutate_cuda.py --list          what there is
    python3 tests/mutate_cuda.py --sample        a sixteenth of them, another one every day, if all were noticed before
    (make test)

The tests run on the emulated GPU, which changes the text of the kernels on their way to its compiler (EMU_PATCH): the
programs are those of `make test`, built once. A mutation counts as noticed when the test fails; not when the changed
kernel does not compile, or is not used at all.
Each text must stand exactly once in all kernels, so that a mutation that went stale is an error here and not a silent
pass.
A run of all that notices all writes the digest of what decides about that into tests/results/mutations.txt: kernels,
emulator, tests, mutations. While they stay as they are, --sample is content with a sixteenth.
"""
import argparse
import glob
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import opened
import run_tests

KERNELS = os.path.join("src", "cuda", "kernels")
OPS, MATMUL = "test_cuda_ops", "test_cuda_matmul"
CHECK = {"EMU_CHECK": "1"}
TIME_LIMIT = 300
SEEN, PARTS = os.path.join("tests", "results", "mutations.txt"), 16

# (file, text, what it becomes, test program, part of it, environment)
MUTATIONS = [
    # norms, activations, element by element
    ("rows.cu", "x += shfl_xor(x, mask);", "x += shfl_xor(x, mask & 15);", OPS, "norm"),
    ("rows.cu", "for (int w = 0; w < n_warps; w++) x += shared[w];",
     "for (int w = 0; w < n_warps - 1; w++) x += shared[w];", OPS, "norm"),
    ("rows.cu", "block_sync(); /* the last sum has been read */", "", OPS, "norm"),
    ("rows.cu", "v[c].x[j] -= mean;\n                sum = fmaf", "sum = fmaf", OPS, "norm"),
    ("rows.cu", "sum = fmaf(u.x[j] - mean, u.x[j] - mean, sum);", "sum = fmaf(u.x[j], u.x[j], sum);", OPS, "norm"),
    ("rows.cu", "1.0f / sqrtf(group_sum(sum, shared) / (float)n + eps)",
     "1.0f / sqrtf(group_sum(sum, shared) / (float)n)", OPS, "norm"),
    ("rows.cu", "if (b) u.x[j] += b[i + j];", "", OPS, "norm"),
    ("rows.cu", "0.044715f", "0.0447f", OPS, "glu"),
    ("rows.cu", "x / (1.0f + expf(-x))", "x / (1.0f + expf(x))", OPS, "glu"),
    ("rows.cu", "g.x[j] *= u.x[j];", "g.x[j] = u.x[j];", OPS, "glu"),
    ("rows.cu", "factor * tanhf(v.x[j] / factor)", "factor * tanhf(v.x[j] * factor)", OPS, "softcap"),
    # rotation, embedding
    ("rope.cu", "fma(-n, 9.920935791635221e-10,", "fma(-n, 0.0,", OPS, "rope"),
    ("rope.cu", "if ((quadrant + 1) & 2)", "if (quadrant & 2)", OPS, "rope"),
    ("rope.cu", "*q = a * t.y + b * t.x;", "*q = a * t.y - b * t.x;", OPS, "rope"),
    ("rope.cu", "(neox ? half : 1)", "(neox ? half + half % 2 : 1)", OPS, "rope"),
    ("rope.cu", "        to[half + i] = from[half + i];\n        return;", "        return;", OPS, "rope"),
    ("rope.cu", "*to = out + row * out_stride + (i64)head", "*to = out + row * x_stride + (i64)head", OPS, "rope"),
    ("embed.cu", "add ? fmaf(x, scale, *add) : x * scale", "add ? x + *add : x * scale", OPS, "embed"),
    ("embed.cu", "if (at >= k / 32) return;", "if (at > k / 32) return;", OPS, "embed"),
    ("embed.cu", "if (add) add += (i64)blockIdx.y * k;", "if (add) add = to;", OPS, "embed"),
    # heads and the cache
    ("kv.cu", "if (i % 32 == 0) *(half_t *)block = f2h(d);", "if (i % 32 == 0) *(half_t *)block = f2h(d * 1.01f);",
     OPS, "attention Q8_0"),
    ("kv.cu", "k_cache + page * page_bytes_k + (i64)(head * 32 + p % 32) * row_bytes_k",
     "k_cache + page * page_bytes_k + (i64)(head * 32 + p % 31) * row_bytes_k", OPS, "attention F16 64"),
    ("kv.cu", "for (int mask = 16; mask; mask /= 2) most = max", "for (int mask = 8; mask; mask /= 2) most = max", OPS,
     "attention Q8_0"),
    ("kv.cu", "mean = warp_sum(mean) / (float)n;", "mean = warp_sum(mean) / 32.0f;", OPS, "heads"),
    ("kv.cu", "(neox ? i % half : i / 2)", "(neox ? i / 2 : i / 2)", OPS, "heads"),
    ("kv.cu", "x[j] = first ? x[j] * t.x - other * t.y : other * t.y + x[j] * t.x;",
     "x[j] = first ? x[j] * t.x - other * t.y : other * t.x + x[j] * t.y;", OPS, "heads"),
    ("kv.cu", "is_q ? at : (at - a.n_head) % a.n_head_kv", "is_q ? at : (at - a.n_head) % (a.n_head_kv + 1)", OPS,
     "heads"),
    ("kv.cu", "if (i >= 2 * half) break;", "", OPS, "heads"),
    ("kv.cu", "(is_q ? a.q_out : a.k_out) + row * a.out_stride", "(is_q ? a.q_out : a.k_out) + row * a.stride", OPS,
     "heads"),
    # attention: what is seen, the splits and their join
    ("attention_args.cu", "max(pos - window + 1, 0)", "max(pos - window, 0)", OPS, "window 50"),
    ("attention_args.cu", "while (pages * max_splits < total) pages *= 2;", "", OPS, "long attention"),
    ("attention_args.cu", "softcap * (1.0f - 2.0f / (expf(2.0f * s / softcap) + 1.0f))",
     "softcap * (1.0f - 2.0f / (expf(s / softcap) + 1.0f))", OPS, "cap 30"),
    ("attention_args.cu", "m == NOTHING ? 0.0f : m", "m", OPS, "window"),
    ("attention_args.cu", "atomicAdd(done, 1) == n_splits - 1", "atomicAdd(done, 1) == n_splits - 2", OPS,
     "attention F16 64"),
    ("attention_args.cu", "if (last) *done = 0;", "", OPS, "attention F16 64"),
    ("attention_args.cu", "high = lane + 32 < n_splits;", "high = false;", OPS, "long attention"),
    ("attention_args.cu", "fmaxf(fmaxf(m0, m1), sink)", "fmaxf(m0, sink)", OPS, "long attention"),
    ("attention_args.cu", "weight[h * MAX_SPLITS + lane + 32] = w1 / sum;",
     "weight[h * MAX_SPLITS + lane + 32] = w0 / sum;", OPS, "long attention"),
    ("attention_args.cu", " +\n            fast_exp(sink - top)", "", OPS, "attention F16 64/64, 14"),
    ("attention_args.cu", "part[lane * step + 1] * w0 : 0.0f", "part[lane * step + 1] : 0.0f", OPS, "attention F16"),
    # attention of few rows
    ("attention.cu", "state.l = fmaf(state.l, c, sum);", "state.l += sum;", OPS, "attention F16"),
    ("attention.cu", "        state.o[j][1] *= c;\n", "", OPS, "attention F16"),
    ("attention.cu", "s[j][i] = cap(s[j][i], softcap);", "s[j][i] = cap(s[j][i], 0.1f * softcap);", OPS, "cap 30"),
    ("attention.cu", "if (at < low || at >= high) s[j][i] = NOTHING;", "if (at >= high) s[j][i] = NOTHING;", OPS,
     "window 50"),
    ("attention.cu", "const u32 order = j % 2 ? 0x7632 : 0x5410", "const u32 order = j % 2 ? 0x5410 : 0x7632", OPS,
     "attention F16"),
    ("attention.cu", "const int at = i / 64 * 64 + i % 8 * 8 + i % 64 / 8;",
     "const int at = i / 64 * 64 + i % 64 / 8 * 8 + i % 8;", OPS, "attention F16"),
    ("attention.cu", "d * (float)(i8)(two & 255), d * (float)(i8)(two >> 8)",
     "d * (float)(i8)(two & 255), d * (float)(two >> 8)", OPS, "attention Q8_0"),
    ("attention.cu", "all = fmaf(l[w][query], c, all);", "all += l[w][query];", OPS, "attention F16"),
    ("attention.cu", "page < to; page += 4", "page < to; page += 5", OPS, "attention F16"),
    # attention of many rows
    ("attention.cu", "const bool there = at >= low && at < high;", "const bool there = at >= low && at <= high;", OPS,
     "attention F16"),
    ("attention.cu", "if (key > pos[i / 2] ||", "if (key > pos[0] ||", OPS, "attention F16"),
    ("attention.cu", "s[j][i] = cap(s[j][i] * scale, softcap);", "s[j][i] = cap(s[j][i], softcap);", OPS, "cap 30"),
    ("attention.cu", "const half_t *at = k + (lane / 16 * 8 + lane % 8) * STRIDE + lane / 8 % 2 * 8;",
     "const half_t *at = k + lane % 16 * STRIDE + lane / 16 * 8;", OPS, "attention F16"),
    ("attention.cu", "l[r] = fmaf(l[r], c, sum);", "l[r] = l[r] + sum;", OPS, "attention F16"),
    ("attention.cu", "block_sync(); /* V is there; nobody reads K any more */", "", OPS, "attention F16 64/64, 4",
     CHECK),
    ("attention.cu", "l[r] = fmaf(l[r], factor, fast_exp(a.sinks[head] - top));", "", OPS, "attention F16 64/64, 14"),
    # attention in float32
    ("attention_any.cu", "if (key > pos || key < first_seen(pos, a.window)) s[j] = NOTHING;",
     "if (key > pos) s[j] = NOTHING;", OPS, "attention F32"),
    ("attention_any.cu", "l[j] = fmaf(l[j], c, warp_sum(e));", "l[j] = fmaf(l[j], c, e);", OPS, "attention F32"),
    ("attention_any.cu", "acc[j][i] *= c;", "acc[j][i] *= 1;", OPS, "attention F32"),
    ("attention_any.cu", "block_sync(); /* p is there; nobody reads K any more */", "", OPS, "attention F32 16", CHECK),
    # the largest logits
    ("select.cu", "u & 0x80000000u ? ~u : u | 0x80000000u", "u | 0x80000000u", OPS, "top_k"),
    ("select.cu", "__float_as_uint(x + 0.0f)", "__float_as_uint(x)", OPS, "top_k"),
    ("select.cu", "x == c.key && equal_below++ < c.equal", "x == c.key && equal_below++ <= c.equal", OPS, "top_k"),
    ("select.cu", "kept_key[j] == mine && j < (int)threadIdx.x", "kept_key[j] == mine && j > (int)threadIdx.x", OPS,
     "top_k"),
    ("select.cu", "if (lane >= d) sum += other;", "if (lane > d) sum += other;", OPS, "top_k"),
    ("select.cu", "m == most ? 1.0f : expf(m - most)", "1.0f", OPS, "top_k"),
    ("select.cu", "ids[part * k + place] = first + j < n_vocab ? first + j : -1;",
     "ids[part * k + place] = first + j;", OPS, "top_k"),
    ("select.cu", "*mask |= (digits - 1) << shift;", "", OPS, "top_k"),
    # blocks of weights
    ("quant.cu", "((bits & 15u) * 0x02040810u) & 0x10101010u", "((bits & 15u) * 0x02040810u) & 0x10101000u", OPS,
     "embed"),
    ("quant.cu", "d * (TYPE == TYPE_Q4_0 ? 8.0f : 16.0f)", "d * 8.0f", OPS, "embed"),
    ("quant.cu", "p->w[4 + j] |= (int)(two << 3 & 0x10101010u);", "p->w[4 + j] |= (int)(two << 4 & 0x10101010u);", OPS,
     "embed"),
    ("quant.cu", "(head[3] >> 4 & 0x0F0F0F0Fu) | (head[2] >> 2 & 0x30303030u)",
     "(head[3] & 0x0F0F0F0Fu) | (head[2] >> 2 & 0x30303030u)", OPS, "embed"),
    ("quant.cu", "u32 high = h[j] >> (r & 2);", "u32 high = h[j] >> (r & 1);", OPS, "embed"),
    ("quant.cu", "p->s[1] = d * (float)(b - 32);", "p->s[1] = d * (float)(b - 31);", OPS, "embed"),
    ("quant.cu", "p->m[1] = dmin * (float)(b >> 4);", "p->m[1] = dmin * (float)(a >> 4);", OPS, "embed"),
    ("quant.cu", "between ? 0x5432u : 0x3210u", "0x3210u", OPS, "embed"),
    # types that are read by fours
    ("quant.cu", "f.q = iq4_codes(q >> (at & 16 ? 4 : 0) & 0x0F0F0F0Fu);",
     "f.q = iq4_codes(q >> (at & 8 ? 4 : 0) & 0x0F0F0F0Fu);", OPS, "embed"),
    ("quant.cu", "(low & ~is_high) | (high & is_high)", "(low & ~is_high) | (low & is_high)", OPS, "embed"),
    ("quant.cu", "*(const u16 *)(block + 2) >> 2 * sub & 3;",
     "*(const u16 *)(block + 2) >> 2 * sub & 1;", OPS, "embed"),
    ("quant.cu", "four f = decode_four(block, 32 * piece_ + 4 * j);",
     "four f = decode_four(block, 4 * j);", OPS, "embed"),
    ("matbatch.cu", "int first = 32 * (step % PIECES) + 4 * t;", "int first = 4 * t;", MATMUL, "few rows"),
    ("matbatch.cu", "b = decode_four(block, first + 16);", "b = decode_four(block, first);", MATMUL, "few rows"),
    # one row
    ("matvec.cu", "(group + 1) * ROWS >= m.rows;", "(group + 1) * ROWS > m.rows;", MATMUL, "few rows", CHECK),
    ("matvec.cu", "units[r]--; /* W ends within it */", "", MATMUL, "few rows", CHECK),
    ("matvec.cu", "            p->phase[r] = phase_of(at);", "", MATMUL, "few rows"),
    ("matvec.cu", "next = load_four(x, at + 128 * WARPS, o->k);", "next = load_four(x, at + 128, o->k);", MATMUL,
     "few rows"),
    ("matvec.cu", "sum[r][j] = fmaf(p[r].s[0] * d0, (float)dot16(p[r].w, x0, 0), fmaf(-p[r].m[0], s0, sum[r][j]));",
     "sum[r][j] = fmaf(p[r].s[0] * d0, (float)dot16(p[r].w, x0, 0), fmaf(-p[r].m[0], s1, sum[r][j]));", MATMUL,
     "few rows"),
    ("matvec.cu", "for (int mask = 4; mask > 0; mask >>= 1) bits = max",
     "for (int mask = 2; mask > 0; mask >>= 1) bits = max", MATMUL, "few rows"),
    ("matvec.cu", "sum += shfl_xor(sum, 2);", "", MATMUL, "few rows"),
    ("matvec.cu", "if (lane == r * N + j) mine = v;", "if (lane == r + N * j) mine = v;", MATMUL, "few rows"),
    ("matvec.cu", "mine += m.add[(i64)(first + j) * m.add_stride + row];", "mine += *y;", MATMUL, "few rows"),
    ("matvec.cu", "while (i < ms.n - 1 && *group >= groups_of(ms.m[i]))",
     "while (i < ms.n - 1 && *group > groups_of(ms.m[i]))", MATMUL, "several"),
    ("matvec.cu", "*(u32 *)(to + place_of(at & ~31, at & 31)) = word;", "*(u32 *)(to + at) = word;", MATMUL,
     "few rows"),
    ("matvec.cu", "there >= VALUES && ((u64)p & 15) == 0) {\n        uint4 u", "there >= 0) {\n        uint4 u",
     MATMUL, "few rows"),
    ("matvec.cu", "slot = slot == STAGES - 1 ? 0 : slot + 1;\n    }\n}\n\n#define MATVEC",
     "slot = slot == STAGES - 2 ? 0 : slot + 1;\n    }\n}\n\n#define MATVEC", MATMUL, "few rows"),
    # 2 to 64 rows
    ("matbatch.cu", "#define CENTER 32", "#define CENTER 31", MATMUL, "few rows"),
    ("matbatch.cu", "u32 a[4] = { lo.q[0], hi.q[0], 0u, 0u }, c[4] = { 0u, 0u, lo.q[1], hi.q[1] };",
     "u32 a[4] = { lo.q[0], hi.q[0], 0u, 0u }, c[4] = { lo.q[1], hi.q[1], 0u, 0u };", MATMUL, "few rows"),
    ("matbatch.cu", "make_float2(s0.x + s1.x, s0.y + s1.y)", "make_float2(s0.x + s1.x, s0.y + s0.y)", MATMUL,
     "few rows"),
    ("matbatch.cu", "if (j > 0 && 8 * j >= x.n) break;", "if (j > 0 && 8 * j + 8 >= x.n) break;", MATMUL, "few rows"),
    ("matbatch.cu", "whole = first + 16 * units <= limit ? units : units - 1;", "whole = units;", MATMUL, "few rows",
     CHECK),
    ("matbatch.cu", "for (int part = 0; part < WARPS; part++) v +=",
     "for (int part = 0; part < WARPS - 1; part++) v +=", MATMUL, "few rows"),
    ("matbatch.cu", "if (m.add) v += m.add[row * m.add_stride + first + r];", "", MATMUL, "few rows"),
    ("matbatch.cu", "m.add[row * m.add_stride + first + r]", "m.y[row * m.y_stride + first + r]", MATMUL, "few rows"),
    ("quantize.cu", "half = i >> 4 & 1, t = i >> 2 & 3", "half = i >> 4 & 1, t = i >> 2 & 1", MATMUL, "few rows"),
    ("quantize.cu", "for (int mask = 8; mask > 0; mask >>= 1) sum +=",
     "for (int mask = 16; mask > 0; mask >>= 1) sum +=", MATMUL, "few rows"),
    ("quantize.cu", "r.q = inverse > 0.0f ? (int)rintf(v * inverse) : 0;",
     "r.q = inverse > 0.0f ? (int)(v * inverse) : 0;", MATMUL, "few rows"),
    ("quantize.cu", "(add ? add[(i64)blockIdx.y * add_stride + i] : 0.0f)", "0.0f", MATMUL, "several"),
    # many rows
    ("dequantize.cu", "block * BLOCK + half_at(which, h)", "block * BLOCK + half_at(which, 0) + 16 * h", MATMUL,
     "many rows"),
    ("gemm.cu", "row * 4 + (chunk ^ (row >> 1 & 3))", "row * 4 + (chunk ^ (row >> 1 & 7))", MATMUL, "many rows, own"),
    ("gemm.cu", "b[j + 1][0] = four[2];\n                b[j + 1][1] = four[3];",
     "b[j + 1][0] = four[3];\n                b[j + 1][1] = four[2];", MATMUL, "many rows, own"),
    ("gemm.cu", "cp_wait<STAGES - 2>();\n        block_sync(); /* everyone's", "block_sync(); /* everyone's", MATMUL,
     "many rows, own", CHECK),
    ("gemm.cu", "bool valid = first + row < rows && k0 + 8 * chunk < k;", "bool valid = first + row < rows;", MATMUL,
     "many rows, own"),
    ("gemm_f32.cu",
     "sum[i / 4][i % 4] = fmaf(a[i / 4], b[i % 4], sum[i / 4][i % 4]);\n        }\n        block_sync();",
     "sum[i / 4][i % 4] = fmaf(a[i / 4], b[i % 4], sum[i / 4][i % 4]);\n        }", MATMUL, "many rows, own", CHECK),
    ("gemm_f32.cu", "first + row < rows && k0 + at < k ?", "first + row < rows ?", MATMUL, "many rows, own"),
    ("gemm.cu", "\n                if (p.add) v += p.add[row * p.add_stride + column];",
     "\n                if (p.add) v += *y;", MATMUL, "many rows, own"),
    ("gemm_f32.cu", "\n        if (p.add) v += p.add[row * p.add_stride + column];", "\n        if (p.add) v += *y;",
     MATMUL, "many rows, own"),
    # mixtures of experts: the choice, the order, the sum
    ("experts.cu", "(all[j] == x && j < id)", "(all[j] == x && j > id)", OPS, "route"),
    ("experts.cu", "if (x != x) x = lowest;", "", OPS, "route"),
    ("experts.cu", "for (int w = 0; w < n_warps; w++) total += warps[w];", "total += warps[0];", OPS, "route"),
    ("experts.cu", "for (int w = 0; w < n_warps; w++) most = fmaxf(most, warps[w]);", "", OPS, "route"),
    ("experts.cu", "block_sync(); /* the maxima have been read */", "", OPS, "route"),
    ("experts.cu", "chosen[id] / total * scale", "chosen[id] / total", OPS, "route"),
    ("experts.cu", "for (int w = 0; w < warp; w++) at += own[w];", "", OPS, "sort by expert"),
    ("experts.cu", "if (lane >= d) upto += other;", "upto += other;", OPS, "sort by expert"),
    ("experts.cu", "order[i] = -1;", "order[i] = 0;", OPS, "sort by expert"),
    ("experts.cu", "tiles += (counts[i] + tile - 1) / tile;", "tiles += counts[i] / tile;", OPS, "sort by expert"),
    ("experts.cu", "counts[i] = 0;\n    block_sync();", "counts[i] = 0;", OPS, "sort by expert"),
    ("experts.cu", "min(tile, count - i * tile)", "tile", OPS, "sort by expert"),
    ("experts.cu", "total[1] = end;", "total[1] = places;", OPS, "sort by expert"),
    ("rows.cu", "x + (row * n_used + s) * n + i", "x + (row + s) * n + i", OPS, "combine"),
    ("rows.cu", "weights[row * n_used + s]", "weights[s]", OPS, "combine"),
    ("rows.cu", "v.x[j] += sum.x[j];", "v.x[j] = sum.x[j];", OPS, "combine"),
    ("rows.cu", "vec<V> v = load_vec<V>(add + row * n + i), sum;", "vec<V> v = load_vec<V>(out + row * n + i), sum;",
     OPS, "combine"),
    # recurrence
    ("recurrent.cu", "else if (run[2] >= 0)\n        before", "else\n        before", OPS, "shift"),
    ("recurrent.cu", "slots[run[3] * slot_stride + i] =", "slots[run[2] * slot_stride + i] =", OPS, "shift"),
    ("recurrent.cu", "x[(i64)(run[0] + run[1] - 1) * n + i]", "x[(i64)run[0] * n + i]", OPS, "shift"),
    ("recurrent.cu", "m++) out[m * plane + at]", "m++) out[(i64)m * gridDim.y * n + at]", OPS, "shift"),
    ("recurrent.cu", "if (first && first < back) return;", "", OPS, "shortconv", CHECK),
    ("recurrent.cu", "min(back, run[1]) - 1", "back - 1", OPS, "shortconv"),
    ("recurrent.cu", "conv_value(a, run, run[1] - back + j, i);", "conv_value(a, run, 1 - back + j, i);", OPS,
     "shortconv"),
    ("recurrent.cu", "for (int j = 0; j < back; j++) /*", "for (int j = back - 1; j >= 0; j--) /*", OPS, "shortconv"),
    ("recurrent.cu", "run[2] < 0 ? 0.0f : a.slots", "a.slots", OPS, "shortconv"),
    ("recurrent.cu", "x.gate = a.gate ? a.gate[from] : 1.0f;", "x.gate = 1.0f;", OPS, "wkv7"),
    ("recurrent.cu", "a.v_first[row * a.v_first_stride + at]", "a.v_first[row * a.stride + at]", OPS, "wkv7"),
    ("recurrent.cu", "block_sync(); /* the last sums have been read, and what the rows share */", "", OPS, "wkv7",
     CHECK),
    ("recurrent.cu", "sums[2 * warp + 1] = y;", "sums[2 * warp + 1] = x;", OPS, "wkv7"),
    ("recurrent.cu", "mine && j < size && run[2] >= 0 ? a.slots", "mine && j < size ? a.slots", OPS, "wkv7"),
    ("recurrent.cu", "wkv7_load(next, a, row + 1, at);", "wkv7_load(next, a, row, at);", OPS, "wkv7"),
    ("recurrent.cu", "x.k * fmaf(rate - 1.0f, k_a, 1.0f);", "x.k * fmaf(rate, k_a, 1.0f);", OPS, "wkv7"),
    ("recurrent.cu", "length < 1e-12f ? 1e-12f : length", "length", OPS, "wkv7"),
    ("recurrent.cu", "mine ? -kk : 0.0f;\n        block_sync();", "mine ? -kk : 0.0f;", OPS, "wkv7", CHECK),
    ("recurrent.cu", "mine ? make_float4(expf(-0.606531f * sigmoid(x.decay)), kk * rate, k, x.r)",
     "mine ? make_float4(expf(-0.606531f * sigmoid(x.decay)), kk, k, x.r)", OPS, "wkv7"),
    ("recurrent.cu", "sa = fmaf(m[j + 3], f.w, sa);", "", OPS, "wkv7"),
    ("recurrent.cu", "fmaf(sa, f.y, m[j] * f.x)", "fmaf(sa, f.y, m[j])", OPS, "wkv7"),
    ("recurrent.cu", "pair_sum(mine ? y * y : 0.0f", "pair_sum(y * y", OPS, "wkv7"),
    ("recurrent.cu", "fmaf(sum.y, v, y) * x.gate", "y * x.gate", OPS, "wkv7"),
    ("recurrent.cu", "a.slots[run[3] * a.slot_stride + matrix + (i64)j * size] = m[j];",
     "a.slots[run[3] * a.slot_stride + matrix + j] = m[j];", OPS, "wkv7"),
    ("rows.cu", "x < 0.0f ? 0.0f : x * x", "x * x", OPS, "glu"),
    ("rows.cu", "if (act == TANH) return tanhf(x);", "", OPS, "glu"),
    ("rows.cu", "(act == SIGMOID) return 1.0f / (1.0f + expf(-x));",
     "(act == SIGMOID) return 1.0f / (1.0f + expf(x));", OPS, "glu"),
    # their products: one by one
    ("matvec.cu", "ids[row], row, memory", "ids[of_x], row, memory", MATMUL, "experts, one by one"),
    ("matvec.cu", "of_x = row / share;", "of_x = row;", MATMUL, "experts, one by one"),
    ("matvec.cu", "o.d += (i64)of_x * (o.k / 32);", "", MATMUL, "experts, one by one"),
    ("matvec.cu", "o.s += (i64)of_x * (o.k / 16);", "", MATMUL, "experts, one by one"),
    ("matvec.cu", "const u8 *w = m.w + expert * m.next;", "const u8 *w = m.w;", MATMUL, "experts, one by one"),
    ("matvec.cu", "m.y + (i64)(first + j) * m.y_stride", "m.y + (i64)j * m.y_stride", MATMUL, "experts, one by one"),
    # sorted
    ("matbatch.cu", "if ((int)blockIdx.y >= rows.total[0]) return;", "", MATMUL, "experts, sorted"),
    ("matbatch.cu", "x.n = tile.z;", "x.n = 8;", MATMUL, "experts, sorted"),
    ("matbatch.cu", "x.d += steps * 8;", "", MATMUL, "experts, sorted"),
    ("matbatch.cu", "x.s += steps * 16;", "", MATMUL, "experts, sorted"),
    ("matbatch.cu", "row_of ? row_of[j] : j;", "j;", MATMUL, "experts, sorted"),
    ("matbatch.cu", "m.w + expert * m.next, *limit = w + (i64)m.rows * x.row_bytes",
     "m.w, *limit = w + (i64)m.rows * x.row_bytes", MATMUL, "experts, sorted"),
    ("quantize.cu", "x[(i64)(row / share) * x_stride + i]", "x[(i64)row * x_stride + i]", MATMUL, "experts, sorted"),
    ("quantize.cu", "row >= 0 ? x[", "row >= -1 ? x[", MATMUL, "experts, sorted", CHECK),
    ("quantize.cu", "if (i >= k || at >= total[1]) return;", "if (i >= k) return;", MATMUL, "experts, sorted", CHECK),
    ("gemm.cu", "y_rows[threadIdx.x] / rows.share; \\", "y_rows[threadIdx.x]; \\", MATMUL, "experts, sorted"),
    ("gemm.cu", "p.w += tile.x * p.next; \\", "\\", MATMUL, "experts, sorted"),
    ("gemm.cu", "(y_rows ? y_rows[row] : row) * p.y_stride + column, v = sum[i][j][e]",
     "row * p.y_stride + column, v = sum[i][j][e]", MATMUL, "experts, sorted"),
    ("gemm.cu", "            } \\\n            block_sync(); \\\n", "            } \\\n", MATMUL, "experts, sorted",
     CHECK),
    ("gemm.cu", "p.n = tile.z; \\", "\\", MATMUL, "experts, sorted"),
    ("gemm_f32.cu", "y_rows[threadIdx.x] / rows.share;\n", "y_rows[threadIdx.x];\n", MATMUL, "experts, sorted"),
    ("gemm_f32.cu", "p.next * BLOCK_BYTES;", "p.next;", MATMUL, "experts, sorted"),
    ("gemm_f32.cu", "(y_rows ? y_rows[row] : row) * p.y_stride + column, v = sum[i / 4][i % 4]",
     "row * p.y_stride + column, v = sum[i / 4][i % 4]", MATMUL, "experts, sorted"),
    ("gemm_f32.cu", "    p.n = tile.z;\n    p.w", "    p.w", MATMUL, "experts, sorted"),
    # gradients
    ("embed.cu", "fmaf(from[first + 256 * j], scale, sum[j])", "fmaf(from[first + 256 * j], 1.0f, sum[j])", OPS,
     "embed_back"),
    ("embed.cu", "if (found[w]) return; /*", "if (found[w] == 77u) return; /*", OPS, "embed_back"),
    ("embed.cu", "r >= row && r < n && index[r] == mine", "r > row && r < n && index[r] == mine", OPS, "embed_back"),
    ("embed.cu", "block_sync(); /* what was found before has been read */", "", OPS, "embed_back", CHECK),
    ("embed.cu", "base < n; base += 256", "base < n; base += 512", OPS, "embed_back"),
    ("embed.cu", "(index ? index[blockIdx.y] : (i64)blockIdx.y)", "(index ? index[blockIdx.y] : 0)", OPS,
     "matmul_back_x"),
    ("rows.cu", "a.w ? dy[i] * a.w[i] : dy[i], d = (g", "dy[i], d = (g", OPS, "norm_back"),
    ("rows.cu", "both = fmaf(g, (x[i] - mean) * scale, both);", "both = fmaf(g, x[i] - mean, both);", OPS, "norm_back"),
    ("rows.cu", "(g - g_mean - (x[i] - mean)", "(g - (x[i] - mean)", OPS, "norm_back"),
    ("rows.cu", "dx[i] = add ? add[i] + d : d;", "dx[i] = d;", OPS, "norm_back"),
    ("rows.cu", "a.stats[2 * at + 1] = scale;", "a.stats[2 * at + 1] = 1.0f / scale;", OPS, "norm_back"),
    ("rows.cu", "at < n && column < a.n; at += 32", "at < n && column < a.n; at += 33", OPS, "norm_back"),
    ("rows.cu", "i = at % a.n_group * a.n + column", "i = column", OPS, "norm_back"),
    ("rows.cu", "b_sums[y][x] = b_sum;\n    block_sync();", "b_sums[y][x] = b_sum;", OPS, "norm_back"),
    ("rows.cu", "for (int i = 1; i < 32; i++) {\n        w_sum", "for (int i = 1; i < 31; i++) {\n        w_sum", OPS,
     "norm_back"),
    ("rows.cu", "if (a.db) a.db[column] += b_sum;", "if (a.db) a.db[column] = b_sum;", OPS, "matmul_back_w"),
    ("rows.cu", "0.134145f", "0.044175f", OPS, "glu_back"),
    ("rows.cu", "return 1.0f - t * t;", "return 1.0f - t;", OPS, "glu_back"),
    ("rows.cu", "x < 0.0f ? 0.0f : 2.0f * x", "x < 0.0f ? 0.0f : x", OPS, "glu_back"),
    ("rows.cu", "s * (1.0f + x * (1.0f - s)) :", "s * (1.0f + x * s) :", OPS, "glu_back"),
    ("rows.cu", "expf(-0.5f * x * x) * 0.3989422804f", "expf(-0.5f * x * x) * 0.5f", OPS, "glu_back"),
    ("rows.cu", "if (up) dup[at] = d * activate(x, act);", "if (up) dup[at] = before * activate(x, act);", OPS,
     "glu_back"),
    ("gemm_f32.cu", "*c = q.add ? *c + sum : sum;", "*c = sum;", OPS, "matmul_back_w, own"),
    ("gemm_f32.cu", "block_sync(); /* the tiles have been read */", "", OPS, "matmul_back_x, own", CHECK),
    ("gemm_f32.cu", "if (row < m && column < n) put", "if (row < m) put", OPS, "matmul_back_w, own"),
    ("gemm_f32.cu", "q.b[at * q.b_p + column]", "q.b[at * q.n + column]", OPS, "matmul_back_w, own"),
    ("gemm_f32.cu", "row * q.a_m + at * q.a_p", "row * q.a_m + at", OPS, "matmul_back_w, own"),
    ("attention_any.cu", "delta[j] = warp_sum(delta[j]);", "", OPS, "attention_back"),
    ("attention_any.cu", "if (!sees(a, row0 + mine + j, page * PAGE + lane)) s[j] = NOTHING;", "", OPS,
     "attention_back"),
    ("attention_any.cu", "key <= row && key >= first_seen(row, a.window)", "key <= row", OPS, "attention_back"),
    ("attention_any.cu", "*slope = scale * (1.0f - c * c);", "*slope = scale;", OPS, "attention_back"),
    ("attention_any.cu", "l[j] = fmaf(l[j], expf(m[j] - zero), ", "l[j] += (", OPS, "attention_back"),
    ("attention_any.cu", "l[j] = 1.0f / l[j];", "", OPS, "attention_back"),
    ("attention_any.cu", "p * (dp[j] - delta[j]) * slope", "p * dp[j] * slope", OPS, "attention_back"),
    ("attention_any.cu", "block_sync(); /* nobody reads the last keys any more */", "", OPS, "attention_back", CHECK),
    ("attention_any.cu", "block_sync(); /* nobody reads the last keys and values any more */", "", OPS,
     "attention_back", CHECK),
    ("attention_any.cu", "block_sync(); /* nobody reads the last queries any more */", "", OPS, "attention_back",
     CHECK),
    ("attention_any.cu", "block_sync(); /* all probabilities are there */", "", OPS, "attention_back", CHECK),
    ("attention_any.cu", "warp_sync(); /* a warp reads only its own */", "", OPS, "attention_back"),
    ("attention_any.cu", "min(rows, key0 + PAGE - 1 + a.window)", "min(rows, key0 + a.window)", OPS, "attention_back"),
    ("attention_any.cu", "head < (head_kv + 1) * group; head++", "head < head_kv * group + 1; head++", OPS,
     "attention_back"),
    ("attention_any.cu", "expf(s - stats.x) * stats.y", "expf(s - stats.x)", OPS, "attention_back"),
    ("attention_any.cu", "acc_k[j][c] = fmaf(of_k[j], x, acc_k[j][c]);", "acc_k[j][c] = fmaf(of_v[j], x, acc_k[j][c]);",
     OPS, "attention_back"),
    ("attention_any.cu", "a.stats[(i64)head * a.n + first + min(", "a.stats[(i64)head * a.n + min(", OPS,
     "attention_back"),
    ("attention_any.cu", "row < rows && at < dim ?", "at < dim ?", OPS, "attention_back", CHECK),
    ("attention_any.cu", "m[j] = sink;", "m[j] = NOTHING;", OPS, "attention_back, sinks"),
    ("attention_any.cu", "l[j] = 1.0f; /* of the sink", "l[j] = 0.0f; /* of the sink", OPS, "attention_back, sinks"),
    ("attention_any.cu", "* l[j] * -delta[j];", "* l[j] * delta[j];", OPS, "attention_back, sinks"),
    ("attention_any.cu", "(first + row0 + mine + j) * a.n_head + head]", "(row0 + mine + j) * a.n_head + head]", OPS,
     "attention_back, sinks"),
    # gradients of recurrent layers
    ("recurrent.cu", "const bool last = row + 1 == run[0] + run[1];", "const bool last = row + 1 == run[1];", OPS,
     "shift_back"),
    ("recurrent.cu", "1.0f - share, d)", "share, d)", OPS, "shift_back"),
    ("recurrent.cu", "dout[m * plane + at + n]", "dout[m * plane + at]", OPS, "shift_back"),
    ("recurrent.cu", "row < rows && there; row += 32", "row < rows && there; row += 33", OPS, "shift_back"),
    ("recurrent.cu", "sums[threadIdx.y][threadIdx.x] = sum;\n    block_sync();",
     "sums[threadIdx.y][threadIdx.x] = sum;", OPS, "shift_back", CHECK),
    ("recurrent.cu", "y < 32 && threadIdx.y == 0", "y < 31 && threadIdx.y == 0", OPS, "shortconv_back"),
    ("recurrent.cu", "row == runs[4 * run_of_row[row]] ? 0.0f", "row == 0 ? 0.0f", OPS, "shift_back"),
    ("recurrent.cu", "dmix[(i64)m * n + i] += sum;", "dmix[(i64)m * n + i] = sum;", OPS, "shift_back"),
    ("recurrent.cu", "min(back, row - run[0])", "min(back, row)", OPS, "shortconv_back"),
    ("recurrent.cu", "min(back, run[0] + run[1] - 1 - row)", "min(back, a.rows - 1 - row)", OPS, "shortconv_back"),
    ("recurrent.cu", "fmaf(w[back - j], conv_ds", "fmaf(w[j], conv_ds", OPS, "shortconv_back"),
    ("recurrent.cu", "to[2 * a.n] = du * from[0];", "to[2 * a.n] = du * from[a.n];", OPS, "shortconv_back"),
    ("recurrent.cu", "row - back < a.runs[4 * a.run_of_row[row]]", "row - back < 0", OPS, "shortconv_back"),
    ("recurrent.cu", "a.dw[(i64)i * a.taps + j] += sum;", "a.dw[(i64)i * a.taps + j] = sum;", OPS, "shortconv_back"),
    ("recurrent.cu", "raw / (c.norm < 1e-12f ? 1e-12f : c.norm)", "raw / c.norm", OPS, "wkv7_back"),
    ("recurrent.cu", "t.back[i] = kk * c.rate;", "t.back[i] = kk;", OPS, "wkv7_back"),
    ("recurrent.cu", "t.back[i] = kk * c.rate;\n    }\n    block_sync();", "t.back[i] = kk * c.rate;\n    }", OPS,
     "wkv7_back", CHECK),
    ("recurrent.cu", "other = i + width; other < WKV_BACK;", "other = i + width; other < 2 * width;", OPS, "wkv7_back"),
    ("recurrent.cu", "t.parts[1][threadIdx.x] = sum.y;\n    block_sync();", "t.parts[1][threadIdx.x] = sum.y;", OPS,
     "wkv7_back", CHECK),
    ("recurrent.cu", "if (of) of[i] = sum.y;", "if (of) of[i] = sum.x;", OPS, "wkv7_back"),
    ("recurrent.cu", "fmaf(t.sa[i], t.back[j], before[at] * t.w[j])", "before[at] * t.w[j]", OPS, "wkv7_back"),
    ("recurrent.cu", "fmaf(-hat, sum.y / n, g - sum.x / n)", "fmaf(-hat, sum.y / n, g)", OPS, "wkv7_back"),
    ("recurrent.cu", "fmaf(c.bonus, v, fmaf(hat, c.ln_w, c.ln_b))", "fmaf(hat, c.ln_w, c.ln_b)", OPS, "wkv7_back"),
    ("recurrent.cu", "c.of[3] = fmaf(c.dz, hat, c.of[3]);", "c.of[3] = c.dz * hat;", OPS, "wkv7_back"),
    ("recurrent.cu", "fmaf(t.dsa[i], t.away[j], now * t.w[j])", "now * t.w[j]", OPS, "wkv7_back"),
    ("recurrent.cu", "daway = fmaf(p, t.dsa[i], daway);", "daway = fmaf(now, t.dsa[i], daway);", OPS, "wkv7_back"),
    ("recurrent.cu", "t.daway[j] = daway;\n    }\n    block_sync();", "t.daway[j] = daway;\n    }", OPS, "wkv7_back",
     CHECK),
    ("recurrent.cu", "*first = fmaf(dv, s, *first);", "*first = dv * s;", OPS, "wkv7_back"),
    ("recurrent.cu", "a.dv[from] = dv * (1.0f - s);", "a.dv[from] = dv;", OPS, "wkv7_back"),
    ("recurrent.cu", "fmaf(-kk, along, dkk)", "dkk", OPS, "wkv7_back"),
    ("recurrent.cu", "fmaf(t.dback[j], c.rate, -t.daway[j])", "-t.daway[j]", OPS, "wkv7_back"),
    ("recurrent.cu", "(first + row / WKV_BACK_ROWS)", "(row / WKV_BACK_ROWS)", OPS, "wkv7_back"),
    ("recurrent.cu", "for (int b = 0; b < n_runs; b++) sum += parts", "for (int b = 0; b < 1; b++) sum += parts", OPS,
     "wkv7_back"),
    # gradients of mixtures of experts
    ("experts.cu", "dweights[row * n_used + id] * scale", "dweights[row * n_used + id]", OPS, "route_back"),
    ("experts.cu", "mine || !norm ? e[id]", "true ? e[id]", OPS, "route_back"),
    ("experts.cu", "w < n_warps && !norm; w++", "w < 1 && !norm; w++", OPS, "route_back"),
    ("experts.cu", "g[id] * s * (1.0f - s)", "g[id] * s", OPS, "route_back"),
    ("experts.cu", "chosen[id] = ids[row * n_used + id];\n    block_sync();", "chosen[id] = ids[row * n_used + id];",
     OPS, "route_back"),
    ("experts.cu", "for (int w = 1; w < 8; w++) dot += warps[w];", "", OPS, "weigh"),
    ("experts.cu", "= v * weight;", "= v;", OPS, "weigh"),
    ("experts.cu", "add ? add[row * k + i] : 0.0f", "0.0f", OPS, "experts_back"),
    ("experts.cu", "of_choices[(row * n_used + s) * k + i]", "of_choices[(row + s) * k + i]", OPS, "experts_back"),
    ("experts.cu", "before += ids[i] < expert;", "before += ids[i] <= expert;", OPS, "experts_back"),
    ("experts.cu", "at += lower[w];", "at += lower[0];", OPS, "experts_back"),
    ("experts.cu", "at += equal[w];", "at += 0;", OPS, "experts_back"),
    ("gemm_f32.cu", "tile -= tiles;", "", OPS, "experts_back"),
    ("gemm_f32.cu", "a.w + (i64)e * a.p * a.k", "a.w + (i64)e * a.k", OPS, "experts_back"),
    ("gemm_f32.cu", "a.dy_stride + a.p0 + at", "a.dy_stride + at", OPS, "experts_back, little"),
    ("gemm_f32.cu", "a.dy[choices[row] / a.dy_share", "a.dy[choices[row]", OPS, "experts_back"),
    ("gemm_f32.cu", "*dx = a.add ? *dx + sum : sum;", "*dx = sum;", OPS, "experts_back"),
    ("gemm_f32.cu", "a.x[choices[at] / a.x_share", "a.x[choices[at]", OPS, "experts_back"),
    ("gemm_f32.cu", "a.dw + (i64)blockIdx.z * a.out * a.k", "a.dw + (i64)blockIdx.z * a.k", OPS, "experts_back"),
    # loss and optimizer
    ("train.cu", "x[i] = a.softcap * tanhf(x[i] / a.softcap);", "x[i] = tanhf(x[i] / a.softcap);", OPS,
     "cross_entropy"),
    ("train.cu", "w < (int)blockDim.x / 32; w++) x = fmaxf", "w < 1; w++) x = fmaxf", OPS, "cross_entropy"),
    ("train.cu", "if (i == target) d -= 1.0f;", "", OPS, "cross_entropy"),
    ("train.cu", "d * weight * (1.0f - y * y)", "d * weight", OPS, "cross_entropy"),
    ("train.cu", "block_sync(); /* which nobody reads any more */", "", OPS, "cross_entropy", CHECK),
    ("train.cu", "(a.weights ? a.weights[row] : 1.0f) * a.factor", "(a.weights ? a.weights[row] : 1.0f)", OPS,
     "cross_entropy"),
    ("train.cu", "((double)most - (double)at_target)", "(double)at_target", OPS, "cross_entropy"),
    ("train.cu", "if (threadIdx.x == 0) a.loss[row] = 0;", "", OPS, "cross_entropy"),
    ("train.cu", "first < n; first += (i64)gridDim.x * SQUARES", "first < n; first += n", OPS, "squares"),
    ("train.cu", "for (int i = threadIdx.x; i < n; i += 32) all += parts[i];",
     "for (int i = threadIdx.x; i < n; i += 64) all += parts[i];", OPS, "squares"),
    ("train.cu", "for (int i = 1; i < 32; i++) all += lanes[i];", "for (int i = 1; i < 16; i++) all += lanes[i];", OPS,
     "squares"),
    ("train.cu", "out[i] = bf16 ? f2bf(x[i]) : f2h(x[i]);", "out[i] = f2h(x[i]);", OPS, "round"),
    ("train.cu", "const float v = i < k ? x[row * x_stride + i] : 0.0f;", "const float v = x[row * x_stride + i];", OPS,
     "matmul_back_x, own", CHECK),
    ("train.cu", "out[row * ld + i] = bf16 ? f2bf(v) : f2h(v);", "out[row * ld + i] = f2bf(v);", OPS, "matmul_back_x"),
    ("train.cu", "row0 + i < rows && column0 + at < k ? x[", "column0 + at < k ? x[", OPS, "matmul_back_w, own", CHECK),
    ("train.cu", "? f2bf(tile[at][i]) : f2h(tile[at][i])", "? f2bf(tile[i][at]) : f2h(tile[i][at])", OPS,
     "matmul_back_w, own"),
    ("train.cu", "if (column0 + i < k && row0 + at < ld)", "if (row0 + at < ld)", OPS, "matmul_back_x, own", CHECK),
    ("train.cu", "out[(i64)(column0 + i) * ld + row0 + at]", "out[(i64)(column0 + i) * rows + row0 + at]", OPS,
     "matmul_back_w, own"),
    ("train.cu", "a.grad[i] * a.factor, w = a.w[i];\n    const", "a.grad[i], w = a.w[i];\n    const", OPS, "adamw"),
    ("train.cu", "(1.0f - a.beta2) * g * g", "(1.0f - a.beta2) * g", OPS, "adamw"),
    ("train.cu", "m * a.c1 / (sqrtf(v * a.c2) + a.eps)", "m / (sqrtf(v * a.c2) + a.eps)", OPS, "adamw"),
    ("train.cu", "return fmaf(-a.rate, fmaf(a.decay, w, step), w);", "return fmaf(-a.rate, step, w);", OPS, "adamw"),
    ("train.cu", "displace_one(then, i, adamw_step(a, i))", "(displace_one(then, i, a.w[i]), adamw_step(a, i))", OPS,
     "adamw"),
    ("train.cu", "if (i < a.n) a.w[i] = displace_one", "if (i < a.n + 1) a.w[i] = displace_one", OPS, "adamw", CHECK),
    ("train.cu", "a.grad[i] * a.factor, w = a.w[i];\n    float step", "a.grad[i], w = a.w[i];\n    float step", OPS,
     "sgd"),
    ("train.cu", "step = a.nesterov ? fmaf(a.momentum, m, g) : m;", "step = m;", OPS, "sgd"),
    ("train.cu", "    }\n    a.w[i] = fmaf(-a.rate, fmaf(a.decay, w, step), w);",
     "    }\n    a.w[i] = fmaf(-a.rate, step, w);", OPS, "sgd"),
    ("train.cu", "b = fmaf(a.mu, b, d);", "b = d;", OPS, "displace"),
    ("train.cu", "s = fmaf(1.0f - a.gamma, d - s, s);", "s = fmaf(a.gamma, d - s, s);", OPS, "displace"),
    ("train.cu", "step = fmaf(a.c_b, b, a.c_d * d);", "step = a.c_b * b;", OPS, "displace"),
    ("train.cu", "if (a.s) step = fmaf(a.c_s, s, step);", "", OPS, "displace"),
    ("train.cu", "if (a.mean) step = fmaf(a.c_r, a.mean[i] - w, step);", "", OPS, "displace"),
    ("train.cu", "if (a.goes == 1) a.anchor[i] = w;", "", OPS, "displace"),
    ("train.cu", "if (a.goes == 2) a.anchor[i] = w + step;", "if (a.goes == 2) a.anchor[i] = w;", OPS, "displace"),
    ("train.cu", "a.anchor[i] = anchor + step;", "a.anchor[i] = w + step;", OPS, "displace"),
    ("train.cu", "a.takes || a.c_b != 0.0f ? a.b[i] : 0.0f", "a.takes ? a.b[i] : 0.0f", OPS, "displace"),
    ("train.cu", "if (a.takes) {", "if (true) {", OPS, "displace"),
    ("train.cu", "if (a.moves) {", "if (true) {", OPS, "displace"),
    ("train.cu", "if (a.moves) a.w[i] = w;", "", OPS, "displace"),
    ("train.cu", "if (i >= a.n) return;\n    const float w = displace_one",
     "if (i > a.n) return;\n    const float w = displace_one", OPS, "displace", CHECK),
    ("train.cu", "fmaf(x[j], x[k], of_chunk[at])", "fmaf(x[j], x[j], of_chunk[at])", OPS, "gram"),
    ("train.cu", "i < SQUARES && first + i < a.n; i += 256", "i < SQUARES && first + i <= a.n; i += 256", OPS, "gram",
     CHECK),
    ("train.cu", "first < a.n; first += (i64)gridDim.x * SQUARES", "first < a.n; first += a.n", OPS, "gram"),
    ("train.cu", "a.a[j][first + i] - a.b[j][first + i] :", "a.a[j][first + i] :", OPS, "gram"),
    ("train.cu", "for (int i = 0; i < n; i++) all += parts[i * GRAM",
     "for (int i = 0; i < 1; i++) all += parts[i * GRAM", OPS, "gram"),
    # low-rank factors
    ("lowrank.cu", "const i64 last = first + share < rows ? first + share : rows;",
     "const i64 last = rows;", OPS, "orthogonal"),
    ("lowrank.cu", "part < PARTS; part++", "part < PARTS - 1; part++", OPS, "orthogonal"),
    ("lowrank.cu", "pivot -= g[k * n + i] * g[k * n + i];", "pivot -= 0;", OPS, "orthogonal"),
    ("lowrank.cu", "sum -= g[k * n + i] * g[k * n + j];", "sum -= 0;", OPS, "orthogonal"),
    ("lowrank.cu", "block_sync(); /* all have read it */", "", OPS, "orthogonal", CHECK),
    ("lowrank.cu", "block_sync(); /* this row of r is there */", "", OPS, "orthogonal", CHECK),
    ("lowrank.cu", "if (*bad != 0 || row >= rows) return;", "if (row >= rows) return;", OPS, "orthogonal"),
    ("lowrank.cu", "if (*bad != 0 || row >= rows) return;",
     "if (*bad != 0 || row > rows) return;", OPS, "orthogonal", CHECK),
    ("lowrank.cu", "sum -= q[k * 64] * r[k * n + i];", "sum -= 0;", OPS, "orthogonal"),
    ("lowrank.cu", " - dot * (double)y[row * n + k]", "", OPS, "orthogonal"),
    ("lowrank.cu", "block_sync(); /* the last total has been read */", "", OPS, "orthogonal", CHECK),
    ("lowrank.cu", "v[k * n + p] = c * vx - s * vy;", "v[k * n + p] = c * vx;", OPS, "factors"),
    ("lowrank.cu", "block_sync(); /* all have read them */", "", OPS, "factors", CHECK),
    ("lowrank.cu", "block_sync(); /* nobody reads them any more */", "", OPS, "factors", CHECK),
    ("lowrank.cu", "block_sync(); /* columns are turned, rows come */", "", OPS, "factors", CHECK),
    ("lowrank.cu", "if (a[j * n + j] > a[best * n + best]) best = j;", "if (j < 0) best = j;", OPS, "factors"),
    ("lowrank.cu", "if (fabs(v[k * n + i]) > fabs(v[largest * n + i])) largest = k;", "", OPS, "factors"),
    ("lowrank.cu", "if (!is_left) sum /= sigma;", "", OPS, "factors"),
    ("lowrank.cu", "if (!((float)sigma > 0)) sum = 0;", "", OPS, "factors"),
    ("lowrank.cu", "if (i >= a.rows + a.cols) return;", "if (i > a.rows + a.cols) return;", OPS, "factors", CHECK),
    ("lowrank.cu", "a.add ? a.x[at] + a.add[at] : a.x[at]", "a.x[at]", OPS, "deflate"),
    ("lowrank.cu", "rest -= left[k] * (double)a.right[k * a.cols + j];",
     "rest -= left[k] * (double)a.right[j];", OPS, "deflate"),
    ("lowrank.cu", "(!a.bound || *a.bound < a.most)", "true", OPS, "deflate"),
    ("lowrank.cu", "row < a.rows; row += gridDim.x", "row < a.rows; row += a.rows", OPS, "deflate"),
    ("lowrank.cu", "block_sync(); /* the last row's have been read */", "", OPS, "deflate", CHECK),
    # world models
    ("rssm.cu", "block_sync(); /* nobody reads the last pieces any more */", "", OPS, "rssm", CHECK),
    ("rssm.cu", "block_sync(); /* these are there */", "", OPS, "rssm"),
    ("rssm.cu", "const bool there = m0 + r < m && p0 + t < p;", "const bool there = p0 + t < p;", OPS, "rssm", CHECK),
    ("rssm.cu", "const bool there = n0 + r < n && p0 + t < p;", "const bool there = n0 + r < n;", OPS, "rssm"),
    ("rssm.cu", "m0 + of_row + i < m && n0 + of_column + j < n", "m0 + of_row + i < m", OPS, "rssm"),
    ("rssm.cu", "add ? *to + sum[i][j] : sum[i][j]", "sum[i][j]", OPS, "rssm"),
    ("rssm.cu", "s.flags & X_AFTER ? m.windows : 0", "0", OPS, "rssm"),
    ("rssm.cu", "s.flags & Y_AFTER ? m.windows : 0", "0", OPS, "rssm"),
    ("rssm.cu", "D_OUT, D_TRUNK, 0, TRUNK_BACK", "D_OUT, D_TRUNK, 0, NO_MORE", OPS, "rssm"),
    ("rssm.cu", "OF_TRUNK, SIGMA, UNITS, D_OUT", "OF_TRUNK, HEADS, UNITS, D_OUT", OPS, "rssm"),
    ("rssm.cu", "OF_UNITS, UNITS, UNITS, D_PRI, D_H, ADDS,", "OF_UNITS, UNITS, UNITS, D_PRI, D_H, 0,", OPS, "rssm"),
    ("rssm.cu", "block_sync(); /* what came before has been written, and read */", "", OPS, "rssm"),
    ("rssm.cu", "return s * (1.0f + x * (1.0f - s));", "return s;", OPS, "rssm"),
    ("rssm.cu", "p[i * ROW] = 0.99f * soft[i * ROW] + 0.01f / CLASSES;", "p[i * ROW] = soft[i * ROW];", OPS, "rssm"),
    ("rssm.cu", "if (u < (below += (double)p[i * ROW])) chosen = i;", "if (u < (double)p[i * ROW]) chosen = i;", OPS,
     "rssm"),
    ("rssm.cu", "0.99f * (soft[i * ROW] * (d[i * ROW] - mean))", "0.99f * (soft[i * ROW] * d[i * ROW])", OPS, "rssm"),
    ("rssm.cu", "square * (1.0f / UNITS) + 1e-5f", "square * (1.0f / UNITS) + 1e-3f", OPS, "rssm"),
    ("rssm.cu", "m.random[c * CHOICES + choice]", "m.random[c * CHOICES]", OPS, "rssm"),
    ("rssm.cu", "(1.0f - z) * h[i] + z * new_h", "z * h[i] + (1.0f - z) * new_h", OPS, "rssm"),
    ("rssm.cu", "(x <= low && d > 0.0f)", "x < low - 1e9f", OPS, "rssm"),
    ("rssm.cu", "(x >= high && d < 0.0f)", "x > high + 1e9f", OPS, "rssm"),
    ("rssm.cu", "if (taught) d[at * ROW] = d_mu * share.weight;", "d[at * ROW] = d_mu * share.weight;", OPS, "rssm"),
    ("rssm.cu", "if (share.role == HELD) d[at_sigma", "d[at_sigma", OPS, "rssm"),
    ("rssm.cu", "taught ? o[at * ROW] : mu", "o[at * ROW]", OPS, "rssm"),
    ("rssm.cu", "o[1 * ROW] >= 0.0f && d_q < 0.0f ? 0.0f", "d_q > 1e30f ? 0.0f", OPS, "rssm"),
    ("rssm.cu", "o[11 * ROW] <= 0.0f && d_r > 0.0f ? 0.0f", "d_r > 1e30f ? 0.0f", OPS, "rssm"),
    ("rssm.cu", "if (!(sum > 1.0)) return sum;", "", OPS, "rssm"),
    ("rssm.cu", "if (share.role == NOTHING) return;", "", OPS, "rssm"),
    ("rssm.cu", "if (role == TAUGHT) continue;", "", OPS, "rssm"),
    ("rssm.cu", "block_sync(); /* they are there */", "", OPS, "rssm", CHECK),
    ("rssm.cu", "d_h[i] = fmaf(d, 1.0f - z, d_h[i]);", "d_h[i] = d * (1.0f - z);", OPS, "rssm"),
    ("rssm.cu", "d_h[i] = fmaf(d, r, d_h[i]);", "d_h[i] = d * r;", OPS, "rssm"),
    ("rssm.cu", "d[k * ROW] += panel(m, D_IN + Z + row + k)[c];", "d[k * ROW] = panel(m, D_IN + Z + row + k)[c];", OPS,
     "rssm"),
    ("rssm.cu", "block_sync(); /* d is there */", "", OPS, "rssm"),
    ("rssm.cu", " - x[i * ROW + c] * along) * scale", ") * scale", OPS, "rssm"),
    ("rssm.cu", "if (at > 0) cell_back(m, at - m.windows);", "if (at > m.windows) cell_back(m, at - m.windows);", OPS,
     "rssm"),
    ("rssm.cu", "i < ROOM; i += 256) m.d[i] = 0;", "i < SIZE; i += 256) m.d[i] = 0;", OPS, "rssm"),
    ("rssm.cu", "m.shares = a.shares + k * ROW;", "m.shares = a.shares;", OPS, "rssm"),
    ("rssm.cu", "(at += m.windows) < m.n) i = TICK - 1;", "(at += m.windows) < m.n - m.windows) i = TICK - 1;", OPS,
     "rssm"),
]


def say(text):
    print(text, flush=True)


def stale(texts):
    """The mutations whose text is not exactly once in the kernels, or not in the file that they name."""
    for m in MUTATIONS:
        count = sum(text.count(m[1]) for text in texts.values())
        if count != 1 or m[1] not in texts[m[0]]:
            yield "%s: %r stands %d times in the kernels, and must stand once, in %s" % (m[0], m[1], count, m[0])


def digest():
    """Of the kernels, the emulator, the tests and the mutations."""
    total = hashlib.sha256(repr(MUTATIONS).encode())
    for path in sorted(glob.glob(KERNELS + "/*") + glob.glob("tests/emu/*.*") +
                       ["tests/%s.c" % OPS, "tests/%s.c" % MATMUL, "tests/ops.h", "tests/ops_train.h",
                        "tests/ops_parts.h", "tests/ops_rssm.h"]):
        with open(path, "rb") as f:
            total.update(path.encode() + b"\0" + f.read())
    return total.hexdigest()


def seen():
    """Whether all were noticed as things stand."""
    if not os.path.exists(SEEN):
        return False
    with open(SEEN, encoding="utf-8") as f:
        return digest() in f.read()


def environment_of(m):
    env = dict(os.environ, HYBRID_CUDA_PATH=os.path.abspath(run_tests.EMU), HYBRID_CUDA_CACHE="",
               HYBRID_FIRST_FAILURE="1", HYBRID_ONLY=m[4])
    env.pop("HYBRID_NO_SKIP", None)
    env.update(m[5] if len(m) > 5 else {})
    return env


def run(m, patch=None):
    """(exit status, output, seconds)"""
    env, start = environment_of(m), time.time()
    if patch:
        env["EMU_PATCH"] = patch
    try:
        done = subprocess.run([os.path.join(run_tests.BUILD, m[3] + "-plain")], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=env, timeout=TIME_LIMIT)
        return done.returncode, done.stdout.decode("utf-8", "replace"), time.time() - start
    except subprocess.TimeoutExpired:
        return 124, "it ran longer than %d s" % TIME_LIMIT, time.time() - start


def title(m):
    return "%s: %s => %s" % (m[0], " ".join(m[1].split()), " ".join(m[2].split()) or "(nothing)")


def mutate(m, scratch, number):
    """None when the tests notice, else what happened instead."""
    patch = os.path.join(scratch, "%d.patch" % number)
    with open(patch, "w") as f:
        f.write(m[1] + "\n=>\n" + m[2])
    status, out, seconds = run(m, patch)
    if not os.path.exists(patch + ".seen"):
        return "the test %s (%s) does not use this kernel" % (m[3], m[4])
    if os.path.exists(patch + ".broken"):
        return "it does not compile:\n" + open(patch + ".broken").read()
    if status == 0:
        return "NOT NOTICED by %s (%s), which ended well after %.1f s" % (m[3], m[4], seconds)
    say("  noticed after %5.1f s  %s" % (seconds, title(m)))
    return None


def main():
    parser = argparse.ArgumentParser(description="Breaks kernels and expects the tests to notice.",
                                     formatter_class=argparse.RawDescriptionHelpFormatter, epilog=__doc__)
    parser.add_argument("words", nargs="*", help="only mutations whose file or texts hold one of these")
    parser.add_argument("--list", action="store_true", help="only says what they are")
    parser.add_argument("--sample", action="store_true", help="a sixteenth, if all were noticed before")
    args = parser.parse_args()
    os.chdir(run_tests.ROOT)
    chosen = [m for m in MUTATIONS if not args.words or any(w in part for w in args.words for part in m[:3])]
    if args.sample and seen():
        say("all were noticed with these kernels, emulator and tests (%s); today a sixteenth of them" % SEEN)
        chosen = chosen[int(time.time() / 86400) % PARTS::PARTS]
    if args.list:
        for m in chosen:
            say(title(m))
        return 0
    texts = {os.path.basename(p): open(p, encoding="utf-8").read() for p in glob.glob(os.path.join(KERNELS, "*.cu"))}
    problems = list(stale(texts))
    passed, failed, start = 0, len(problems), time.time()
    for words in problems:
        say("FAILED " + words)
    words = run_tests.build_emulator()
    if words:
        say("FAILED the emulated GPU could not be built: " + words)
        say("0 passed, 1 failed, 0 skipped")
        return 1
    os.makedirs(run_tests.BUILD, exist_ok=True)
    opened.make()
    command = os.environ.get("CC", "cc").split() + ["-O2"]
    for program in sorted({m[3] for m in chosen}):
        words = run_tests.build_with_library("tests/%s.c" % program, "plain", command,
                                             os.path.join(run_tests.BUILD, program + "-plain"))
        if words:
            say("FAILED %s does not compile:\n%s" % (program, words))
            return 1
    # As they are, the tests must pass: a test that is red anyway notices everything. `make test` has just seen them
    # pass.
    unbroken = []
    if not os.environ.get("HYBRID_TESTS_PASSED"):
        unbroken = list({(m[3], m[4], len(m) > 5): m for m in chosen}.values())
    with ThreadPoolExecutor(run_tests.JOBS) as pool:
        results = list(pool.map(run, unbroken))
    for m, (status, out, seconds) in zip(unbroken, results):
        if status:
            say("FAILED %s (%s) fails although nothing is broken:\n%s" % (m[3], m[4], run_tests.tail(out)))
            failed += 1
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(run_tests.JOBS) as pool:
        for m, words in zip(chosen, pool.map(lambda pair: mutate(pair[1], scratch, pair[0]), enumerate(chosen))):
            if words:
                say("FAILED %s\n    %s" % (title(m), words))
            passed, failed = passed + (not words), failed + bool(words)
    if not failed and len(chosen) == len(MUTATIONS):
        with open(SEEN, "w", encoding="utf-8") as f:
            f.write("All %d mutations of tests/mutate_cuda.py were noticed, %s, with kernels, emulator, tests and "
                    "mutations of the digest\n%s\n"
                    % (passed, time.strftime("%Y-%m-%d"), digest()))
    say("%d ways to break a kernel, %.0f s" % (len(chosen), time.time() - start))
    say("%d passed, %d failed, 0 skipped" % (passed, failed))
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
