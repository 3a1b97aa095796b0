# %% right: max with a key
def choose_checkpoint(checkpoints, least_kept):
    good = [c for c in checkpoints if c["kept"] >= least_kept]
    if not good:
        return None
    return max(good, key=lambda c: (c["validation_exact"], -c["step"]))["step"]


# %% right: sort
def choose_checkpoint(checkpoints, least_kept):
    in_order = sorted(checkpoints, key=lambda row: row["step"])
    best = None
    for row in in_order:
        if row["kept"] < least_kept:
            continue
        if best is None or row["validation_exact"] > best["validation_exact"]:
            best = row
    return best and best["step"]


# %% right: numpy
import numpy as np


def choose_checkpoint(checkpoints, least_kept):
    steps, exact, kept = (np.array([c[k] for c in checkpoints]) for k in ("step", "validation_exact", "kept"))
    fits = kept >= least_kept
    if not fits.any():
        return None
    top = exact[fits].max()
    return steps[fits & (exact == top)].min()


# %% wrong: ignores what is kept | keeps less
def choose_checkpoint(checkpoints, least_kept):
    good = [c for c in checkpoints]
    if not good:
        return None
    return max(good, key=lambda c: (c["validation_exact"], -c["step"]))["step"]


# %% wrong: lowest validation loss | lowest validation loss
def choose_checkpoint(checkpoints, least_kept):
    good = [c for c in checkpoints if c["kept"] >= least_kept]
    if not good:
        return None
    return min(good, key=lambda c: c["validation_loss"])["step"]


# %% wrong: chooses on the test set | test set
def choose_checkpoint(checkpoints, least_kept):
    good = [c for c in checkpoints if c["kept"] >= least_kept]
    if not good:
        return None
    return max(good, key=lambda c: (c["test_exact"], -c["step"]))["step"]


# %% wrong: the last | the last one
def choose_checkpoint(checkpoints, least_kept):
    good = [c for c in checkpoints if c["kept"] >= least_kept]
    if not good:
        return None
    return max(good, key=lambda c: c["step"])["step"]


# %% wrong: lowest training loss | lowest training loss
def choose_checkpoint(checkpoints, least_kept):
    good = [c for c in checkpoints if c["kept"] >= least_kept]
    if not good:
        return None
    return min(good, key=lambda c: c["train_loss"])["step"]


# %% wrong: later of two equals | take the earlier one
def choose_checkpoint(checkpoints, least_kept):
    good = [c for c in checkpoints if c["kept"] >= least_kept]
    if not good:
        return None
    return max(good, key=lambda c: (c["validation_exact"], c["step"]))["step"]


# %% wrong: the most careful one | the score decides
def choose_checkpoint(checkpoints, least_kept):
    good = [c for c in checkpoints if c["kept"] >= least_kept]
    if not good:
        return None
    return max(good, key=lambda c: c["kept"])["step"]


# %% wrong: takes some checkpoint where none will do | return None
def choose_checkpoint(checkpoints, least_kept):
    good = [c for c in checkpoints if c["kept"] >= least_kept]
    if not good:
        good = checkpoints
    return max(good, key=lambda c: (c["validation_exact"], -c["step"]))["step"]
