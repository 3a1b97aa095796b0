# %% right: comparisons
def decide(remedies, least_learned, least_kept):
    def mean(values):
        return sum(values) / len(values)

    points = [(mean(r["learned"]), mean(r["kept"])) for r in remedies]
    frontier = []
    for remedy, (learned, kept) in zip(remedies, points):
        beaten = any(x >= learned and y >= kept and (x > learned or y > kept) for x, y in points)
        if not beaten:
            frontier.append(remedy["name"])
    good = [r for r in remedies if min(r["learned"]) >= least_learned and min(r["kept"]) >= least_kept]
    choice = min(good, key=lambda r: r["seconds"])["name"] if good else None
    return {"frontier": frontier, "choice": choice}


# %% right: numpy
import numpy as np


def decide(remedies, least_learned, least_kept):
    scores = np.array([[np.mean(r["learned"]), np.mean(r["kept"])] for r in remedies])
    at_least = (scores[None] >= scores[:, None]).all(-1)
    more = (scores[None] > scores[:, None]).any(-1)
    names = np.array([r["name"] for r in remedies])
    worst = np.array([[min(r["learned"]), min(r["kept"])] for r in remedies])
    seconds = np.where((worst >= [least_learned, least_kept]).all(1), [r["seconds"] for r in remedies], np.inf)
    cheapest = None if np.isinf(seconds).all() else str(names[seconds.argmin()])
    return dict(choice=cheapest, frontier=[str(n) for n in names[~(at_least & more).any(1)]])


# %% right: a walk in order of learned
from statistics import fmean


def decide(remedies, least_learned, least_kept):
    groups = {}
    for r in remedies:
        groups.setdefault((fmean(r["learned"]), fmean(r["kept"])), []).append(r["name"])
    frontier, highest = [], -1.0
    for (learned, kept), names in sorted(groups.items(), reverse=True):
        if kept > highest:
            frontier += names
            highest = kept
    for r in sorted(remedies, key=lambda r: r["seconds"]):
        if all(x >= least_learned for x in r["learned"]) and all(x >= least_kept for x in r["kept"]):
            return {"frontier": frontier, "choice": r["name"]}
    return {"frontier": frontier, "choice": None}


# %% wrong: beaten only in both | beaten, too
def decide(remedies, least_learned, least_kept):
    def mean(values):
        return sum(values) / len(values)

    points = [(mean(r["learned"]), mean(r["kept"])) for r in remedies]
    frontier = []
    for remedy, (learned, kept) in zip(remedies, points):
        beaten = any(x > learned and y > kept for x, y in points)
        if not beaten:
            frontier.append(remedy["name"])
    good = [r for r in remedies if min(r["learned"]) >= least_learned and min(r["kept"]) >= least_kept]
    choice = min(good, key=lambda r: r["seconds"])["name"] if good else None
    return {"frontier": frontier, "choice": choice}


# %% wrong: equals beat each other | equals don't beat
def decide(remedies, least_learned, least_kept):
    def mean(values):
        return sum(values) / len(values)

    frontier = []
    for remedy in remedies:
        others = [r for r in remedies if r["name"] != remedy["name"]]
        if not any(mean(r["learned"]) >= mean(remedy["learned"]) and mean(r["kept"]) >= mean(remedy["kept"]) for r in others):
            frontier.append(remedy["name"])
    good = [r for r in remedies if min(r["learned"]) >= least_learned and min(r["kept"]) >= least_kept]
    choice = min(good, key=lambda r: r["seconds"])["name"] if good else None
    return {"frontier": frontier, "choice": choice}


# %% wrong: the two extremes alone | missing from your frontier
def decide(remedies, least_learned, least_kept):
    def mean(values):
        return sum(values) / len(values)

    points = [(mean(r["learned"]), mean(r["kept"])) for r in remedies]
    frontier = []
    for remedy, (learned, kept) in zip(remedies, points):
        beaten = any(x >= learned and y >= kept and (x > learned or y > kept) for x, y in points)
        if not beaten:
            frontier.append(remedy["name"])
    frontier = [max(remedies, key=lambda r: mean(r[what]))["name"] for what in ("learned", "kept")]
    good = [r for r in remedies if min(r["learned"]) >= least_learned and min(r["kept"]) >= least_kept]
    choice = min(good, key=lambda r: r["seconds"])["name"] if good else None
    return {"frontier": frontier, "choice": choice}


# %% wrong: everything is on the frontier | another learns as much
def decide(remedies, least_learned, least_kept):
    def mean(values):
        return sum(values) / len(values)

    points = [(mean(r["learned"]), mean(r["kept"])) for r in remedies]
    frontier = []
    for remedy, (learned, kept) in zip(remedies, points):
        beaten = any(x >= learned and y >= kept and (x > learned or y > kept) for x, y in points)
        if True:
            frontier.append(remedy["name"])
    good = [r for r in remedies if min(r["learned"]) >= least_learned and min(r["kept"]) >= least_kept]
    choice = min(good, key=lambda r: r["seconds"])["name"] if good else None
    return {"frontier": frontier, "choice": choice}


# %% wrong: bounds on the mean | not for the mean
def decide(remedies, least_learned, least_kept):
    def mean(values):
        return sum(values) / len(values)

    points = [(mean(r["learned"]), mean(r["kept"])) for r in remedies]
    frontier = []
    for remedy, (learned, kept) in zip(remedies, points):
        beaten = any(x >= learned and y >= kept and (x > learned or y > kept) for x, y in points)
        if not beaten:
            frontier.append(remedy["name"])
    good = [r for r in remedies if mean(r["learned"]) >= least_learned and mean(r["kept"]) >= least_kept]
    choice = min(good, key=lambda r: r["seconds"])["name"] if good else None
    return {"frontier": frontier, "choice": choice}


# %% wrong: bounds on the luckiest seed | luckiest
def decide(remedies, least_learned, least_kept):
    def mean(values):
        return sum(values) / len(values)

    points = [(mean(r["learned"]), mean(r["kept"])) for r in remedies]
    frontier = []
    for remedy, (learned, kept) in zip(remedies, points):
        beaten = any(x >= learned and y >= kept and (x > learned or y > kept) for x, y in points)
        if not beaten:
            frontier.append(remedy["name"])
    good = [r for r in remedies if max(r["learned"]) >= least_learned and max(r["kept"]) >= least_kept]
    choice = min(good, key=lambda r: r["seconds"])["name"] if good else None
    return {"frontier": frontier, "choice": choice}


# %% wrong: ignores what is learned | learn enough
def decide(remedies, least_learned, least_kept):
    def mean(values):
        return sum(values) / len(values)

    points = [(mean(r["learned"]), mean(r["kept"])) for r in remedies]
    frontier = []
    for remedy, (learned, kept) in zip(remedies, points):
        beaten = any(x >= learned and y >= kept and (x > learned or y > kept) for x, y in points)
        if not beaten:
            frontier.append(remedy["name"])
    good = [r for r in remedies if min(r["kept"]) >= least_kept]
    choice = min(good, key=lambda r: r["seconds"])["name"] if good else None
    return {"frontier": frontier, "choice": choice}


# %% wrong: ignores what is kept | keep enough
def decide(remedies, least_learned, least_kept):
    def mean(values):
        return sum(values) / len(values)

    points = [(mean(r["learned"]), mean(r["kept"])) for r in remedies]
    frontier = []
    for remedy, (learned, kept) in zip(remedies, points):
        beaten = any(x >= learned and y >= kept and (x > learned or y > kept) for x, y in points)
        if not beaten:
            frontier.append(remedy["name"])
    good = [r for r in remedies if min(r["learned"]) >= least_learned]
    choice = min(good, key=lambda r: r["seconds"])["name"] if good else None
    return {"frontier": frontier, "choice": choice}


# %% wrong: keeps most, not cheapest | take the cheapest
def decide(remedies, least_learned, least_kept):
    def mean(values):
        return sum(values) / len(values)

    points = [(mean(r["learned"]), mean(r["kept"])) for r in remedies]
    frontier = []
    for remedy, (learned, kept) in zip(remedies, points):
        beaten = any(x >= learned and y >= kept and (x > learned or y > kept) for x, y in points)
        if not beaten:
            frontier.append(remedy["name"])
    good = [r for r in remedies if min(r["learned"]) >= least_learned and min(r["kept"]) >= least_kept]
    choice = max(good, key=lambda r: mean(r["kept"]))["name"] if good else None
    return {"frontier": frontier, "choice": choice}


# %% wrong: always chooses | None is right
def decide(remedies, least_learned, least_kept):
    def mean(values):
        return sum(values) / len(values)

    points = [(mean(r["learned"]), mean(r["kept"])) for r in remedies]
    frontier = []
    for remedy, (learned, kept) in zip(remedies, points):
        beaten = any(x >= learned and y >= kept and (x > learned or y > kept) for x, y in points)
        if not beaten:
            frontier.append(remedy["name"])
    good = [r for r in remedies if min(r["learned"]) >= least_learned and min(r["kept"]) >= least_kept]
    choice = min(good, key=lambda r: r["seconds"])["name"] if good else remedies[0]["name"]
    return {"frontier": frontier, "choice": choice}
