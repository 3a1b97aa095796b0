# %% right: argmax of means
def read_sweep(rates, learned, kept):
    score = learned.mean(1) + kept.mean(1)
    best = rates[score.argmax()]
    extend = "no"
    if best == rates.min():
        extend = "lower"
    if best == rates.max():
        extend = "higher"
    return {"best": best, "extend": extend}


# %% right: sorted rows
def read_sweep(rates, learned, kept):
    rows = sorted((float(r), sum(a) / len(a) + sum(b) / len(b)) for r, a, b in zip(rates, learned, kept))
    best = max(rows, key=lambda row: row[1])
    place = rows.index(best)
    return {"best": best[0], "extend": {0: "lower", len(rows) - 1: "higher"}.get(place, "no")}


# %% right: einsum
import numpy as np


def read_sweep(x, l, k):
    order = np.argsort(x)
    x, score = x[order], np.einsum("rs->r", (l + k)[order])
    i = int(np.argmax(score))
    return dict(extend="lower" if i == 0 else "higher" if i == len(x) - 1 else "no", best=np.float64(x[i]))


# %% wrong: learned alone | learns most
def read_sweep(rates, learned, kept):
    score = learned.mean(1)
    best = rates[score.argmax()]
    extend = "no"
    if best == rates.min():
        extend = "lower"
    if best == rates.max():
        extend = "higher"
    return {"best": best, "extend": extend}


# %% wrong: kept alone | keeps most
def read_sweep(rates, learned, kept):
    score = kept.mean(1)
    best = rates[score.argmax()]
    extend = "no"
    if best == rates.min():
        extend = "lower"
    if best == rates.max():
        extend = "higher"
    return {"best": best, "extend": extend}


# %% wrong: the place | return the rate itself
def read_sweep(rates, learned, kept):
    score = learned.mean(1) + kept.mean(1)
    best = score.argmax()
    extend = "no"
    if best == rates.min():
        extend = "lower"
    if best == rates.max():
        extend = "higher"
    return {"best": best, "extend": extend}


# %% wrong: sorts the rates alone | in no order
def read_sweep(rates, learned, kept):
    score = learned.mean(1) + kept.mean(1)
    rates = sorted(rates)
    best = rates[score.argmax()]
    extend = "no"
    if best == rates[0]:
        extend = "lower"
    if best == rates[-1]:
        extend = "higher"
    return {"best": best, "extend": extend}


# %% wrong: never extends | extend the sweep
def read_sweep(rates, learned, kept):
    score = learned.mean(1) + kept.mean(1)
    best = rates[score.argmax()]
    extend = "no"
    if best == rates.min():
        extend = "lower"
    if best == rates.max():
        extend = "higher"
    return {"best": best, "extend": "no"}


# %% wrong: extends the wrong way | goes the other way
def read_sweep(rates, learned, kept):
    score = learned.mean(1) + kept.mean(1)
    best = rates[score.argmax()]
    extend = "no"
    if best == rates.min():
        extend = "higher"
    if best == rates.max():
        extend = "lower"
    return {"best": best, "extend": extend}


# %% wrong: always extends | no need to extend
def read_sweep(rates, learned, kept):
    score = learned.mean(1) + kept.mean(1)
    best = rates[score.argmax()]
    extend = "higher"
    if best == rates.min():
        extend = "lower"
    if best == rates.max():
        extend = "higher"
    return {"best": best, "extend": extend}


# %% wrong: the ends of the list | end of the list
def read_sweep(rates, learned, kept):
    score = learned.mean(1) + kept.mean(1)
    best = rates[score.argmax()]
    extend = "no"
    if best == rates[0]:
        extend = "lower"
    if best == rates[-1]:
        extend = "higher"
    return {"best": best, "extend": extend}
