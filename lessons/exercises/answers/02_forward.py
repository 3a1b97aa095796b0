# %% right: matrices
def lora(x, W, A, B, alpha):
    scale = alpha / A.shape[0]
    return x @ W.T + scale * (x @ A.T) @ B.T


# %% right: loop
def lora(batch, weight, down, up, a):
    out = []
    for vector in batch:
        out.append(weight @ vector + a / len(down) * (up @ (down @ vector)))
    return np.stack(out)


# %% right: einsum
def lora(x, W, A, B, alpha):
    y = np.einsum("oi,ni->no", W, x)
    return y + np.einsum("or,ri,ni->no", B, A, x) * alpha / B.shape[1]


# %% right: torch
import torch


def lora(x, W, A, B, alpha):
    x, W, A, B = (torch.tensor(part, dtype=torch.float32) for part in (x, W, A, B))
    return torch.nn.functional.linear(x, W) + alpha / A.size(0) * torch.nn.functional.linear(x @ A.T, B)


# %% wrong: forgets alpha/r | scale alpha / r is missing
def lora(x, W, A, B, alpha):
    scale = 1.0
    return x @ W.T + scale * (x @ A.T) @ B.T


# %% wrong: alpha alone | the rank is missing in the scale
def lora(x, W, A, B, alpha):
    scale = alpha
    return x @ W.T + scale * (x @ A.T) @ B.T


# %% wrong: swapped | alpha and r are swapped
def lora(x, W, A, B, alpha):
    scale = A.shape[0] / alpha
    return x @ W.T + scale * (x @ A.T) @ B.T


# %% wrong: sign | the sign is wrong
def lora(x, W, A, B, alpha):
    scale = alpha / A.shape[0]
    return x @ W.T - scale * (x @ A.T) @ B.T


# %% wrong: divides by d_in | you divide by d_in
def lora(x, W, A, B, alpha):
    scale = alpha / A.shape[1]
    return x @ W.T + scale * (x @ A.T) @ B.T


# %% wrong: adapter alone | adapter's part alone
def lora(x, W, A, B, alpha):
    scale = alpha / A.shape[0]
    return scale * (x @ A.T) @ B.T


# %% wrong: base alone | W's part alone
def lora(x, W, A, B, alpha):
    scale = alpha / A.shape[0]
    return x @ W.T


# %% wrong: scales both | yours scales W's part, too
def lora(x, W, A, B, alpha):
    scale = alpha / A.shape[0]
    return scale * (x @ W.T + x @ A.T @ B.T)


# %% wrong: transposed | transposed
def lora(x, W, A, B, alpha):
    scale = alpha / A.shape[0]
    return W @ x.T + scale * B @ (A @ x.T)


# %% wrong: adds into W | in place
def lora(x, W, A, B, alpha):
    scale = alpha / A.shape[0]
    W += scale * B @ A
    return x @ W.T
