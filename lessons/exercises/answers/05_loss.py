# %% right: index
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits[:, :-1], labels[:, 1:]
    counts = targets != -100
    shifted = ahead - ahead.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    safe = np.where(counts, targets, 0)
    each = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    return (each * counts).sum() / counts.sum()


# %% right: loop
import numpy as np


def answer_loss(logits, labels):
    total, count = 0.0, 0
    for scores, wanted in zip(logits, labels):
        for place in range(1, len(wanted)):
            if wanted[place] == -100:
                continue
            row = scores[place - 1]
            top = row.max()
            total += top + np.log(np.exp(row - top).sum()) - row[wanted[place]]
            count += 1
    return total / count


# %% right: torch
import torch


def answer_loss(logits, labels):
    scores = torch.as_tensor(logits)[:, :-1].flatten(0, 1)
    wanted = torch.as_tensor(labels)[:, 1:].flatten()
    return torch.nn.functional.cross_entropy(scores, wanted, ignore_index=-100)


# %% right: flat, in float32
import numpy as np


def answer_loss(z, y):
    z, y = z[:, :-1].reshape(-1, z.shape[-1]).astype(np.float32), y[:, 1:].ravel()
    z, y = z[y != -100], y[y != -100]
    z = z - z.max(1, keepdims=True)
    return float(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]))


# %% wrong: no shift | no shift
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits, labels
    counts = targets != -100
    shifted = ahead - ahead.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    safe = np.where(counts, targets, 0)
    each = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    return (each * counts).sum() / counts.sum()


# %% wrong: shifted the wrong way | wrong way
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits[:, 1:], labels[:, :-1]
    counts = targets != -100
    shifted = ahead - ahead.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    safe = np.where(counts, targets, 0)
    each = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    return (each * counts).sum() / counts.sum()


# %% wrong: mean of the rows' means | rows' means
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits[:, :-1], labels[:, 1:]
    counts = targets != -100
    shifted = ahead - ahead.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    safe = np.where(counts, targets, 0)
    each = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    return ((each * counts).sum(1) / counts.sum(1)).mean()


# %% wrong: divides by all positions | all positions
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits[:, :-1], labels[:, 1:]
    counts = targets != -100
    shifted = ahead - ahead.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    safe = np.where(counts, targets, 0)
    each = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    return (each * counts).mean()


# %% wrong: takes -100 for a token | -100 is not a token
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits[:, :-1], labels[:, 1:]
    counts = targets != -100
    shifted = ahead - ahead.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    safe = targets % logits.shape[-1]
    each = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    return each.mean()


# %% wrong: sum | sum over
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits[:, :-1], labels[:, 1:]
    counts = targets != -100
    shifted = ahead - ahead.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    safe = np.where(counts, targets, 0)
    each = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    return (each * counts).sum()


# %% wrong: counts the labels before the shift | before the shift
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits[:, :-1], labels[:, 1:]
    counts = targets != -100
    shifted = ahead - ahead.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    safe = np.where(counts, targets, 0)
    each = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    return (each * counts).sum() / (labels != -100).sum()


# %% wrong: mask stays behind | mask has to move
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits[:, :-1], labels[:, 1:]
    counts = labels[:, :-1] != -100
    shifted = ahead - ahead.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    safe = targets % logits.shape[-1]
    each = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    return (each * counts).sum() / counts.sum()


# %% wrong: sign | minus the mean
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits[:, :-1], labels[:, 1:]
    counts = targets != -100
    shifted = ahead - ahead.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    safe = np.where(counts, targets, 0)
    each = np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    return (each * counts).sum() / counts.sum()


# %% wrong: bits | natural logarithm
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits[:, :-1], labels[:, 1:]
    counts = targets != -100
    shifted = ahead - ahead.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    safe = np.where(counts, targets, 0)
    each = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    return (each * counts).sum() / counts.sum() / np.log(2)


# %% wrong: perplexity | perplexity
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits[:, :-1], labels[:, 1:]
    counts = targets != -100
    shifted = ahead - ahead.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    safe = np.where(counts, targets, 0)
    each = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    return np.exp((each * counts).sum() / counts.sum())


# %% wrong: no softmax | no log probabilities
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits[:, :-1], labels[:, 1:]
    counts = targets != -100
    shifted = ahead - ahead.max(-1, keepdims=True)
    log_p = ahead
    safe = np.where(counts, targets, 0)
    each = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    return (each * counts).sum() / counts.sum()


# %% wrong: overflows | subtract each position's largest
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits[:, :-1], labels[:, 1:]
    counts = targets != -100
    shifted = ahead
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    safe = np.where(counts, targets, 0)
    each = -np.take_along_axis(log_p, safe[..., None], -1)[..., 0]
    return (each * counts).sum() / counts.sum()


# %% wrong: one minus the probability | one minus
import numpy as np


def answer_loss(logits, labels):
    ahead, targets = logits[:, :-1], labels[:, 1:]
    counts = targets != -100
    shifted = ahead - ahead.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    safe = np.where(counts, targets, 0)
    each = 1 - np.exp(np.take_along_axis(log_p, safe[..., None], -1)[..., 0])
    return (each * counts).sum() / counts.sum()
