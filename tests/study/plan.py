"""What the study runs: models, arms, grids, seeds, and in which order (PROTOCOL.md, which was there first)."""
import collections

# what a run is; steps of 0.9, 1 or 1.1 budgets
Run = collections.namedtuple("Run", "model arm rate muon_rate steps seed")
Arm = collections.namedtuple("Arm", "name words settings rate")           # rate: own, none (that of none), muon
Model = collections.namedtuple("Model", "name text settings steps seeds tuning_seeds rates muon_rates stages common")

ARMS = {a.name: a for a in (
    Arm("none", "AdamW, tuned", {"mode": "none"}, "own"),
    Arm("off", "a predictor that only watches", {"mode": "off"}, "none"),
    Arm("A", "mode A", {"mode": "A"}, "own"),
    Arm("auto", "auto, rate of its own", {"mode": "auto"}, "own"),
    Arm("auto-default", "auto, rate of none", {"mode": "auto"}, "none"),
    Arm("A-default", "mode A, rate of none", {"mode": "A"}, "none"),
    Arm("A2", "mode A2 (EMA-Nesterov)", {"mode": "A2"}, "own"),
    Arm("B", "mode B (jumps)", {"mode": "B"}, "own"),
    Arm("B-default", "mode B, rate of none", {"mode": "B"}, "none"),
    Arm("C", "mode C (skipped steps)", {"mode": "C"}, "own"),
    Arm("C-default", "mode C, rate of none", {"mode": "C"}, "none"),
    Arm("A-random", "A, random directions", {"mode": "A", "placebo": 1}, "none"),
    Arm("auto-random", "auto, random directions", {"mode": "auto", "placebo": 1}, "none"),
    Arm("auto-mirror", "auto, opposite directions", {"mode": "auto", "placebo": 2}, "none"),
    Arm("lookahead", "Lookahead: A with mu 0", {"mode": "A", "mu": 1e-6}, "own"),
    Arm("snoo", "A with mu 0.8 (as SNOO)", {"mode": "A", "mu": 0.8, "trust": 2}, "own"),
    Arm("beta95", "AdamW, beta1 0.95", {"mode": "none", "beta1": 0.95}, "own"),
    Arm("muon", "Muon", {"mode": "none", "optimizer": 2}, "muon"),
    Arm("muon-A", "Muon with mode A", {"mode": "A", "optimizer": 2}, "muon"),
)}
H1 = ("A", "auto", "A2", "B", "C")
H6 = ("B-default", "C-default", "A-default", "auto-default")
FIXED = ("A", "A2", "B", "C")
PLACEBOS = ("auto-random", "auto-mirror")
# arms whose runs are those of another with the same settings
ALIASES = {"auto-default": "auto", "A-default": "A", "B-default": "B", "C-default": "C"}

# (what is done, arms or (arm, part of the budget)); tune: the grid of those that have one of their own
S_STAGES = (
    ("tune", ("none", "A", "auto")),
    ("runs", ("none", "auto-default", "auto", "A", "off")),
    ("runs", (("none", 0.9), ("none", 1.1), ("A", 0.9), ("auto", 0.9))),
    ("runs", ("auto-random", "auto-mirror", "A-random")),
    ("tune", ("A2", "B", "C")),
    ("runs", ("A2", "B", "C")),
    ("tune", ("muon", "muon-A", "lookahead", "snoo", "beta95")),
    ("runs", ("muon", "muon-A", "lookahead", "snoo", "beta95")),
)
M_STAGES = (
    ("tune", ("none", "auto", "A")),
    ("runs", ("none", "auto-default", "auto", "A", ("none", 0.9), ("none", 1.1), ("A", 0.9), ("auto", 0.9))),
)
# H4 again, with what the mean of the next window is expected to be since then: seeds that nothing was chosen by
F_STAGES = (
    ("runs", ("off", "auto-default")),
    ("runs", ("none", ("none", 0.9), ("none", 1.1))),
)
# a rate that stays and then falls, so that B and C may jump (S: they may not, the rate falls all the way)
W_STAGES = (
    ("tune", ("none",)),
    ("runs", ("none", "B-default", "auto-default", "C-default", "A-default")),
    ("runs", (("none", 0.9), ("none", 1.1))),
)
SMOKE_STAGES = (
    ("tune", ("none", "A", "auto")),
    ("runs", ("none", "A", "auto", "auto-default", "off", ("none", 0.9), ("none", 1.1))),
)
MODELS = {m.name: m for m in (
    Model("S", "tinyshakespeare.txt", {"vocab": 257, "embd": 96, "layers": 3, "ctx": 96, "bs": 16, "every": 100}, 1000,
          tuple(range(8)), (100, 101), (3e-3, 4.5e-3, 6e-3, 9e-3, 12e-3), (5e-3, 1e-2, 2e-2, 4e-2, 8e-2), S_STAGES,
          {"ema": 0.99}),
    Model("F", "tinyshakespeare.txt", {"vocab": 257, "embd": 96, "layers": 3, "ctx": 96, "bs": 16, "every": 100}, 1000,
          tuple(range(8, 16)), (), (9e-3,), (), F_STAGES, {"ema": 0.99}),
    Model("W", "tinyshakespeare.txt", {"vocab": 257, "embd": 96, "layers": 3, "ctx": 96, "bs": 16, "every": 100,
                                       "stable": 0.8}, 1000,
          tuple(range(16, 24)), (100, 101), (4.5e-3, 6e-3, 9e-3), (), W_STAGES, {"ema": 0.99}),
    Model("M", "war-and-peace.txt", {"vocab": 1024, "embd": 192, "layers": 6, "ctx": 128, "bs": 8, "every": 100}, 1000,
          tuple(range(8)), (100,), (1.5e-3, 3e-3, 6e-3), (), M_STAGES, {"ema": 0.99}),
    Model("smoke", "tinyshakespeare.txt", {"vocab": 257, "embd": 32, "layers": 1, "ctx": 32, "bs": 8, "every": 50,
                                           "validation": 8, "warmup": 20}, 200,
          (0, 1), (100,), (6e-3, 12e-3), (), SMOKE_STAGES, {"ema": 0.9, "warmup_steps": 20, "window": 5}),
)}


def family(model):
    """The arms that Holm's correction is over."""
    return H6 if model.name == "W" else H1


def arms_of(model):
    """The names of the arms that a model's stages run."""
    return {entry[0] if isinstance(entry, tuple) else entry for _, arms in model.stages for entry in arms}


def name_of(arm):
    return ALIASES.get(arm, arm)


def grid(model, arm):
    """(rate, Muon's rate) of each trial; none: the rate of none, where it is known."""
    if ARMS[arm].rate == "muon":
        return [(None, rate) for rate in model.muon_rates]
    return [(rate, 0.0) for rate in model.rates]


def tuned(model, arm, losses):
    """(rate, Muon's rate) of the lowest mean loss over the tuning seeds; None: not all trials are there.
    losses: {Run: final loss}, infinite of those that were lost. An arm that a model does not have has no trials."""
    kind = ARMS[arm].rate
    if kind == "none":
        return tuned(model, "none", losses)
    if len(model.rates) == 1:           # nothing is tuned
        return model.rates[0], 0.0
    base = tuned(model, "none", losses) if kind == "muon" else None
    if kind == "muon" and base is None:
        return None
    found = []
    for rate, muon_rate in grid(model, arm):
        rate = base[0] if rate is None else rate
        runs = [Run(model.name, name_of(arm), rate, muon_rate, model.steps, seed) for seed in model.tuning_seeds]
        if any(run not in losses for run in runs):
            return None
        found.append((sum(losses[run] for run in runs) / len(runs), rate, muon_rate))
    return min(found)[1:] if found else None


def at_edge(model, arm, best):
    """Whether a best rate is the first or last of its grid."""
    kind = ARMS[arm].rate
    rates = model.muon_rates if kind == "muon" else model.rates
    return len(rates) > 1 and best is not None and best[kind == "muon"] in (rates[0], rates[-1])


def runs_of(model, stage, losses):
    """The runs of a stage, in their order; with a rate of None where tuning does not know it yet."""
    what, arms = stage
    out = []
    if what == "tune":
        base = tuned(model, "none", losses)
        for arm in arms:
            for rate, muon_rate in grid(model, arm):
                rate = (base[0] if base else None) if rate is None else rate
                out += [Run(model.name, name_of(arm), rate, muon_rate, model.steps, s) for s in model.tuning_seeds]
        return out
    for seed in model.seeds:
        for entry in arms:
            arm, part = entry if isinstance(entry, tuple) else (entry, 1)
            best = tuned(model, arm, losses) or (None, None)
            out.append(Run(model.name, name_of(arm), best[0], best[1], round(part * model.steps), seed))
    return list(dict.fromkeys(out)) if all(run.rate is not None for run in out) else out


def arguments(model, run, text):
    settings = dict(model.settings, data=text, steps=run.steps, rate="%.9g" % run.rate, seed=run.seed)
    settings.update(model.common)
    settings.update(ARMS[run.arm].settings)
    if run.muon_rate:
        settings["muon_rate"] = "%.9g" % run.muon_rate
    return ["%s=%s" % item for item in settings.items()]
