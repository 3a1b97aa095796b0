# %% right: two trips
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) * scales[:, None]).reshape(shape)


def merge_loss(weights, update, levels, block):
    before, scales = quantise(weights, levels, block)
    base = dequantise(before, scales, levels, block, weights.shape)
    after, scales = quantise(base + update, levels, block)
    change = dequantise(after, scales, levels, block, weights.shape) - base
    return {"unmoved": (before == after).mean(), "error": np.linalg.norm(change - update) / np.linalg.norm(update)}


# %% right: one function
def trip(values, levels, block):
    blocks = values.reshape(-1, block)
    scale = np.abs(blocks).max(1, keepdims=True)
    codes = np.abs((blocks / scale)[..., None] - levels).argmin(-1)
    return codes, (levels[codes] * scale).reshape(values.shape)


def merge_loss(w, u, table, size):
    old, known = trip(w, table, size)
    new, merged = trip(known + u, table, size)
    gap = merged - (known + u)
    return {"error": (gap**2).sum() ** 0.5 / (u**2).sum() ** 0.5, "unmoved": 1 - np.count_nonzero(old - new) / old.size}


# %% right: torch
import torch


def merge_loss(weights, update, levels, block):
    weights, update, levels = (torch.tensor(part) for part in (weights, update, levels))

    def trip(values):
        blocks = values.view(-1, block)
        scale = blocks.abs().amax(1, keepdim=True)
        codes = torch.bucketize(blocks / scale, (levels[1:] + levels[:-1]) / 2)
        return codes, (levels[codes] * scale).view_as(values)

    old, base = trip(weights)
    new, merged = trip(base + update)
    return {"unmoved": (old == new).double().mean(), "error": (merged - base - update).norm() / update.norm()}


# %% wrong: merges into the original | merge into that, and not into the original weights
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) * scales[:, None]).reshape(shape)


def merge_loss(weights, update, levels, block):
    before, scales = quantise(weights, levels, block)
    base = dequantise(before, scales, levels, block, weights.shape)
    after, scales = quantise(weights + update, levels, block)
    change = dequantise(after, scales, levels, block, weights.shape) - weights
    return {"unmoved": (before == after).mean(), "error": np.linalg.norm(change - update) / np.linalg.norm(update)}


# %% wrong: share that moved | the share of codes that moved
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) * scales[:, None]).reshape(shape)


def merge_loss(weights, update, levels, block):
    before, scales = quantise(weights, levels, block)
    base = dequantise(before, scales, levels, block, weights.shape)
    after, scales = quantise(base + update, levels, block)
    change = dequantise(after, scales, levels, block, weights.shape) - base
    return {"unmoved": (before != after).mean(), "error": np.linalg.norm(change - update) / np.linalg.norm(update)}


# %% wrong: old scales | take its scale anew
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) * scales[:, None]).reshape(shape)


def merge_loss(weights, update, levels, block):
    before, scales = quantise(weights, levels, block)
    base = dequantise(before, scales, levels, block, weights.shape)
    after = np.abs(((base + update).reshape(-1, block) / scales[:, None])[..., None] - levels).argmin(-1).reshape(-1)
    change = dequantise(after, scales, levels, block, weights.shape) - base
    return {"unmoved": (before == after).mean(), "error": np.linalg.norm(change - update) / np.linalg.norm(update)}


# %% wrong: compares with the original | the original weights have nothing to do with it
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) * scales[:, None]).reshape(shape)


def merge_loss(weights, update, levels, block):
    before, scales = quantise(weights, levels, block)
    base = dequantise(before, scales, levels, block, weights.shape)
    after, scales = quantise(base + update, levels, block)
    change = dequantise(after, scales, levels, block, weights.shape) - weights
    return {"unmoved": (before == after).mean(), "error": np.linalg.norm(change - update) / np.linalg.norm(update)}


# %% wrong: share of the weights | yours is a share of the weights
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) * scales[:, None]).reshape(shape)


def merge_loss(weights, update, levels, block):
    before, scales = quantise(weights, levels, block)
    base = dequantise(before, scales, levels, block, weights.shape)
    after, scales = quantise(base + update, levels, block)
    change = dequantise(after, scales, levels, block, weights.shape) - base
    return {"unmoved": (before == after).mean(), "error": np.linalg.norm(change - update) / np.linalg.norm(weights)}


# %% wrong: no share | divide by its norm
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) * scales[:, None]).reshape(shape)


def merge_loss(weights, update, levels, block):
    before, scales = quantise(weights, levels, block)
    base = dequantise(before, scales, levels, block, weights.shape)
    after, scales = quantise(base + update, levels, block)
    change = dequantise(after, scales, levels, block, weights.shape) - base
    return {"unmoved": (before == after).mean(), "error": np.linalg.norm(change - update)}


# %% wrong: squared | take the root
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) * scales[:, None]).reshape(shape)


def merge_loss(weights, update, levels, block):
    before, scales = quantise(weights, levels, block)
    base = dequantise(before, scales, levels, block, weights.shape)
    after, scales = quantise(base + update, levels, block)
    change = dequantise(after, scales, levels, block, weights.shape) - base
    return {"unmoved": (before == after).mean(), "error": np.sum((change - update) ** 2) / np.sum(update**2)}


# %% wrong: size of the change | how far it is from the update
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) * scales[:, None]).reshape(shape)


def merge_loss(weights, update, levels, block):
    before, scales = quantise(weights, levels, block)
    base = dequantise(before, scales, levels, block, weights.shape)
    after, scales = quantise(base + update, levels, block)
    change = dequantise(after, scales, levels, block, weights.shape) - base
    return {"unmoved": (before == after).mean(), "error": np.linalg.norm(change) / np.linalg.norm(update)}


# %% wrong: never rounds again | nothing was rounded after the merge
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) * scales[:, None]).reshape(shape)


def merge_loss(weights, update, levels, block):
    before, scales = quantise(weights, levels, block)
    base = dequantise(before, scales, levels, block, weights.shape)
    after, scales = quantise(base + update, levels, block)
    change = update
    return {"unmoved": (before == after).mean(), "error": np.linalg.norm(change - update) / np.linalg.norm(update)}


# %% wrong: counts equal weights | compare the codes
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) * scales[:, None]).reshape(shape)


def merge_loss(weights, update, levels, block):
    before, scales = quantise(weights, levels, block)
    base = dequantise(before, scales, levels, block, weights.shape)
    after, scales = quantise(base + update, levels, block)
    change = dequantise(after, scales, levels, block, weights.shape) - base
    return {"unmoved": (change == 0).mean(), "error": np.linalg.norm(change - update) / np.linalg.norm(update)}
