# %% right: scales in B
import numpy as np


def concatenate(adapters, weights):
    a = np.concatenate([x["A"] for x in adapters], axis=0)
    b = np.concatenate([w * x["alpha"] / x["r"] * x["B"] for w, x in zip(weights, adapters)], axis=1)
    rank = sum(x["r"] for x in adapters)
    return {"A": a, "B": b, "r": rank, "alpha": rank}


# %% right: scales in A, filled by slices
import numpy as np


def concatenate(adapters, weights):
    total = sum(one["r"] for one in adapters)
    big_a, big_b = np.zeros((total, adapters[0]["A"].shape[1])), np.zeros((adapters[0]["B"].shape[0], total))
    start = 0
    for one, weight in zip(adapters, weights):
        place = slice(start, start + one["r"])
        big_a[place], big_b[:, place] = one["A"] * (weight * one["alpha"] / one["r"]), one["B"]
        start += one["r"]
    return dict(A=big_a, B=big_b, r=total, alpha=float(total))


# %% right: roots with the sign in one
import numpy as np


def concatenate(adapters, weights):
    rows, columns = [], []
    for x, w in zip(adapters, weights):
        s = w * x["alpha"] / x["r"]
        rows.append(np.sqrt(abs(s)) * x["A"])
        columns.append(np.sign(s) * np.sqrt(abs(s)) * x["B"])
    a, b = np.vstack(rows), np.hstack(columns)
    return {"r": len(a), "alpha": len(a), "A": a, "B": b}


# %% right: another alpha, made up for; torch
import torch


def concatenate(adapters, weights):
    rank = sum(x["r"] for x in adapters)
    a = torch.cat([torch.as_tensor(x["A"]) for x in adapters])
    b = torch.cat([torch.as_tensor(x["B"]) * (w * x["alpha"] / x["r"] / 2) for x, w in zip(adapters, weights)], dim=1)
    return {"A": a, "B": b, "r": rank, "alpha": 2 * rank}


# %% wrong: forgets the scales | own scale
import numpy as np


def concatenate(adapters, weights):
    a = np.concatenate([x["A"] for x in adapters], axis=0)
    b = np.concatenate([w * x["B"] for w, x in zip(weights, adapters)], axis=1)
    rank = sum(x["r"] for x in adapters)
    return {"A": a, "B": b, "r": rank, "alpha": rank}


# %% wrong: forgets the weights | weights are missing
import numpy as np


def concatenate(adapters, weights):
    a = np.concatenate([x["A"] for x in adapters], axis=0)
    b = np.concatenate([x["alpha"] / x["r"] * x["B"] for w, x in zip(weights, adapters)], axis=1)
    rank = sum(x["r"] for x in adapters)
    return {"A": a, "B": b, "r": rank, "alpha": rank}


# %% wrong: forgets both | weights and scales
import numpy as np


def concatenate(adapters, weights):
    a = np.concatenate([x["A"] for x in adapters], axis=0)
    b = np.concatenate([x["B"] for w, x in zip(weights, adapters)], axis=1)
    rank = sum(x["r"] for x in adapters)
    return {"A": a, "B": b, "r": rank, "alpha": rank}


# %% wrong: weight in both factors | both factors
import numpy as np


def concatenate(adapters, weights):
    a = np.concatenate([w * x["A"] for w, x in zip(weights, adapters)], axis=0)
    b = np.concatenate([w * x["alpha"] / x["r"] * x["B"] for w, x in zip(weights, adapters)], axis=1)
    rank = sum(x["r"] for x in adapters)
    return {"A": a, "B": b, "r": rank, "alpha": rank}


# %% wrong: weight and scale in both factors | both factors
import numpy as np


def concatenate(adapters, weights):
    a = np.concatenate([w * x["alpha"] / x["r"] * x["A"] for w, x in zip(weights, adapters)], axis=0)
    b = np.concatenate([w * x["alpha"] / x["r"] * x["B"] for w, x in zip(weights, adapters)], axis=1)
    rank = sum(x["r"] for x in adapters)
    return {"A": a, "B": b, "r": rank, "alpha": rank}


# %% wrong: scaled twice by its alpha | scales them again
import numpy as np


def concatenate(adapters, weights):
    a = np.concatenate([x["A"] for x in adapters], axis=0)
    b = np.concatenate([w * x["alpha"] / x["r"] * x["B"] for w, x in zip(weights, adapters)], axis=1)
    rank = sum(x["r"] for x in adapters)
    return {"A": a, "B": b, "r": rank, "alpha": sum(x["alpha"] for x in adapters)}


# %% wrong: adds the factors | ranks add up
import numpy as np


def concatenate(adapters, weights):
    rank = adapters[0]["r"]
    a, b = np.zeros((rank, adapters[0]["A"].shape[1])), np.zeros((adapters[0]["B"].shape[0], rank))
    for x, w in zip(adapters, weights):
        k = min(rank, x["r"])
        a[:k] += w * x["A"][:k]
        b[:, :k] += x["alpha"] / x["r"] * x["B"][:, :k]
    return {"A": a, "B": b, "r": rank, "alpha": rank}


# %% wrong: root of a negative weight | no square root
import numpy as np


def concatenate(adapters, weights):
    a = np.concatenate([np.sqrt(w) * x["A"] for w, x in zip(weights, adapters)], axis=0)
    b = np.concatenate([np.sqrt(w) * x["alpha"] / x["r"] * x["B"] for w, x in zip(weights, adapters)], axis=1)
    rank = sum(x["r"] for x in adapters)
    return {"A": a, "B": b, "r": rank, "alpha": rank}


# %% wrong: loses the sign | lost its sign
import numpy as np


def concatenate(adapters, weights):
    a = np.concatenate([x["A"] for x in adapters], axis=0)
    b = np.concatenate([abs(w) * x["alpha"] / x["r"] * x["B"] for w, x in zip(weights, adapters)], axis=1)
    rank = sum(x["r"] for x in adapters)
    return {"A": a, "B": b, "r": rank, "alpha": rank}


# %% wrong: full rank | ranks add up
import numpy as np


def concatenate(adapters, weights):
    update = sum(w * x["alpha"] / x["r"] * x["B"] @ x["A"] for w, x in zip(weights, adapters))
    return {"A": update, "B": np.eye(len(update)), "r": len(update), "alpha": len(update)}
