# %% right: svd
def stand_in(update, rank):
    U, s, Vt = np.linalg.svd(update, full_matrices=False)
    energy = (s[:rank] ** 2).sum() / (s**2).sum()
    return {"B": U[:, :rank] * s[:rank], "A": Vt[:rank], "energy": energy}


# %% right: shared roots
def stand_in(delta, r):
    left, values, right = np.linalg.svd(delta)
    root = np.sqrt(values[:r])
    up, down = left[:, :r] * root, root[:, None] * right[:r]
    return {"energy": np.linalg.norm(up @ down) ** 2 / np.linalg.norm(delta) ** 2, "A": down, "B": up}


# %% right: eigenvectors
def stand_in(update, rank):
    values, vectors = np.linalg.eigh(update.T @ update)
    A = vectors[:, ::-1][:, :rank].T
    return {"B": update @ A.T, "A": A, "energy": float(values[::-1][:rank].sum() / values.sum())}


# %% right: torch
import torch


def stand_in(update, rank):
    U, S, V = torch.svd_lowrank(torch.tensor(update), q=min(update.shape))
    return {"B": U[:, :rank] @ torch.diag(S[:rank]), "A": V[:, :rank].T, "energy": (S[:rank].square().sum() / S.square().sum()).item()}


# %% wrong: no singular values | the singular values are missing
def stand_in(update, rank):
    U, s, Vt = np.linalg.svd(update, full_matrices=False)
    energy = (s[:rank] ** 2).sum() / (s**2).sum()
    return {"B": U[:, :rank], "A": Vt[:rank], "energy": energy}


# %% wrong: twice | the singular values come in twice
def stand_in(update, rank):
    U, s, Vt = np.linalg.svd(update, full_matrices=False)
    energy = (s[:rank] ** 2).sum() / (s**2).sum()
    return {"B": U[:, :rank] * s[:rank], "A": s[:rank, None] * Vt[:rank], "energy": energy}


# %% wrong: root once | only the root of each singular value
def stand_in(update, rank):
    U, s, Vt = np.linalg.svd(update, full_matrices=False)
    energy = (s[:rank] ** 2).sum() / (s**2).sum()
    return {"B": U[:, :rank] * s[:rank] ** 0.5, "A": Vt[:rank], "energy": energy}


# %% wrong: smallest | those are the smallest
def stand_in(update, rank):
    U, s, Vt = np.linalg.svd(update, full_matrices=False)
    energy = (s[:rank] ** 2).sum() / (s**2).sum()
    return {"B": U[:, -rank:] * s[-rank:], "A": Vt[-rank:], "energy": energy}


# %% wrong: not squared | the squared norm is the sum of their squares
def stand_in(update, rank):
    U, s, Vt = np.linalg.svd(update, full_matrices=False)
    energy = s[:rank].sum() / s.sum()
    return {"B": U[:, :rank] * s[:rank], "A": Vt[:rank], "energy": energy}


# %% wrong: share lost | that is the share lost
def stand_in(update, rank):
    U, s, Vt = np.linalg.svd(update, full_matrices=False)
    energy = (s[rank:] ** 2).sum() / (s**2).sum()
    return {"B": U[:, :rank] * s[:rank], "A": Vt[:rank], "energy": energy}


# %% wrong: norm | that is the share of the norm
def stand_in(update, rank):
    U, s, Vt = np.linalg.svd(update, full_matrices=False)
    energy = np.sqrt((s[:rank] ** 2).sum() / (s**2).sum())
    return {"B": U[:, :rank] * s[:rank], "A": Vt[:rank], "energy": energy}


# %% wrong: swapped | B and A are swapped
def stand_in(update, rank):
    U, s, Vt = np.linalg.svd(update, full_matrices=False)
    energy = (s[:rank] ** 2).sum() / (s**2).sum()
    return {"A": U[:, :rank] * s[:rank], "B": Vt[:rank], "energy": energy}


# %% wrong: V untransposed | you took its columns
def stand_in(update, rank):
    U, s, Vt = np.linalg.svd(update, full_matrices=False)
    energy = (s[:rank] ** 2).sum() / (s**2).sum()
    return {"B": U[:, :rank] * s[:rank], "A": Vt.T[:rank], "energy": energy}


# %% wrong: not cut | all ranks are still there
def stand_in(update, rank):
    U, s, Vt = np.linalg.svd(update, full_matrices=False)
    energy = (s[:rank] ** 2).sum() / (s**2).sum()
    return {"B": U * s, "A": Vt, "energy": energy}


# %% wrong: columns of the update | a product of rank r can do better
def stand_in(update, rank):
    B = np.linalg.qr(update[:, :rank])[0]
    A = B.T @ update
    return {"B": B, "A": A, "energy": np.linalg.norm(B @ A) ** 2 / np.linalg.norm(update) ** 2}
