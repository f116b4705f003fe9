"""The picture of a run, in a browser: the curves have their colours where the numbers say, nothing is drawn outside
the frame, and it is readable on a light and on a dark page. The same of a run with a predictor, which goes
through all four phases, moves and goes back, with its calibration beside it. Looked at pixel by pixel, and element by
element as the browser lays them out, in headless Chromium."""
import json
import os
import re
import shutil
import struct
import zlib

from compiling import ALONE, WITHOUT_SIMD
from gates import LINKED, gate
from house import replace

PROGRAM = r"""
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
/* 1000 steps in four phases, the loss is expected between 2 and 4 from step 200 on; after step 440 weights are moved,
 * and after step 700 the run has gone back to 600. Nine moves were judged: of those made with a confidence of 0.3 one
 * in five was worth something, of those with 0.8 three in four */
static int watched(void)
{
    hybrid_curve_desc desc = { .title = "Watched", .n_steps = 1000 };
    hybrid_curve *curve;
    hybrid_error e;
    int i, back = 0;
    e.message[0] = 0;
    if (hybrid_curve_create(NULL, &desc, &curve, &e)) return puts(e.message), 1;
    for (i = 1; i <= 1000; i++) {
        hybrid_train_metrics m = { 0 };
        m.step = i;
        m.n_tokens = 100;
        m.loss = 6 - 6 * i / 1000.0;
        m.seconds = 0.1;
        m.predict.phase = (hybrid_phase)((i - 1) / 250);
        m.predict.event = i == 440 ? HYBRID_PREDICT_MOVED : HYBRID_PREDICT_NOTHING;
        m.predict.low = i > 200 ? 2 : 0;
        m.predict.high = i > 200 ? 4 : 0;
        m.predict.confidence = 0.5;
        m.predict.said = i % 100 ? 0 : i <= 500 ? 0.3 : i < 1000 ? 0.8 : 0;
        m.predict.worth = i == 100 || (i > 500 && i < 900) ? 5 : -5;
        if (i == 700 && !back++) {
            m.predict.event = HYBRID_PREDICT_WENT_BACK;
            m.step = i = 600;
        }
        if (hybrid_curve_add(curve, &m, NULL, &e)) return puts(e.message), 1;
    }
    if (hybrid_curve_draw_path(curve, "watched.svg", &e)) return puts(e.message), 1;
    hybrid_curve_destroy(curve);
    return 0;
}

/* 1000 steps: the loss falls from 5 to 1 in a straight line, validation is 0.5 above it, the rate is a tent */
int main(void)
{
    hybrid_curve_desc desc;
    hybrid_curve *curve;
    hybrid_error e;
    int i;
    e.message[0] = 0;
    desc = (hybrid_curve_desc){ .title = "A picture", .n_steps = 1000 };
    if (hybrid_curve_create(NULL, &desc, &curve, &e)) return puts(e.message), 1;
    for (i = 1; i <= 1000; i++) {
        const double noise = i % 2 ? 0.25 : -0.25, line = 5 - 4 * i / 1000.0, validation = line + 0.5;
        hybrid_train_metrics m = { 0 };
        m.step = i;
        m.n_tokens = 100;
        m.loss = line + noise;
        m.grad_norm = 1;
        m.rate = i < 500 ? i / 500.0 : 2 - i / 500.0;
        m.seconds = 0.1;
        if (hybrid_curve_add(curve, &m, i % 100 ? NULL : &validation, &e)) return puts(e.message), 1;
    }
    if (hybrid_curve_draw_path(curve, "picture.svg", &e)) return puts(e.message), 1;
    hybrid_curve_destroy(curve);
    return watched();
}
"""
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
LEFT, RIGHT, TOP, BOTTOM = 68, 724, 66, 384                    # the frame, src/train/picture/frame.c
LOW, HIGH = 0, 6                                               # what the axis of the loss should show
PAGES = {                                                      # page, loss, validation, rate
    "light": ((255, 255, 255), (0x30, 0x70, 0xd0), (0xd0, 0x54, 0x1a), (0x8c, 0x95, 0x9f)),
    "dark": ((0x14, 0x17, 0x1c), (0x6b, 0xa4, 0xff), (0xff, 0x94, 0x57), (0x8c, 0x95, 0x9f)),
}


def pixels(path):
    """(width, height, rows of (red, green, blue)) of a PNG of 8 bits a colour, not interlaced."""
    with open(path, "rb") as f:
        data = f.read()
    at, parts = 8, []
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
        if kind == b"IDAT":
            parts.append(body)
        at += 12 + size
    if depth != 8 or colour not in (2, 6) or interlaced:
        raise ValueError("not a PNG of the kind that is read here")
    n, raw = {2: 3, 6: 4}[colour], zlib.decompress(b"".join(parts))
    rows, above = [], bytes(width * n)
    for y in range(height):
        begin = y * (width * n + 1)
        how, row = raw[begin], bytearray(raw[begin + 1:begin + 1 + width * n])
        for i in range(len(row)):
            a, b, c = row[i - n] if i >= n else 0, above[i], above[i - n] if i >= n else 0
            if how == 1:
                row[i] = (row[i] + a) & 255
            elif how == 2:
                row[i] = (row[i] + b) & 255
            elif how == 3:
                row[i] = (row[i] + (a + b) // 2) & 255
            elif how == 4:
                p = a + b - c
                nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))
                row[i] = (row[i] + nearest[2]) & 255
        rows.append([tuple(row[x * n:x * n + 3]) for x in range(width)])
        above = bytes(row)
    return width, height, rows


def near(a, b, most=40):
    return max(abs(x - y) for x, y in zip(a, b)) <= most


def height_of(value, low, high):
    return BOTTOM - (BOTTOM - TOP) * (value - low) / (high - low)


def look(box, page, rows):
    """What the picture must show on a page."""
    paper, loss, validation, rate = PAGES[page]
    corners = [rows[y][x] for y in (1, 438) for x in (1, 798)]
    box.expect("%s: the page" % page, all(near(c, paper, 2) for c in corners), str(corners))

    def where(colour, x, top=TOP, bottom=BOTTOM):
        return [y for y in range(top - 3, bottom + 4) if near(rows[y][x], colour)]

    for part in (0.1, 0.35, 0.6, 0.85):                        # a quarter of the way between two dots, and so on
        x = round(LEFT + (RIGHT - LEFT) * (part + 0.025))
        line = 5 - 4 * (part + 0.025)
        for what, colour, y, off in (("loss", loss, height_of(line, LOW, HIGH), 4),
                                     ("validation", validation, height_of(line + 0.5, LOW, HIGH), 3)):
            found = where(colour, x)
            box.expect("%s: %s at %d" % (page, what, x), found and all(abs(f - y) < 9 for f in found)
                       and min(abs(f - y) for f in found) < off, "it should be at %.1f, it is at %s" % (y, found))
    tent = [y for x in range(LEFT + 310, LEFT + 346) for y in where(rate, x, TOP, TOP + 20)]
    box.expect("%s: the rate has its top in the middle" % page, len(tent) > 4, str(tent))
    box.expect("%s: validation is not drawn before it was looked at" % page,
               not where(validation, LEFT + 30, TOP + 4), str(where(validation, LEFT + 30, TOP + 4)))
    outside = [(x, y) for y in range(TOP - 8, BOTTOM + 8) for x in range(800)
               if not (LEFT - 3 <= x <= RIGHT + 3 and TOP - 3 <= y <= BOTTOM + 3)
               and (near(rows[y][x], loss) or near(rows[y][x], validation))]
    box.expect("%s: no curve outside the frame" % page, not outside, str(outside[:5]))
    band = sum(1 for y in range(TOP, BOTTOM) if near(rows[y][LEFT + 328], tuple((3 * p + c) // 4 for p, c in
                                                                                  zip(paper, loss)), 12))
    box.expect("%s: the range of the losses" % page, 6 < band < 40, "%d pixels high" % band)
    for what, x0, x1, y0, y1 in (("numbers at the left", 30, 62, TOP, BOTTOM),
                                 ("numbers at the right", 732, 760, TOP, BOTTOM), ("title", 68, 300, 8, 30),
                                 ("loss's title", 6, 26, 150, 300), ("steps", 60, 740, 388, 408),
                                 ("legend", 90, 400, 36, 56)):
        ink = sum(1 for y in range(y0, y1) for x in range(x0, x1) if not near(rows[y][x], paper, 90))
        box.expect("%s: %s" % (page, what), ink > 20, "%d pixels of ink" % ink)


PHASES = ((0x8c, 0x95, 0x9f), (0x2d, 0xa4, 0x4e), (0x9a, 0x5b, 0xe0), (0xd9, 0xb3, 0x10))
STRIP, RUG, BACK = 59, 64, (0xcf, 0x12, 0x59)                  # the middle of the strip, and of the rug


ELEMENTS = {"warm-up": "path", "full": "path", "predict": "path", "correct": "path", "expected": "polygon",
            "moved": "path", "back": "path", "said": "circle", "piece": "circle", "covered": "polyline",
            "ideal": "line"}
SIDE = ((868, 66, 1048, 222), (868, 280, 1048, 384))           # the two frames of the calibration
ASKS = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">%s<script>
const found = {};
for (const e of document.querySelectorAll(".hybrid-curve [class]")) {
    const b = e.getBBox(), all = found[e.getAttribute("class")] ||= [];
    all.push({kind: e.tagName, boxes: ((e.getAttribute("d") || "").match(/M/g) || []).length,
              points: e.points ? e.points.length : 0, at: [b.x, b.y, b.x + b.width, b.y + b.height]});
}
const told = document.createElement("pre");
told.textContent = "FOUND" + JSON.stringify(found) + "END";
document.body.append(told);
</script>"""


def elements(box, browser, folder, name):
    """What the browser has made of a picture: of each class its elements; {} and a failure where it has not."""
    with open(os.path.join(folder, name), encoding="utf-8") as f:
        page = ASKS % f.read()
    path = os.path.join(folder, name + ".html")
    with open(path, "w", encoding="utf-8") as f:
        f.write(page)
    status, out = box.run([browser, "--no-sandbox", "--disable-gpu", "--user-data-dir=" + box.folder("profile"),
                           "--dump-dom", "file://" + path], folder, timeout=120)
    found = re.search(r"FOUND({.*})END</pre>", out, re.S)
    box.expect("%s: the browser tells what it has drawn" % name, status == 0 and found, out[-600:])
    text = found.group(1) if found else "{}"
    for name, sign in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(name, sign)
    return json.loads(text)


def look_at_elements(box, name, found, least):
    """All phases, the band, moves and calibration are there, of the right kind and in their places. least: of a class,
    how many boxes, dots or points there are at least."""
    for kind, element in ELEMENTS.items():
        box.expect("%s: %s" % (name, kind), any(e["kind"] == element for e in found.get(kind, [])),
                   str(found.get(kind)))
    for phase in ("warm-up", "full", "predict", "correct"):
        strips = [e for e in found.get(phase, []) if e["at"][1] < TOP]
        box.expect("%s: %s has a strip, and a square of the legend" % (name, phase), len(strips) == 1 and
                   len(found[phase]) == 2 and strips[0]["boxes"] >= least[phase] and
                   LEFT - 1 <= strips[0]["at"][0] < strips[0]["at"][2] <= RIGHT + 1, str(found.get(phase)))
    band = [e for e in found.get("expected", []) if e["kind"] == "polygon"]
    box.expect("%s: the band is in the frame" % name, band and band[0]["points"] >= least["expected"] and
               band[0]["at"][3] - band[0]["at"][1] > 10 and all(TOP - 1 <= e["at"][1] and e["at"][3] <= BOTTOM + 1
                                                                for e in band), str(band)[:300])
    for kind, (x0, y0, x1, y1) in (("said", SIDE[0]), ("piece", SIDE[1])):
        dots = found.get(kind, [])
        box.expect("%s: dots of %s in their frame" % (name, kind), len(dots) >= least[kind] and all(
            x0 <= (e["at"][0] + e["at"][2]) / 2 <= x1 and y0 <= (e["at"][1] + e["at"][3]) / 2 <= y1 for e in dots),
            str(dots))


def look_watched(box, page, rows):
    paper, wide = PAGES[page][0], RIGHT - LEFT
    for i, colour in enumerate(PHASES):
        for part in (0.02, 0.12, 0.23):
            x = round(LEFT + wide * (i / 4 + part))
            box.expect("%s: phase %d in the strip at %d" % (page, i, x), near(rows[STRIP][x], colour, 12),
                       str(rows[STRIP][x]))
        ink = sum(1 for y in range(414, 430) for x in range(LEFT - 2, 350) if near(rows[y][x], colour, 12))
        box.expect("%s: phase %d in the legend" % (page, i), ink > 60, "%d pixels" % ink)
    x = round(LEFT + wide * 0.44) + 2
    box.expect("%s: the move is a phase in the strip" % page, near(rows[STRIP][x], PHASES[2], 12) and
               near(rows[STRIP][x + 8], PHASES[1], 12), str(rows[STRIP][x]))
    moved = [x for x in range(LEFT, RIGHT) if not near(rows[RUG][x], paper, 60)]
    box.expect("%s: the move, and where it went back to" % page, len(moved) > 1 and
               all(abs(x - LEFT - part * wide) < 3 for x, part in ((moved[0], 0.44), (moved[-1], 0.6))), str(moved))
    light = tuple((3 * p + c) // 4 for p, c in zip(paper, PHASES[2]))
    for value, x, there in ((3.4, 0.4, True), (2.2, 0.4, True), (3.8, 0.9, True), (3.2, 0.15, False), (4.4, 0.5, False),
                            (1.6, 0.5, False)):
        found = rows[round(height_of(value, LOW, HIGH))][round(LEFT + wide * x)]
        box.expect("%s: what was expected, %.1f at %.2f" % (page, value, x), near(found, light if there else paper, 12),
                   str(found))
    side = PHASES[2]
    for x, y, what in ((0.3, 0.2, "0.3"), (0.8, 0.75, "0.8")):
        x0, y0, x1, y1 = SIDE[0]
        x, y = round(x0 + (x1 - x0) * x), round(y1 - (y1 - y0) * y)
        box.expect("%s: moves with a confidence of %s" % (page, what), near(rows[y][x], tuple(
            (3 * c + p) // 4 for p, c in zip(paper, side)), 24), str(rows[y][x]))
    x0, y0, x1, y1 = SIDE[1]                                   # from step 334 to 666 all losses were within
    top = [x for x in range(x0, x1) if near(rows[y0][x], side, 60)]
    box.expect("%s: losses within the band" % page, top and x0 + 60 < top[0] < x0 + 90 < x0 + 100 < top[-1] < x0 + 125,
               str(top))
    back = [x for x in range(LEFT, RIGHT) if sum(near(rows[y][x], BACK, 90) for y in range(TOP, BOTTOM)) > 90]
    box.expect("%s: where it went back to" % page, back and all(abs(x - LEFT - 0.6 * wide) < 3 for x in back),
               str(back))


def spoil(old, new):
    return lambda root: replace(os.path.join(root, "hybrid.h"), old, new)


@gate("picture", faults=[
    ("a curve upside down", spoil("return bottom - (bottom - (double)HYB_PICTURE_TOP) *",
                                  "return (double)HYB_PICTURE_TOP + (bottom - (double)HYB_PICTURE_TOP) *")),
    ("a curve out of the frame", spoil("HYB_MIN(HYB_MAX(part, 0), 1)", "1.2 * HYB_MIN(HYB_MAX(part, 0), 1)")),
    ("no dark page", spoil("prefers-color-scheme: dark", "prefers-colour-scheme: dark")),
    ("a text that is not closed", spoil('hyb_picture_text(p, "steps</text>\\n");', 'hyb_picture_text(p, "steps\\n");')),
    ("phases that are all alike", spoil("hyb_phase_name((hybrid_phase)phase), \"\\\" d", "\"full\", \"\\\" d")),
    ("nothing that is expected", spoil("    hyb_picture_expected(p);", "")),
    ("moves that are no phase", spoil("if (phase == HYBRID_PHASE_PREDICT) hyb_picture_predicted(p);", "")),
    ("no calibration", spoil("hyb_picture_calibration(&p);", "")),
    ("a confidence that is always right", spoil("good[bin] += at->worth > 0;", "good[bin] += at->said;")),
    ("no validation", spoil('hyb_picture_begin(p, "validation");', 'hyb_picture_begin(p, "rate");')),
])
def picture(box):
    browser = next((b for b in BROWSERS if box.has(b)), None)
    if not browser:
        return box.skipped("the picture in a browser", "there is no Chromium (tests/setup.sh installs one)")
    folder = box.folder("picture")
    shutil.copy2(box.path("hybrid.h"), folder)
    box.write(os.path.join("picture", "picture.c"), PROGRAM)
    held, _ = box.object("the library", WITHOUT_SIMD, ALONE)
    if not held or not box.compiles("a program that draws", WITHOUT_SIMD + LINKED + ["picture.c", held, "-o", "picture",
                                                                                    "-lm"], folder):
        return
    status, out = box.run(["./picture"], folder)
    box.expect("the program draws", status == 0, out)
    for name, page, scheme in (("picture", "light", 1), ("picture", "dark", 0), ("watched", "light", 1),
                               ("watched", "dark", 0)):
        shot = os.path.join(folder, "%s-%s.png" % (name, page))
        wide = 800 if name == "picture" else 1080
        status, out = box.run([browser, "--no-sandbox", "--hide-scrollbars", "--disable-gpu",
                               "--window-size=%d,440" % wide,
                               "--user-data-dir=" + box.folder("profile"), "--force-device-scale-factor=1",
                               "--blink-settings=preferredColorScheme=%d" % scheme, "--screenshot=" + shot,
                               "file://" + os.path.join(folder, name + ".svg")], folder, timeout=120)
        if status or not os.path.exists(shot):
            box.failed("%s: a screenshot" % page, out[-600:])
            continue
        width, height, rows = pixels(shot)
        box.expect("%s: the size" % page, (width, height) == (wide, 440), "%d x %d" % (width, height))
        (look if name == "picture" else look_watched)(box, page, rows)
    look_at_elements(box, "watched", elements(box, browser, folder, "watched.svg"), {
        "warm-up": 80, "full": 80, "predict": 80, "correct": 80, "expected": 400, "said": 2, "piece": 9})
