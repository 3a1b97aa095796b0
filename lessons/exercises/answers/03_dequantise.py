# %% right: blocks
def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) * scales[:, None]).reshape(shape)


# %% right: repeat
def dequantise(c, s, table, size, shape):
    return np.take(table, c).reshape(shape) * np.repeat(s, size).reshape(shape)


# %% right: loop
def dequantise(codes, scales, levels, block, shape):
    out = np.empty(len(codes), dtype=np.float32)
    for i, code in enumerate(codes):
        out[i] = levels[code] * scales[i // block]
    return out.reshape(*shape)


# %% right: torch
import torch


def dequantise(codes, scales, levels, block, shape):
    values = torch.tensor(levels)[torch.tensor(codes).long()]
    return (values * torch.tensor(scales).repeat_interleave(block)).view(*shape)


# %% wrong: no scales | the scales are missing
def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block)).reshape(shape)


# %% wrong: divides | you divide by the scale
def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) / scales[:, None]).reshape(shape)


# %% wrong: tiled | the scales stand in the wrong places
def dequantise(codes, scales, levels, block, shape):
    return (levels[codes] * np.tile(scales, block)).reshape(shape)


# %% wrong: code itself | you used the code itself
def dequantise(codes, scales, levels, block, shape):
    return (codes.reshape(-1, block) * scales[:, None]).reshape(shape)


# %% wrong: evenly spaced | evenly spaced levels
def dequantise(codes, scales, levels, block, shape):
    return ((codes / 15 * 2 - 1).reshape(-1, block) * scales[:, None]).reshape(shape)


# %% wrong: flat | their own shape
def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) * scales[:, None]).reshape(-1)


# %% wrong: columns | down the columns
def dequantise(codes, scales, levels, block, shape):
    return (levels[codes].reshape(-1, block) * scales[:, None]).reshape(-1).reshape(shape, order='F')
