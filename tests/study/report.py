"""Tables, verdicts and the figure of the study, from the rows of its CSV (PROTOCOL.md, "Analysis")."""
import math
import os

import analysis
import plan

RESAMPLINGS = 10000


class Arm:
    """What the runs of an arm say beside those of AdamW with the same seeds."""

    def __init__(self, model, name, rows, base, slope, curves):
        self.name, self.words = name, plan.ARMS[name].words
        losses = {run: row["final"] if row["status"] == "done" else math.inf for run, row in rows.items()}
        self.best = plan.tuned(model, name, losses)
        self.rows = finals(model, name, self.best, rows, model.steps)
        self.lost = [seed for seed, row in self.rows.items() if row["status"] != "done"]
        self.good = {seed: row for seed, row in self.rows.items() if row["status"] == "done"}
        self.gains = {s: base[s]["final"] - row["final"] for s, row in self.good.items() if s in base}
        self.ratios = {s: analysis.ratio(g, slope) for s, g in self.gains.items()} if slope > 0 else {}
        self.times = {s: r * time_of(self.good[s], model.steps) for s, r in self.ratios.items()}
        self.mean, self.error, self.t, self.p = analysis.paired([-g for g in self.gains.values()]) if self.gains else \
            (math.nan, math.nan, math.nan, 1.0)
        nan = (math.nan, math.nan)
        if len(self.gains) > 1 and slope > 0 and name != "none":
            gains, self.ratio_interval = analysis.bootstrap(self.gains, curves, RESAMPLINGS)
            self.interval = -gains[1], -gains[0]
        else:
            self.interval = self.ratio_interval = nan
        self.ratio = analysis.ratio(-self.mean, slope) if self.ratios else math.nan

    def mean_of(self, key):
        values = [row[key] for row in self.good.values()]
        return analysis.mean(values) if values else math.nan


def finals(model, name, best, rows, steps):
    """{seed: row} of the seeds that are compared."""
    if best is None:
        return {}
    found = {s: rows.get(plan.Run(model.name, plan.name_of(name), best[0], best[1], steps, s)) for s in model.seeds}
    return {s: row for s, row in found.items() if row}


def share_of(row):
    """Of the predictor in the seconds of a run's steps."""
    return row["predictor"] / row["step_wall"] if row["step_wall"] > 0 else 0.0


def time_of(row, steps):
    """What the steps of an arm cost, in those of AdamW: those that were thrown away, and the predictor."""
    return row["spent"] / steps / (1 - min(share_of(row), 0.99))


class Study:
    def __init__(self, model, rows):
        self.model, self.n = model, model.steps
        losses = {run: row["final"] if row["status"] == "done" else math.inf for run, row in rows.items()}
        best = plan.tuned(model, "none", losses)
        base = {s: row for s, row in finals(model, "none", best, rows, self.n).items() if row["status"] == "done"}
        self.curves = {}
        for part in (0.9, 1, 1.1):
            steps = round(part * self.n)
            for seed, row in finals(model, "none", best, rows, steps).items():
                if row["status"] == "done":
                    self.curves.setdefault(seed, {})[steps] = row["final"]
        self.slope = analysis.slope(self.curves.values())
        tuning = [losses.get(plan.Run(model.name, "none", best[0], best[1], self.n, s)) for s in model.tuning_seeds] \
            if best else []
        self.target = analysis.mean(tuning) if tuning else math.nan
        self.tuning = {a: self.tuning_loss(a, losses) for a in plan.FIXED}
        self.arms = {name: Arm(model, name, rows, base, self.slope, self.curves) for name in plan.ARMS}
        self.arms = {name: arm for name, arm in self.arms.items() if arm.rows and name in plan.arms_of(model)}
        # arms of H1 that have not run count as if they had p = 1: the correction is the same whatever is left out
        family = plan.family(model)
        self.holm = dict(zip(family, analysis.holm([self.arms[a].p if a in self.arms else 1.0 for a in family])))
        self.short = {a: finals(model, a, plan.tuned(model, a, losses), rows, round(0.9 * self.n))
                      for a in ("A", "auto")}

    def tuning_loss(self, arm, losses):
        best = plan.tuned(self.model, arm, losses)
        if best is None or not self.model.tuning_seeds:
            return math.inf
        return analysis.mean([losses[plan.Run(self.model.name, arm, best[0], best[1], self.n, s)]
                              for s in self.model.tuning_seeds])


# ---- words ---------------------------------------------------------------------------------------------------------

def number(value, form="%.4f"):
    return "-" if value is None or math.isnan(value) else form % value


def p_words(p):
    return "-" if math.isnan(p) else "< 0.0001" if p < 0.0001 else "%.4f" % p


def rate_words(study, arm):
    rate = arm.best[1] if plan.ARMS[arm.name].rate == "muon" else arm.best[0]
    edge = plan.at_edge(study.model, arm.name, arm.best) and plan.ARMS[arm.name].rate != "none"
    return "%g%s" % (rate, " (edge)" if edge else "")


def main_table(study):
    lines = ["| arm | rate | n | final loss | difference (95 %) | p (Holm) | ratio of steps (95 %) | steps to target "
             "| ratio of time |",
             "|---|---|---|---|---|---|---|---|---|"]
    for name, arm in study.arms.items():
        loss, least, most = arm.mean_of("final"), *arm.ratio_interval
        p = p_words(arm.p) if name not in ("none", "off") else "-"
        if name in study.holm:
            p += " (%s)" % p_words(study.holm[name])
        # beyond the budgets that AdamW ran with
        mark = "*" if not math.isnan(arm.ratio) and not 1 / 1.1 <= arm.ratio <= 1 / 0.9 else ""
        target = study.n * math.exp((loss - study.target) / study.slope) if study.slope > 0 else math.nan
        lines.append("| %s | %s | %d%s | %s | %s (%s to %s) | %s | %s%s (%s to %s) | %s | %s |" % (
            arm.words, rate_words(study, arm), len(arm.good), ", %d lost" % len(arm.lost) if arm.lost else "",
            number(loss), number(arm.mean, "%+.4f"), number(arm.interval[0], "%+.4f"),
            number(arm.interval[1], "%+.4f"), p, number(arm.ratio, "%.3f"), mark, number(least, "%.3f"),
            number(most, "%.3f"), number(target, "%.0f"),
            number(analysis.mean(list(arm.times.values())) if arm.times else math.nan, "%.3f")))
    return lines


def watch_table(study):
    lines = ["| arm | moves | roll-backs | predictor's share of time | coverage | error of windows | of last value "
             "| of law | Brier | calibration error | loss of the average | seconds of a core |", "|" + "---|" * 12]
    for arm in study.arms.values():
        if plan.ARMS[arm.name].settings["mode"] == "none":
            lines.append("| %s |%s %s | %s |" % (arm.words, " |" * 9, number(arm.mean_of("ema")),
                                              number(arm.mean_of("cpu"), "%.1f")))
            continue
        share = analysis.mean([share_of(row) for row in arm.good.values()]) if arm.good else math.nan
        lines.append("| %s | %s | %s | %s %% | %s | %s | %s | %s | %s | %s | %s | %s |" % (
            arm.words, number(arm.mean_of("moves"), "%.0f"), number(arm.mean_of("rollbacks"), "%.1f"),
            number(100 * share, "%.2f"), number(arm.mean_of("coverage"), "%.3f"),
            *(number(arm.mean_of(k), "%.4f") for k in ("error_windows", "error_last", "error_law")),
            number(arm.mean_of("brier"), "%.3f"), number(arm.mean_of("ece"), "%.3f"), number(arm.mean_of("ema")),
            number(arm.mean_of("cpu"), "%.1f")))
    return lines


def verdict(holds):
    return "**holds**" if holds else "**does not hold**"


def harm(study, names, most):
    """H2 and H3: (the sentence, whether it holds)."""
    words, holds = [], True
    for name in names:
        arm = study.arms.get(name)
        if not arm or not arm.times:
            return "not measured", None
        times = list(arm.times.values())
        bound, worst = analysis.upper_bound(times), max(arm.times, key=arm.times.get)
        holds = holds and bound <= most and not arm.lost
        words.append("%s: ratio of time %s, at most %s (95 %%), worst seed %d with %s, %d lost" % (
            arm.words, number(analysis.mean(times), "%.3f"), number(bound, "%.3f"), worst,
            number(arm.times[worst], "%.3f"), len(arm.lost)))
    return "; ".join(words), holds


def foresight(study):
    """H4, over auto at AdamW's rate and off."""
    words, holds = [], True
    for name in ("auto-default", "off"):
        arm = study.arms.get(name)
        if not arm or len(arm.good) < 2:
            return "not measured", None
        covered, found = arm.mean_of("coverage"), []
        for key in ("error_last", "error_law"):
            m, _, _, p = analysis.paired([row["error_windows"] - row[key] for row in arm.good.values()])
            found.append((m, p))
        holds = holds and 0.85 <= covered <= 0.95 and all(m < 0 and p < 0.05 for m, p in found)
        words.append("%s: coverage %s, error %s against %s of the last value (p %s) and %s of the law (p %s)" % (
            arm.words, number(covered, "%.3f"), number(arm.mean_of("error_windows")), number(arm.mean_of("error_last")),
            p_words(found[0][1]), number(arm.mean_of("error_law")), p_words(found[1][1])))
    return "; ".join(words), holds


def against_fixed(study):
    """H5: auto beside the fixed arm that tuning found best."""
    best = min(study.tuning, key=study.tuning.get)
    auto, fixed = study.arms.get("auto"), study.arms.get(best)
    if any(math.isinf(loss) for loss in study.tuning.values()) or not auto or not fixed:
        return "not measured", None
    seeds = sorted(set(auto.gains) & set(fixed.gains))
    if len(seeds) < 2 or not study.slope > 0:
        return "not measured", None
    m, _, _, p = analysis.paired([fixed.gains[s] - auto.gains[s] for s in seeds])
    ratio = analysis.ratio(-m, study.slope)
    return "auto against %s: %s nats, ratio of steps %s, p %s" % (
        fixed.words, number(m, "%+.4f"), number(ratio, "%.3f"), p_words(p)), ratio <= 0.985 and p < 0.05


def beats(study, name):
    """H1 and H6: an arm against AdamW, corrected."""
    arm = study.arms.get(name)
    if not arm or len(arm.gains) < 2 or not arm.ratios or name not in study.holm:
        return "not measured", None
    return "ratio of steps %s (%s to %s), p %s after Holm" % (
        number(arm.ratio, "%.3f"), number(arm.ratio_interval[0], "%.3f"), number(arm.ratio_interval[1], "%.3f"),
        p_words(study.holm[name])), arm.ratio < 1 and study.holm[name] < 0.05


def verdicts(study):
    lines = []
    found = (("H1, mode A beats tuned AdamW", beats(study, "A")),
             ("H2, auto does no harm", harm(study, ["auto-default"], 1.02)),
             ("H3, useless directions cost little", harm(study, plan.PLACEBOS, 1.03)),
             ("H4, the prediction is good for something", foresight(study)),
             ("H5, auto adds value to fixed coefficients", against_fixed(study)),
             ("H6, jumps while the rate stays (mode B) beat AdamW", beats(study, "B-default")))
    found = found[-1:] if plan.family(study.model) is plan.H6 else found[:-1]
    for name, (words, holds) in found:
        lines.append("- %s: %s%s" % (name, words, "" if holds is None else ": " + verdict(holds)))
    base = study.arms.get("none")
    for name, rows in study.short.items():
        seeds = [s for s, row in rows.items() if row["status"] == "done" and base and s in base.good]
        if len(seeds) > 1:
            m, _, _, p = analysis.paired([rows[s]["final"] - base.good[s]["final"] for s in seeds])
            lines.append("- Direct check: %s with nine tenths of the steps, against AdamW with all of them: %+.4f nats "
                         "(n %d, p %s)" % (plan.ARMS[name].words, m, len(seeds), p_words(p)))
    off = study.arms.get("off")
    if off and base:
        same = all(row["final"] == base.good[s]["final"] for s, row in off.good.items() if s in base.good)
        lines.append("- Off has the losses of AdamW, bit for bit: %s" % ("yes" if same else "**no**"))
    return lines


def oracle_table(rows):
    """Gate G1, as markdown."""
    cosines = {}
    for row in rows:
        cosines.setdefault((row["of"], int(row["window"])), []).append(float(row["cosine"]))
    windows = sorted({w for _, w in cosines})
    lines = ["| mean cosine of consecutive displacements | %s |" % " | ".join("%d steps" % w for w in windows),
             "|---|" + "---|" * len(windows)]
    for of in ("weights", "average"):
        lines.append("| %s | %s |" % (of, " | ".join("%.3f" % analysis.mean(cosines[of, w]) for w in windows)))
    passed = any(w >= 10 and analysis.mean(values) > 0.05 for (_, w), values in cosines.items())
    return "\n".join(lines + ["", "Gate G1 is %s." % ("passed" if passed else "not passed: the study is not run")])


# ---- the figure ----------------------------------------------------------------------------------------------------

STYLE = """<style>
text { font: 13px sans-serif; fill: #24292f } .small { font-size: 11px; fill: #57606a } .axis { stroke: #d0d7de }
.zero { stroke: #57606a } .seed { fill: #3070d0; fill-opacity: 0.35 } .mean { fill: #d0541a }
.bar { stroke: #d0541a; stroke-width: 2 } .page { fill: #ffffff }
@media (prefers-color-scheme: dark) { .page { fill: #14171c } text { fill: #e6edf3 } .small { fill: #9da7b1 }
.axis { stroke: #3a424c } .zero { stroke: #9da7b1 } .seed { fill: #6ba4ff } .mean { fill: #ff9457 }
.bar { stroke: #ff9457 } }
</style>"""


def figure(study):
    """Steps that each arm saves, in per cent of AdamW's: a dot a seed, the mean with its interval. An SVG."""
    arms = [a for a in study.arms.values() if a.name not in ("none", "off") and a.ratios]
    width, left, right, top, step = 760, 230, 30, 64, 30
    height = top + step * max(len(arms), 1) + 58

    def saved(ratio):
        return 100 * (1 - ratio)
    low, high = -5.0, 5.0
    for arm in arms:
        for value in list(arm.ratios.values()) + list(arm.ratio_interval):
            if not math.isnan(value):
                # a placebo may be far out: the frame ends, and the arm is drawn at its edge
                low, high = min(low, max(saved(value), -60.0)), max(high, min(saved(value), 60.0))
    unit = next(u for u in (1, 2, 5, 10, 20, 50) if (high - low) / u <= 12)
    low, high = math.floor(low / unit) * unit, math.ceil(high / unit) * unit

    def x(value):
        return left + (min(max(value, low), high) - low) / (high - low) * (width - left - right)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">' % (
        width, height, width, height), "<title>Steps saved against tuned AdamW, model %s</title>" % study.model.name,
        STYLE, '<rect class="page" width="%d" height="%d"/>' % (width, height),
        '<text x="20" y="26" font-weight="bold">Steps saved against tuned AdamW, model %s</text>' % study.model.name,
        '<text class="small" x="20" y="46">%d steps, learning rate tuned alike; a dot is a seed, the bar the 95 %% '
        'interval of the mean</text>' % study.n]
    bottom = top + step * max(len(arms), 1)
    for i in range(int(low), int(high) + 1, unit):
        out.append('<line class="%s" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>' % (
            "zero" if i == 0 else "axis", x(i), top - 6, x(i), bottom))
        out.append('<text class="small" x="%.1f" y="%d" text-anchor="middle">%d %%</text>' % (x(i), bottom + 18, i))
    out.append('<text class="small" x="%d" y="%d">worse</text>' % (left, bottom + 40))
    out.append('<text class="small" x="%d" y="%d" text-anchor="end">better</text>' % (width - right, bottom + 40))
    for i, arm in enumerate(arms):
        y = top + step * i + step / 2
        out.append('<text x="%d" y="%.1f" text-anchor="end">%s</text>' % (left - 14, y + 4, arm.words))
        for ratio in arm.ratios.values():
            out.append('<circle class="seed" cx="%.1f" cy="%.1f" r="4"/>' % (x(saved(ratio)), y))
        least, most = arm.ratio_interval
        if not math.isnan(least):
            out.append('<line class="bar" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>' % (
                x(saved(most)), y, x(saved(least)), y))
        out.append('<circle class="mean" cx="%.1f" cy="%.1f" r="5"/>' % (x(saved(arm.ratio)), y))
    return "\n".join(out + ["</svg>", ""])


def write(model, rows, folder):
    """Writes NAME.md and NAME.svg; the text of the first."""
    study = Study(model, rows)
    sources = sorted({row["source"] for row in rows.values()})
    base = study.arms.get("none")
    n = min((len(a.good) for a in study.arms.values()), default=0)
    cpu = math.fsum(row["cpu"] for row in rows.values() if not math.isnan(row["cpu"])) / 3600
    lines = ["# The study of prediction, model %s" % model.name, "",
             "Made by `tests/study/study.py report` from `%s.csv`: %d runs of sources %s, %.1f hours of a core. What "
             "was to be shown, and how, is in [the protocol](../../study/PROTOCOL.md)." % (
                 model.name, len(rows), ", ".join(sources), cpu), ""]
    if n < len(model.seeds) or len(model.seeds) < 8:
        lines += ["**Preliminary**: not all seeds of all arms are there.", ""]
    if base and base.good:
        lines += ["AdamW, rate %s, %d steps: %s. What steps buy it: loss falls by %s for each unit of ln(steps), so "
                  "1 %% of them is worth %s nats. The target is %s." % (
                      rate_words(study, base), study.n, number(base.mean_of("final")), number(study.slope),
                      number(0.01 * study.slope, "%.5f"), number(study.target)), ""]
    lines += main_table(study) + [
        "", "Differences are paired over seeds; below zero, and ratios below one, are better. *: outside of what "
        "AdamW's own budgets span, an extrapolation.", ""] + verdicts(study) + [
            "", "![steps saved](%s.svg)" % model.name, ""] + watch_table(study)
    text = "\n".join(lines) + "\n"
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, model.name + ".md"), "w", encoding="utf-8") as f:
        f.write(text)
    with open(os.path.join(folder, model.name + ".svg"), "w", encoding="utf-8") as f:
        f.write(figure(study))
    return text


# ---- self-test -----------------------------------------------------------------------------------------------------

def invented(model, effects, noise):
    """Rows of a study whose truth is known: loss = 2 + seed - 0.4 ln(steps / N), less the effect of the arm. With
    `noise` an arm's runs differ by (-1)^seed of it. The middle rate of each grid is the best."""
    rows = {}

    def add(arm, best, steps, seed, penalty=0.0):
        effect = effects.get(arm, 0.0)
        wobble = noise * (-1) ** seed if arm != "none" and plan.ARMS[arm].settings["mode"] != "off" else 0.0
        run = plan.Run(model.name, arm, best[0], best[1], steps, seed)
        final = 2 + 0.1 * seed - 0.4 * math.log(steps / model.steps) - effect + wobble + penalty
        rows[run] = dict(status="done", source="x", wall=1.0, ema=2.0, spent=float(steps), cpu=90.0, step_wall=100.0,
                         final=final, moves=1.0, rollbacks=0.0, coverage=0.9, error_windows=0.01 + 1e-4 * seed,
                         error_last=0.012 + 1.1e-4 * seed, error_law=0.03 + 1e-3 * seed, brier=0.1, ece=0.05,
                         predictor=0.0 if arm == "none" else 1.0)
    for stage in model.stages:
        for run in plan.runs_of(model, stage, {r: row["final"] for r, row in rows.items()}):
            muon = plan.ARMS[run.arm].rate == "muon"
            rates, rate = (model.muon_rates, run.muon_rate) if muon else (model.rates, run.rate)
            penalty = 0.05 * abs(rates.index(rate) - len(rates) // 2)
            add(run.arm, (run.rate, run.muon_rate), run.steps, run.seed, penalty)
    return rows


def self_test():
    """A list of what is wrong with tables of invented studies."""
    global RESAMPLINGS
    wrong, kept, RESAMPLINGS = [], RESAMPLINGS, 300
    model = plan.MODELS["S"]

    def check(what, is_, should):
        if not (is_ == should or isinstance(should, float) and abs(is_ - should) < 1e-9):
            wrong.append("%s: %r, and should be %r" % (what, is_, should))
    good = Study(model, invented(model, {"A": 0.4 * math.log(1 / 0.9), "auto": 0.4 * math.log(1 / 0.88)}, 0.001))
    check("slope", good.slope, 0.4)
    check("target", good.target, 2 + 0.1 * 100.5)
    check("ratio of A", good.arms["A"].ratio, 0.9)
    check("ratio of none", good.arms["none"].ratio, 1.0)
    check("time of A", analysis.mean(list(good.arms["A"].times.values())) / good.arms["A"].ratio > 1 / 0.99, True)
    check("rate of A", good.arms["A"].best, (6e-3, 0.0))
    check("best Muon rate", good.arms["muon"].best, (6e-3, 2e-2))
    check("arms", set(good.arms), plan.arms_of(model))
    words = verdicts(good)
    check("verdicts of a success", [("**holds**" in w) for w in words[:5]], [True] * 5)
    check("direct check", words[5].split(":")[-1].split(" nats")[0].strip("+- "), "0.0000")
    check("off", words[-1].endswith("yes"), True)
    # an arm that is harmful, placebos that cost 4 %, coefficients that auto adds nothing to
    bad = Study(model, invented(model, {"A": -0.01, "auto": -0.02, "auto-random": -0.4 * math.log(1.04)}, 0.002))
    check("verdicts of a failure", [("**holds**" in w) for w in verdicts(bad)[:5]], [False, False, False, True, False])
    # an effect within the noise is no evidence, and lost runs are harm
    rows = invented(model, {"A": 0.001, "auto": 0.0}, 0.01)
    check("H1 within the noise", "does not" in verdicts(Study(model, rows))[0], True)
    rows = invented(model, {"auto": 0.05}, 0.001)
    lost = plan.Run("S", "auto", 6e-3, 0.0, 1000, 3)
    rows[lost].update(status="lost: the loss is not finite", final=math.nan)
    check("H2 with a lost run", "does not" in verdicts(Study(model, rows))[1], True)
    # a study that has only begun
    rows = invented(model, {}, 0.001)
    few = {run: row for run, row in rows.items() if run.arm in ("none", "A") and run.seed in (100, 101)}
    check("a study that has begun", ["not measured" in w for w in verdicts(Study(model, few))[:5]], [True] * 5)
    # every model has a report, whatever arms it lacks
    for other in plan.MODELS.values():
        lines = main_table(Study(other, invented(other, {}, 0.001)))
        arms = [e for what, entries in other.stages if what == "runs" for e in entries if not isinstance(e, tuple)]
        words = {line.split(" | ")[0][2:] for line in lines[2:]}
        check("arms of " + other.name, words >= {plan.ARMS[a].words for a in arms}, True)
    check("a figure of nothing", figure(Study(model, {})).endswith("</svg>\n"), True)
    check("seeds in the figure", figure(good).count('class="seed"'), 8 * (len(good.arms) - 2))
    RESAMPLINGS = kept
    return wrong
