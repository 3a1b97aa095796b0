# %% right: by index
import numpy as np


def share_kept(before, after):
    shares = []
    for skill, known in before.items():
        if known.any():
            shares.append(after[skill][known].mean())
    return np.mean(shares)


# %% right: loop
def share_kept(before, after):
    shares = []
    for skill in before:
        known = still = 0
        for was, now in zip(before[skill], after[skill]):
            if was:
                known += 1
                still += bool(now)
        if known:
            shares.append(still / known)
    return sum(shares) / len(shares)


# %% right: counts
import numpy as np


def share_kept(before, after):
    known = np.array([np.count_nonzero(b) for b in before.values()])
    still = np.array([np.count_nonzero(before[s] & after[s]) for s in before])
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.nanmean(still / known))


# %% right: torch
import torch


def share_kept(before, after):
    pairs = [(torch.as_tensor(b).double(), torch.as_tensor(after[s]).double()) for s, b in before.items()]
    return torch.stack([(b @ a) / b.sum() for b, a in pairs if b.sum() > 0]).mean()


# %% wrong: score after training | score after training
import numpy as np


def share_kept(before, after):
    shares = []
    for skill, known in before.items():
        if known.any():
            shares.append(after[skill].mean())
    return np.mean(shares)


# %% wrong: score after over score before | make up for lost ones
import numpy as np


def share_kept(before, after):
    shares = []
    for skill, known in before.items():
        if known.any():
            shares.append(after[skill].sum() / known.sum())
    return np.mean(shares)


# %% wrong: difference of scores | make up for lost ones
import numpy as np


def share_kept(before, after):
    shares = []
    for skill, known in before.items():
        if known.any():
            shares.append(known.mean() - after[skill].mean())
    return np.mean(shares)


# %% wrong: share forgotten | one minus
import numpy as np


def share_kept(before, after):
    shares = []
    for skill, known in before.items():
        if known.any():
            shares.append(after[skill][known].mean())
    return 1 - np.mean(shares)


# %% wrong: all questions together | thrown together
import numpy as np


def share_kept(before, after):
    known = np.concatenate([before[s] for s in before])
    return np.concatenate([after[s] for s in before])[known].mean()


# %% wrong: divides by all questions | not by all
import numpy as np


def share_kept(before, after):
    shares = []
    for skill, known in before.items():
        if known.any():
            shares.append((known & after[skill]).mean())
    return np.mean(shares)


# %% wrong: answers that did not change | did not change
import numpy as np


def share_kept(before, after):
    shares = []
    for skill, known in before.items():
        if known.any():
            shares.append((known == after[skill]).mean())
    return np.mean(shares)


# %% wrong: nan of a skill never known | 0 / 0
import numpy as np


def share_kept(before, after):
    shares = []
    for skill, known in before.items():
        if True:
            shares.append(after[skill][known].mean())
    return np.mean(shares)


# %% wrong: counts a skill never known as lost | leave it out
import numpy as np


def share_kept(before, after):
    shares = []
    for skill, known in before.items():
        shares.append((known & after[skill]).sum() / max(1, known.sum()))
    return np.mean(shares)


# %% wrong: returns shares | one number
import numpy as np


def share_kept(before, after):
    shares = []
    for skill, known in before.items():
        if known.any():
            shares.append(after[skill][known].mean())
    return shares
