# %% right: halfway points
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


# %% right: distances
def quantise(w, table, size):
    parts = w.reshape(-1, size)
    absmax = np.amax(np.abs(parts), axis=-1, keepdims=True)
    scaled = np.divide(parts, absmax, out=np.zeros_like(parts), where=absmax > 0)
    return np.abs(scaled[:, :, None] - table).argmin(-1).flatten(), absmax.flatten()


# %% right: loop
def quantise(weights, levels, block):
    flat, codes, scales = weights.flatten(), [], []
    for start in range(0, flat.size, block):
        part = flat[start : start + block]
        scale = max(abs(part))
        scales.append(scale)
        for value in part:
            x = value / scale if scale else 0.0
            codes.append(int(np.argmin([abs(x - level) for level in levels])))
    return np.array(codes), np.array(scales)


# %% right: torch
import torch


def quantise(weights, levels, block):
    blocks, levels = torch.tensor(weights).float().view(-1, block), torch.tensor(levels).float()
    scales = blocks.abs().amax(1)
    scaled = blocks / scales.masked_fill(scales == 0, 1)[:, None]
    return torch.bucketize(scaled, (levels[1:] + levels[:-1]) / 2).flatten().to(torch.uint8), scales


# %% wrong: one scale for all | each block has a scale of its own
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.full(len(blocks), np.abs(blocks).max())
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


# %% wrong: largest value | largest value, and an outlier below zero
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = blocks.max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


# %% wrong: signed | yours keeps its sign
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = blocks[np.arange(len(blocks)), np.abs(blocks).argmax(axis=1)]
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


# %% wrong: standard deviation | standard deviation
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = blocks.std(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


# %% wrong: rounds down | the level below
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.clip(np.searchsorted(levels, blocks / divisor, side='right') - 1, 0, 15)
    return codes.reshape(-1), scales


# %% wrong: rounds up | the level above
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.clip(np.searchsorted(levels, blocks / divisor), 0, 15)
    return codes.reshape(-1), scales


# %% wrong: never divides | divide by the block's scale first
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks)
    return codes.reshape(-1), scales


# %% wrong: levels instead of codes | those are levels
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return levels[codes].reshape(-1), scales


# %% wrong: columns | down the columns
def quantise(weights, levels, block):
    blocks = weights.T.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales


# %% wrong: evenly spaced | evenly spaced levels
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = np.where(scales == 0, 1, scales)[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.rint((blocks / divisor + 1) / 2 * 15).astype(int)
    return codes.reshape(-1), scales


# %% wrong: block of zeros | a block of zeros
def quantise(weights, levels, block):
    blocks = weights.reshape(-1, block)
    scales = np.abs(blocks).max(axis=1)
    divisor = scales[:, None]
    halfway = (levels[1:] + levels[:-1]) / 2
    codes = np.searchsorted(halfway, blocks / divisor)
    return codes.reshape(-1), scales
