# %% right: loop
import numpy as np


def accumulate(batches):
    loss, gradient, total = 0.0, 0.0, 0
    for batch in batches:
        count = int((batch["labels"][:, 1:] != -100).sum())
        if count:
            loss += count * batch["loss"]
            gradient = gradient + count * batch["gradient"]
            total += count
    return loss / total, gradient / total


# %% right: numpy's average
import numpy as np


def accumulate(batches):
    counts = np.array([np.count_nonzero(b["labels"][:, 1:] + 100) for b in batches])
    full = [b for b, n in zip(batches, counts) if n > 0]
    weights = counts[counts > 0]
    loss = np.average([b["loss"] for b in full], weights=weights)
    return loss, np.average([b["gradient"] for b in full], axis=0, weights=weights)


# %% right: shares and nan_to_num
import numpy as np


def accumulate(micro):
    n = np.array([sum(int(x != -100) for row in m["labels"] for x in row[1:]) for m in micro], dtype=float)
    share = n / n.sum()
    losses, slopes = np.stack([np.nan_to_num(m["loss"]) for m in micro]), np.stack([np.nan_to_num(m["gradient"]) for m in micro])
    return [float(share @ losses), np.einsum("m,mi->i", share, slopes)]


# %% right: torch
import torch


def accumulate(batches):
    counts = torch.tensor([float((torch.as_tensor(b["labels"])[:, 1:] != -100).sum()) for b in batches])
    keep = counts > 0
    weights = (counts / counts.sum())[keep]
    losses = torch.tensor([b["loss"] for b in batches])[keep]
    gradients = torch.stack([torch.as_tensor(b["gradient"], dtype=torch.float32) for b in batches])[keep]
    return (weights * losses).sum(), weights @ gradients


# %% wrong: mean of the means | mean of the means
import numpy as np


def accumulate(batches):
    loss, gradient, total = 0.0, 0.0, 0
    for batch in batches:
        count = 1
        if count:
            loss += count * batch["loss"]
            gradient = gradient + count * batch["gradient"]
            total += count
    return loss / total, gradient / total


# %% wrong: weighs by rows | by rows
import numpy as np


def accumulate(batches):
    loss, gradient, total = 0.0, 0.0, 0
    for batch in batches:
        count = len(batch["labels"])
        if count:
            loss += count * batch["loss"]
            gradient = gradient + count * batch["gradient"]
            total += count
    return loss / total, gradient / total


# %% wrong: weighs by all tokens | all tokens
import numpy as np


def accumulate(batches):
    loss, gradient, total = 0.0, 0.0, 0
    for batch in batches:
        count = batch["labels"].size
        if count:
            loss += count * batch["loss"]
            gradient = gradient + count * batch["gradient"]
            total += count
    return loss / total, gradient / total


# %% wrong: counts before the shift | before the shift
import numpy as np


def accumulate(batches):
    loss, gradient, total = 0.0, 0.0, 0
    for batch in batches:
        count = int((batch["labels"] != -100).sum())
        if count:
            loss += count * batch["loss"]
            gradient = gradient + count * batch["gradient"]
            total += count
    return loss / total, gradient / total


# %% wrong: adds the losses up | added up
import numpy as np


def accumulate(batches):
    full = [b for b in batches if (b["labels"][:, 1:] != -100).any()]
    return sum(b["loss"] for b in full), sum(b["gradient"] for b in full)


# %% wrong: loss right, gradient as a plain mean | the gradient:
import numpy as np


def accumulate(batches):
    full = [b for b in batches if (b["labels"][:, 1:] != -100).any()]
    counts = [(b["labels"][:, 1:] != -100).sum() for b in full]
    return np.average([b["loss"] for b in full], weights=counts), np.mean([b["gradient"] for b in full], axis=0)


# %% wrong: lets nan in | leave it out
import numpy as np


def accumulate(batches):
    loss, gradient, total = 0.0, 0.0, 0
    for batch in batches:
        count = int((batch["labels"][:, 1:] != -100).sum())
        if True:
            loss += count * batch["loss"]
            gradient = gradient + count * batch["gradient"]
            total += count
    return loss / total, gradient / total


# %% wrong: divides by nothing | not divided
import numpy as np


def accumulate(batches):
    loss, gradient, total = 0.0, 0.0, 0
    for batch in batches:
        count = int((batch["labels"][:, 1:] != -100).sum())
        if count:
            loss += count * batch["loss"]
            gradient = gradient + count * batch["gradient"]
            total += count
    return loss, gradient
