# %% right: loops
import numpy as np


def fisher(w, x, labels):
    total = np.zeros_like(w)
    for row in x:
        scores = w @ row
        p = np.exp(scores - scores.max())
        p = p / p.sum()
        for answer in range(len(w)):
            error = -p
            error[answer] += 1
            slope = np.outer(error, row)  # d log p(answer) / d w
            total += p[answer] * slope**2
    return total / len(x)


# %% right: closed form
import numpy as np


def fisher(w, x, labels):
    e = np.exp(x @ w.T)
    p = e / e.sum(1, keepdims=True)
    return (p * (1 - p)).T @ x**2 / len(x)


# %% right: einsum
import numpy as np


def fisher(w, x, labels):
    z = np.einsum("kd,nd->nk", w, x)
    p = np.exp(z - z.max(1)[:, None])
    p /= p.sum(1)[:, None]
    error = np.eye(len(w)) - p[:, None, :]
    return np.einsum("ny,nyk,nd->kd", p, error**2, x**2) / x.shape[0]


# %% right: torch's gradients
import torch


def fisher(w, x, labels):
    w = torch.tensor(w, requires_grad=True)
    total = torch.zeros_like(w)
    for row in torch.as_tensor(x):
        log_p = (w @ row).log_softmax(0)
        for k in range(len(w)):
            (slope,) = torch.autograd.grad(log_p[k], w, retain_graph=True)
            total += log_p[k].exp().detach() * slope**2
    return total / len(x)


# %% wrong: the data's labels | empirical
import numpy as np


def fisher(w, x, labels):
    total = np.zeros_like(w)
    for row, label in zip(x, labels):
        p = np.exp(w @ row)
        error = -p / p.sum()
        error[label] += 1
        total += np.outer(error, row) ** 2
    return total / len(x)


# %% wrong: square of the mean gradient | square each example
import numpy as np


def fisher(w, x, labels):
    e = np.exp(x @ w.T)
    p = e / e.sum(1, keepdims=True)
    error = np.eye(len(w))[labels] - p
    return (error.T @ x / len(x)) ** 2


# %% wrong: likeliest answer alone | likeliest answer
import numpy as np


def fisher(w, x, labels):
    e = np.exp(x @ w.T)
    p = e / e.sum(1, keepdims=True)
    error = np.eye(len(w))[p.argmax(1)] - p
    return (error**2).T @ x**2 / len(x)


# %% wrong: sum over the inputs | mean over the inputs
import numpy as np


def fisher(w, x, labels):
    total = np.zeros_like(w)
    for row in x:
        scores = w @ row
        p = np.exp(scores - scores.max())
        p = p / p.sum()
        for answer in range(len(w)):
            error = -p
            error[answer] += 1
            slope = np.outer(error, row)  # d log p(answer) / d w
            total += p[answer] * slope**2
    return total


# %% wrong: answers count alike | weigh each by its probability
import numpy as np


def fisher(w, x, labels):
    total = np.zeros_like(w)
    for row in x:
        scores = w @ row
        p = np.exp(scores - scores.max())
        p = p / p.sum()
        for answer in range(len(w)):
            error = -p
            error[answer] += 1
            slope = np.outer(error, row)  # d log p(answer) / d w
            total += slope**2 / len(w)
    return total / len(x)


# %% wrong: answers count fully | counts fully
import numpy as np


def fisher(w, x, labels):
    total = np.zeros_like(w)
    for row in x:
        scores = w @ row
        p = np.exp(scores - scores.max())
        p = p / p.sum()
        for answer in range(len(w)):
            error = -p
            error[answer] += 1
            slope = np.outer(error, row)  # d log p(answer) / d w
            total += slope**2
    return total / len(x)


# %% wrong: squares too late | zero everywhere
import numpy as np


def fisher(w, x, labels):
    total = np.zeros_like(w)
    for row in x:
        scores = w @ row
        p = np.exp(scores - scores.max())
        p = p / p.sum()
        for answer in range(len(w)):
            error = -p
            error[answer] += 1
            slope = np.outer(error, row)  # d log p(answer) / d w
            total += p[answer] * slope
    return (total / len(x)) ** 2


# %% wrong: own row alone | own row
import numpy as np


def fisher(w, x, labels):
    total = np.zeros_like(w)
    for row in x:
        scores = w @ row
        p = np.exp(scores - scores.max())
        p = p / p.sum()
        for answer in range(len(w)):
            error = -p
            error[answer] += 1
            slope = np.outer(error * (np.arange(len(w)) == answer), row)
            total += p[answer] * slope**2
    return total / len(x)


# %% wrong: probability squared | enters squared
import numpy as np


def fisher(w, x, labels):
    total = np.zeros_like(w)
    for row in x:
        scores = w @ row
        p = np.exp(scores - scores.max())
        p = p / p.sum()
        for answer in range(len(w)):
            error = -p
            error[answer] += 1
            slope = np.outer(error, row)  # d log p(answer) / d w
            total += (p[answer] * slope) ** 2
    return total / len(x)


# %% wrong: averages the inputs first | averaged the inputs first
import numpy as np


def fisher(w, x, labels):
    e = np.exp(x @ w.T)
    p = e / e.sum(1, keepdims=True)
    return (p * (1 - p)).mean(0)[:, None] * x.mean(0) ** 2


# %% wrong: a root at the end | square root too many
import numpy as np


def fisher(w, x, labels):
    total = np.zeros_like(w)
    for row in x:
        scores = w @ row
        p = np.exp(scores - scores.max())
        p = p / p.sum()
        for answer in range(len(w)):
            error = -p
            error[answer] += 1
            slope = np.outer(error, row)  # d log p(answer) / d w
            total += p[answer] * slope**2
    return np.sqrt(total / len(x))
