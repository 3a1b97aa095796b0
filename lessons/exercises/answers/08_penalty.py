# %% right: dicts
def penalty(weights, old, fisher, strength):
    value, gradient = 0.0, {}
    for name, weight in weights.items():
        if name not in fisher:
            gradient[name] = 0 * weight
            continue
        moved = weight - old[name]
        value += strength / 2 * (fisher[name] * moved**2).sum()
        gradient[name] = strength * fisher[name] * moved
    return value, gradient


# %% right: loops over numbers
import numpy as np


def penalty(weights, old, fisher, strength):
    gradient = {name: np.zeros(np.shape(weight)) for name, weight in weights.items()}
    value = 0.0
    for name, stiffness in fisher.items():
        for place in np.ndindex(stiffness.shape):
            pull = strength * stiffness[place] * (weights[name][place] - old[name][place])
            gradient[name][place] = pull
            value += pull * (weights[name][place] - old[name][place]) / 2
    return value, gradient


# %% right: einsum
import numpy as np


def penalty(w, w0, f, lam):
    d = {k: w[k].astype(np.float32) - w0[k].astype(np.float32) for k in f}
    value = lam / 2 * sum(np.einsum("i,i,i->", f[k].ravel(), d[k].ravel(), d[k].ravel()) for k in f)
    return [value, {k: lam * f[k] * d[k] if k in f else np.zeros_like(w[k]) for k in w}]


# %% right: torch
import torch


def penalty(weights, old, fisher, strength):
    leaves = {name: torch.tensor(weight, requires_grad=True) for name, weight in weights.items()}
    value = sum((torch.as_tensor(f) * (leaves[n] - torch.as_tensor(old[n])) ** 2).sum() for n, f in fisher.items()) * strength / 2
    value.backward()
    return value.detach(), {n: leaf.grad if leaf.grad is not None else torch.zeros_like(leaf) for n, leaf in leaves.items()}


# %% wrong: no half | factor 1/2
def penalty(weights, old, fisher, strength):
    value, gradient = 0.0, {}
    for name, weight in weights.items():
        if name not in fisher:
            gradient[name] = 0 * weight
            continue
        moved = weight - old[name]
        value += strength * (fisher[name] * moved**2).sum()
        gradient[name] = strength * fisher[name] * moved
    return value, gradient


# %% wrong: half in the gradient | half of what
def penalty(weights, old, fisher, strength):
    value, gradient = 0.0, {}
    for name, weight in weights.items():
        if name not in fisher:
            gradient[name] = 0 * weight
            continue
        moved = weight - old[name]
        value += strength / 2 * (fisher[name] * moved**2).sum()
        gradient[name] = strength / 2 * fisher[name] * moved
    return value, gradient


# %% wrong: twice the gradient | twice what
def penalty(weights, old, fisher, strength):
    value, gradient = 0.0, {}
    for name, weight in weights.items():
        if name not in fisher:
            gradient[name] = 0 * weight
            continue
        moved = weight - old[name]
        value += strength / 2 * (fisher[name] * moved**2).sum()
        gradient[name] = 2 * strength * fisher[name] * moved
    return value, gradient


# %% wrong: pulls towards zero | towards zero
def penalty(weights, old, fisher, strength):
    value, gradient = 0.0, {}
    for name, weight in weights.items():
        if name not in fisher:
            gradient[name] = 0 * weight
            continue
        moved = weight
        value += strength / 2 * (fisher[name] * moved**2).sum()
        gradient[name] = strength * fisher[name] * moved
    return value, gradient


# %% wrong: equal springs | all springs are alike
def penalty(weights, old, fisher, strength):
    value, gradient = 0.0, {}
    for name, weight in weights.items():
        if name not in fisher:
            gradient[name] = 0 * weight
            continue
        moved = weight - old[name]
        value += strength / 2 * (moved**2).sum()
        gradient[name] = strength * fisher[name] * moved
    return value, gradient


# %% wrong: squares the Fisher information | squared already
def penalty(weights, old, fisher, strength):
    value, gradient = 0.0, {}
    for name, weight in weights.items():
        if name not in fisher:
            gradient[name] = 0 * weight
            continue
        moved = weight - old[name]
        value += strength / 2 * ((fisher[name] * moved) ** 2).sum()
        gradient[name] = strength * fisher[name] * moved
    return value, gradient


# %% wrong: mean | sum of means
def penalty(weights, old, fisher, strength):
    value, gradient = 0.0, {}
    for name, weight in weights.items():
        if name not in fisher:
            gradient[name] = 0 * weight
            continue
        moved = weight - old[name]
        value += strength / 2 * (fisher[name] * moved**2).mean()
        gradient[name] = strength * fisher[name] * moved
    return value, gradient


# %% wrong: gradient against its direction | sign is wrong
def penalty(weights, old, fisher, strength):
    value, gradient = 0.0, {}
    for name, weight in weights.items():
        if name not in fisher:
            gradient[name] = 0 * weight
            continue
        moved = weight - old[name]
        value += strength / 2 * (fisher[name] * moved**2).sum()
        gradient[name] = -strength * fisher[name] * moved
    return value, gradient


# %% wrong: forgets the strength in the gradient | gradient lacks the strength
def penalty(weights, old, fisher, strength):
    value, gradient = 0.0, {}
    for name, weight in weights.items():
        if name not in fisher:
            gradient[name] = 0 * weight
            continue
        moved = weight - old[name]
        value += strength / 2 * (fisher[name] * moved**2).sum()
        gradient[name] = fisher[name] * moved
    return value, gradient


# %% wrong: distance without square | no square
def penalty(weights, old, fisher, strength):
    value, gradient = 0.0, {}
    for name, weight in weights.items():
        if name not in fisher:
            gradient[name] = 0 * weight
            continue
        moved = weight - old[name]
        value += strength / 2 * (fisher[name] * moved).sum()
        gradient[name] = strength * fisher[name] * moved
    return value, gradient


# %% wrong: drops weights without a spring | lacks the key
def penalty(weights, old, fisher, strength):
    value, gradient = 0.0, {}
    for name, weight in weights.items():
        if name not in fisher:
            continue
        moved = weight - old[name]
        value += strength / 2 * (fisher[name] * moved**2).sum()
        gradient[name] = strength * fisher[name] * moved
    return value, gradient


# %% wrong: holds what has no spring | no spring holds it
def penalty(weights, old, fisher, strength):
    value, gradient = 0.0, {}
    for name, weight in weights.items():
        if name not in fisher:
            gradient[name] = strength * weight
            continue
        moved = weight - old[name]
        value += strength / 2 * (fisher[name] * moved**2).sum()
        gradient[name] = strength * fisher[name] * moved
    return value, gradient
