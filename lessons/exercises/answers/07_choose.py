# %% right: filter, then sort
def choose(settings, megabytes, steps, least_kept, margin):
    def mean(values):
        return sum(values) / len(values)

    fits = [
        s for s in settings if 16 * s["trainable"] <= megabytes * 1e6 and s["steps"] <= steps and mean(s["kept"]) >= least_kept
    ]
    if not fits:
        return None
    most = max(mean(s["learned"]) for s in fits)
    good = [s for s in fits if mean(s["learned"]) >= most - margin]
    best = min(good, key=lambda s: (s["trainable"], -mean(s["learned"])))
    return best["rank"], best["lr"]


# %% right: numpy masks
import numpy as np


def choose(settings, megabytes, steps, least_kept, margin):
    learned, kept = (np.mean([s[name] for s in settings], axis=1) for name in ("learned", "kept"))
    size, long = (np.array([s[name] for s in settings]) for name in ("trainable", "steps"))
    fits = (size * 16e-6 <= megabytes) & (long <= steps) & (kept > least_kept - 1e-12)
    if not fits.any():
        return None
    good = np.flatnonzero(fits & (learned >= learned[fits].max() - margin - 1e-12))
    best = settings[sorted(good, key=lambda i: (size[i], -learned[i]))[0]]
    return [best["rank"], best["lr"]]


# %% right: loop
from statistics import fmean


def choose(settings, megabytes, steps, least_kept, margin):
    top, allowed = -1.0, []
    for row in settings:
        bytes_needed = row["trainable"] * (4 + 4 + 4 + 4)
        if bytes_needed > megabytes * 1_000_000 or row["steps"] > steps or fmean(row["kept"]) < least_kept:
            continue
        allowed.append(row)
        top = max(top, fmean(row["learned"]))
    chosen = None
    for row in allowed:
        if fmean(row["learned"]) < top - margin:
            continue
        key = (row["trainable"], -fmean(row["learned"]))
        if chosen is None or key < (chosen["trainable"], -fmean(chosen["learned"])):
            chosen = row
    return chosen and (chosen["rank"], chosen["lr"])


# %% wrong: forgets the memory | more memory
def choose(settings, megabytes, steps, least_kept, margin):
    def mean(values):
        return sum(values) / len(values)

    fits = [s for s in settings if s["steps"] <= steps and mean(s["kept"]) >= least_kept]
    if not fits:
        return None
    most = max(mean(s["learned"]) for s in fits)
    good = [s for s in fits if mean(s["learned"]) >= most - margin]
    best = min(good, key=lambda s: (s["trainable"], -mean(s["learned"])))
    return best["rank"], best["lr"]


# %% wrong: four bytes a number | 16 bytes
def choose(settings, megabytes, steps, least_kept, margin):
    def mean(values):
        return sum(values) / len(values)

    fits = [
        s for s in settings if 4 * s["trainable"] <= megabytes * 1e6 and s["steps"] <= steps and mean(s["kept"]) >= least_kept
    ]
    if not fits:
        return None
    most = max(mean(s["learned"]) for s in fits)
    good = [s for s in fits if mean(s["learned"]) >= most - margin]
    best = min(good, key=lambda s: (s["trainable"], -mean(s["learned"])))
    return best["rank"], best["lr"]


# %% wrong: forgets the steps | more steps
def choose(settings, megabytes, steps, least_kept, margin):
    def mean(values):
        return sum(values) / len(values)

    fits = [s for s in settings if 16 * s["trainable"] <= megabytes * 1e6 and mean(s["kept"]) >= least_kept]
    if not fits:
        return None
    most = max(mean(s["learned"]) for s in fits)
    good = [s for s in fits if mean(s["learned"]) >= most - margin]
    best = min(good, key=lambda s: (s["trainable"], -mean(s["learned"])))
    return best["rank"], best["lr"]


# %% wrong: forgets what is kept | keeps less
def choose(settings, megabytes, steps, least_kept, margin):
    def mean(values):
        return sum(values) / len(values)

    fits = [s for s in settings if 16 * s["trainable"] <= megabytes * 1e6 and s["steps"] <= steps]
    if not fits:
        return None
    most = max(mean(s["learned"]) for s in fits)
    good = [s for s in fits if mean(s["learned"]) >= most - margin]
    best = min(good, key=lambda s: (s["trainable"], -mean(s["learned"])))
    return best["rank"], best["lr"]


# %% wrong: no margin | up to the margin
def choose(settings, megabytes, steps, least_kept, margin):
    def mean(values):
        return sum(values) / len(values)

    fits = [
        s for s in settings if 16 * s["trainable"] <= megabytes * 1e6 and s["steps"] <= steps and mean(s["kept"]) >= least_kept
    ]
    if not fits:
        return None
    most = max(mean(s["learned"]) for s in fits)
    good = [s for s in fits if mean(s["learned"]) >= most]
    best = min(good, key=lambda s: (s["trainable"], -mean(s["learned"])))
    return best["rank"], best["lr"]


# %% wrong: the smallest | as much as the best
def choose(settings, megabytes, steps, least_kept, margin):
    def mean(values):
        return sum(values) / len(values)

    fits = [
        s for s in settings if 16 * s["trainable"] <= megabytes * 1e6 and s["steps"] <= steps and mean(s["kept"]) >= least_kept
    ]
    if not fits:
        return None
    most = max(mean(s["learned"]) for s in fits)
    good = fits
    best = min(good, key=lambda s: (s["trainable"], -mean(s["learned"])))
    return best["rank"], best["lr"]


# %% wrong: luckiest seed | luckiest seed
def choose(settings, megabytes, steps, least_kept, margin):
    def mean(values):
        return max(values)

    fits = [
        s for s in settings if 16 * s["trainable"] <= megabytes * 1e6 and s["steps"] <= steps and mean(s["kept"]) >= least_kept
    ]
    if not fits:
        return None
    most = max(mean(s["learned"]) for s in fits)
    good = [s for s in fits if mean(s["learned"]) >= most - margin]
    best = min(good, key=lambda s: (s["trainable"], -mean(s["learned"])))
    return best["rank"], best["lr"]


# %% wrong: learned and kept added up | is a bound
def choose(settings, megabytes, steps, least_kept, margin):
    def mean(values):
        return sum(values) / len(values)

    fits = [
        s for s in settings if 16 * s["trainable"] <= megabytes * 1e6 and s["steps"] <= steps and mean(s["kept"]) >= least_kept
    ]
    if not fits:
        return None
    most = max(mean(s["learned"]) + mean(s["kept"]) for s in fits)
    good = [s for s in fits if mean(s["learned"]) + mean(s["kept"]) >= most - margin]
    best = min(good, key=lambda s: (s["trainable"], -mean(s["learned"])))
    return best["rank"], best["lr"]


# %% wrong: takes what does not fit | None is right
def choose(settings, megabytes, steps, least_kept, margin):
    def mean(values):
        return sum(values) / len(values)

    fits = [
        s for s in settings if 16 * s["trainable"] <= megabytes * 1e6 and s["steps"] <= steps and mean(s["kept"]) >= least_kept
    ]
    if not fits:
        fits = settings
    most = max(mean(s["learned"]) for s in fits)
    good = [s for s in fits if mean(s["learned"]) >= most - margin]
    best = min(good, key=lambda s: (s["trainable"], -mean(s["learned"])))
    return best["rank"], best["lr"]
