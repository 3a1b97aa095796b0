# %% right: numpy
import numpy as np


def ties(updates, density):
    keep = round(density * updates.shape[1])
    bar = np.sort(np.abs(updates), axis=1)[:, -keep][:, None]
    trimmed = np.where(np.abs(updates) >= bar, updates, 0)
    sign = np.sign(trimmed.sum(0))
    agrees = (np.sign(trimmed) == sign) & (trimmed != 0)
    return (trimmed * agrees).sum(0) / np.maximum(agrees.sum(0), 1)


# %% right: loops
def ties(updates, density):
    size = len(updates[0])
    keep = round(density * size)
    trimmed = []
    for update in updates:
        order = sorted(range(size), key=lambda i: -abs(update[i]))[:keep]
        trimmed.append({i: update[i] for i in order})
    merged = []
    for i in range(size):
        numbers = [t[i] for t in trimmed if i in t]
        total = sum(numbers)
        winners = [x for x in numbers if x * total > 0]
        merged.append(sum(winners) / len(winners) if winners else 0.0)
    return merged


# %% right: torch
import torch


def ties(updates, density):
    x = torch.as_tensor(updates)
    k = round(density * x.shape[1])
    mask = torch.zeros_like(x).scatter(1, x.abs().topk(k, dim=1).indices, 1.0)
    x = x * mask
    elected = torch.where(x.sum(0) >= 0, 1.0, -1.0)
    agree = x.sign() == elected
    return (x * agree).sum(0) / agree.sum(0).clamp(min=1)


# %% right: argpartition and masked means
import numpy as np


def ties(updates, density):
    n, size = updates.shape
    drop = size - round(density * size)
    left = updates.astype(np.float32)
    for row in left:
        row[np.argpartition(abs(row), drop)[:drop]] = 0
    positive, negative = np.clip(left, 0, None), np.clip(left, None, 0)
    winner = np.where(positive.sum(0) >= -negative.sum(0), positive, negative)
    count = (winner != 0).sum(0)
    return np.divide(winner.sum(0), count, out=np.zeros(size), where=count > 0)


# %% wrong: trims nothing | nothing was trimmed
import numpy as np


def ties(updates, density):
    keep = round(density * updates.shape[1])
    bar = np.sort(np.abs(updates), axis=1)[:, -keep][:, None]
    trimmed = updates
    sign = np.sign(trimmed.sum(0))
    agrees = (np.sign(trimmed) == sign) & (trimmed != 0)
    return (trimmed * agrees).sum(0) / np.maximum(agrees.sum(0), 1)


# %% wrong: keeps the smallest | smallest numbers stayed
import numpy as np


def ties(updates, density):
    keep = round(density * updates.shape[1])
    bar = np.sort(np.abs(updates), axis=1)[:, keep - 1][:, None]
    trimmed = np.where(np.abs(updates) <= bar, updates, 0)
    sign = np.sign(trimmed.sum(0))
    agrees = (np.sign(trimmed) == sign) & (trimmed != 0)
    return (trimmed * agrees).sum(0) / np.maximum(agrees.sum(0), 1)


# %% wrong: large without magnitude | in magnitude
import numpy as np


def ties(updates, density):
    keep = round(density * updates.shape[1])
    bar = np.sort(updates, axis=1)[:, -keep][:, None]
    trimmed = np.where(updates >= bar, updates, 0)
    sign = np.sign(trimmed.sum(0))
    agrees = (np.sign(trimmed) == sign) & (trimmed != 0)
    return (trimmed * agrees).sum(0) / np.maximum(agrees.sum(0), 1)


# %% wrong: trims all together | by itself
import numpy as np


def ties(updates, density):
    keep = round(density * updates.shape[1])
    bar = np.sort(np.abs(updates).ravel())[-keep * len(updates)]
    trimmed = np.where(np.abs(updates) >= bar, updates, 0)
    sign = np.sign(trimmed.sum(0))
    agrees = (np.sign(trimmed) == sign) & (trimmed != 0)
    return (trimmed * agrees).sum(0) / np.maximum(agrees.sum(0), 1)


# %% wrong: counts votes | by mass
import numpy as np


def ties(updates, density):
    keep = round(density * updates.shape[1])
    bar = np.sort(np.abs(updates), axis=1)[:, -keep][:, None]
    trimmed = np.where(np.abs(updates) >= bar, updates, 0)
    sign = np.where(np.sign(trimmed).sum(0) >= 0, 1, -1)
    agrees = (np.sign(trimmed) == sign) & (trimmed != 0)
    return (trimmed * agrees).sum(0) / np.maximum(agrees.sum(0), 1)


# %% wrong: divides by all | number of updates
import numpy as np


def ties(updates, density):
    keep = round(density * updates.shape[1])
    bar = np.sort(np.abs(updates), axis=1)[:, -keep][:, None]
    trimmed = np.where(np.abs(updates) >= bar, updates, 0)
    sign = np.sign(trimmed.sum(0))
    agrees = (np.sign(trimmed) == sign) & (trimmed != 0)
    return (trimmed * agrees).sum(0) / len(updates)


# %% wrong: adds up | take their mean
import numpy as np


def ties(updates, density):
    keep = round(density * updates.shape[1])
    bar = np.sort(np.abs(updates), axis=1)[:, -keep][:, None]
    trimmed = np.where(np.abs(updates) >= bar, updates, 0)
    sign = np.sign(trimmed.sum(0))
    agrees = (np.sign(trimmed) == sign) & (trimmed != 0)
    return (trimmed * agrees).sum(0)


# %% wrong: no election | no sign was elected
import numpy as np


def ties(updates, density):
    keep = round(density * updates.shape[1])
    bar = np.sort(np.abs(updates), axis=1)[:, -keep][:, None]
    trimmed = np.where(np.abs(updates) >= bar, updates, 0)
    sign = np.sign(trimmed.sum(0))
    agrees = trimmed != 0
    return (trimmed * agrees).sum(0) / np.maximum(agrees.sum(0), 1)


# %% wrong: elects before trimming | after trimming
import numpy as np


def ties(updates, density):
    keep = round(density * updates.shape[1])
    bar = np.sort(np.abs(updates), axis=1)[:, -keep][:, None]
    trimmed = np.where(np.abs(updates) >= bar, updates, 0)
    sign = np.sign(updates.sum(0))
    agrees = (np.sign(trimmed) == sign) & (trimmed != 0)
    return (trimmed * agrees).sum(0) / np.maximum(agrees.sum(0), 1)


# %% wrong: nan where all was trimmed | nothing to average
import numpy as np


def ties(updates, density):
    keep = round(density * updates.shape[1])
    bar = np.sort(np.abs(updates), axis=1)[:, -keep][:, None]
    trimmed = np.where(np.abs(updates) >= bar, updates, 0)
    sign = np.sign(trimmed.sum(0))
    agrees = (np.sign(trimmed) == sign) & (trimmed != 0)
    return (trimmed * agrees).sum(0) / agrees.sum(0)


# %% wrong: density the wrong way round | share that stays
import numpy as np


def ties(updates, density):
    keep = round((1 - density) * updates.shape[1])
    bar = np.sort(np.abs(updates), axis=1)[:, -keep][:, None]
    trimmed = np.where(np.abs(updates) >= bar, updates, 0)
    sign = np.sign(trimmed.sum(0))
    agrees = (np.sign(trimmed) == sign) & (trimmed != 0)
    return (trimmed * agrees).sum(0) / np.maximum(agrees.sum(0), 1)
