# %% right: matrices
def merge(W, A, B, alpha, rank_stabilised):
    rank = A.shape[0]
    scale = alpha / np.sqrt(rank) if rank_stabilised else alpha / rank
    return W + scale * B @ A


# %% right: power
def merge(weight, a, b, alpha, stable):
    r = b.shape[1]
    return weight + alpha * r ** (-0.5 if stable else -1) * (b @ a)


# %% right: outer products
def merge(W, A, B, alpha, rank_stabilised):
    merged = W.copy()
    for row, column in zip(A, B.T):
        merged += np.outer(column, row) * alpha / (len(A) ** 0.5 if rank_stabilised else len(A))
    return merged


# %% right: torch
import torch


def merge(W, A, B, alpha, rank_stabilised):
    W, A, B = map(torch.from_numpy, (W, A, B))
    divisor = torch.tensor(float(len(A)))
    divisor = divisor.sqrt() if rank_stabilised else divisor
    return torch.addmm(W, B, A, alpha=float(alpha / divisor))


# %% wrong: forgets the scale | scale alpha / r is missing
def merge(W, A, B, alpha, rank_stabilised):
    rank = A.shape[0]
    scale = alpha / np.sqrt(rank) if rank_stabilised else alpha / rank
    return W + B @ A


# %% wrong: never the root | yours still divides by r
def merge(W, A, B, alpha, rank_stabilised):
    rank = A.shape[0]
    scale = alpha / rank
    return W + scale * B @ A


# %% wrong: always the root | belongs to rank-stabilised LoRA alone
def merge(W, A, B, alpha, rank_stabilised):
    rank = A.shape[0]
    scale = alpha / np.sqrt(rank)
    return W + scale * B @ A


# %% wrong: root of both | the root belongs to r alone
def merge(W, A, B, alpha, rank_stabilised):
    rank = A.shape[0]
    scale = np.sqrt(alpha / rank) if rank_stabilised else alpha / rank
    return W + scale * B @ A


# %% wrong: swapped | alpha and r are swapped
def merge(W, A, B, alpha, rank_stabilised):
    rank = A.shape[0]
    scale = alpha / np.sqrt(rank) if rank_stabilised else rank / alpha
    return W + scale * B @ A


# %% wrong: sign | the sign is wrong
def merge(W, A, B, alpha, rank_stabilised):
    rank = A.shape[0]
    scale = alpha / np.sqrt(rank) if rank_stabilised else alpha / rank
    return W - scale * B @ A


# %% wrong: update alone | update alone
def merge(W, A, B, alpha, rank_stabilised):
    rank = A.shape[0]
    scale = alpha / np.sqrt(rank) if rank_stabilised else alpha / rank
    return scale * B @ A


# %% wrong: in place | in place
def merge(W, A, B, alpha, rank_stabilised):
    rank = A.shape[0]
    scale = alpha / np.sqrt(rank) if rank_stabilised else alpha / rank
    W += scale * B @ A
    return W


# %% wrong: transposed | transposed
def merge(W, A, B, alpha, rank_stabilised):
    rank = A.shape[0]
    scale = alpha / np.sqrt(rank) if rank_stabilised else alpha / rank
    return W.T + scale * A.T @ B.T
