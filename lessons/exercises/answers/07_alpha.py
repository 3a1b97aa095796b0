# %% right: by the optimiser
def new_rate(lr, alpha, new_alpha, optimiser):
    ratio = alpha / new_alpha
    return lr * ratio if optimiser == "adamw" else lr * ratio**2


# %% right: powers
def new_rate(lr, alpha, new_alpha, optimiser):
    power = {"adamw": 1, "sgd": 2}[optimiser]
    return alpha**power * lr / new_alpha**power


# %% right: measured on one weight
import numpy as np


def step(alpha, optimiser):
    """How far W moves in one step at a rate of 1, with A = 1 and a gradient of 0.3."""
    gradient_of_b = alpha * 0.3
    moved = np.sign(gradient_of_b) if optimiser == "adamw" else gradient_of_b
    return alpha * moved


def new_rate(rate, old, new, optimiser):
    return np.float32(rate * step(old, optimiser) / step(new, optimiser))


# %% wrong: the wrong way round | wrong way round
def new_rate(lr, alpha, new_alpha, optimiser):
    ratio = new_alpha / alpha
    return lr * ratio if optimiser == "adamw" else lr * ratio**2


# %% wrong: no change | nothing changed
def new_rate(lr, alpha, new_alpha, optimiser):
    return lr


# %% wrong: both linear | alpha enters twice
def new_rate(lr, alpha, new_alpha, optimiser):
    ratio = alpha / new_alpha
    return lr * ratio


# %% wrong: both squared | once, not squared
def new_rate(lr, alpha, new_alpha, optimiser):
    ratio = alpha / new_alpha
    return lr * ratio**2


# %% wrong: root | root of the product
def new_rate(lr, alpha, new_alpha, optimiser):
    ratio = alpha / new_alpha
    return lr * ratio**0.5 if optimiser == "adamw" else lr * ratio**2


# %% wrong: exchanged | once, not squared
def new_rate(lr, alpha, new_alpha, optimiser):
    ratio = alpha / new_alpha
    return lr * ratio if optimiser == "sgd" else lr * ratio**2


# %% wrong: a text | one number
def new_rate(lr, alpha, new_alpha, optimiser):
    ratio = alpha / new_alpha
    return f"{lr * ratio:g}"
