# %% right: bits
import numpy as np


def bfloat16(x):
    bits = np.asarray(x, dtype=np.float32).view(np.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32)


def round_merge(weight, update):
    once = bfloat16(weight + update)
    twice = bfloat16(bfloat16(weight) + bfloat16(update))
    return once, twice


# %% right: frexp
import numpy as np


def bfloat16(x):
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.rint(mantissa * 256), exponent - 8)  # rint goes to the even neighbour


def round_merge(weight, update):
    return bfloat16(weight + update), bfloat16(bfloat16(weight) + bfloat16(update))


# %% right: torch
import torch


def round_merge(weight, update):
    w, d = torch.as_tensor(weight).float(), torch.as_tensor(update).float()
    once = (w + d).bfloat16().float()
    twice = (w.bfloat16() + d.bfloat16()).float()
    return once, twice


# %% right: loop over single numbers
import math
import numpy as np


def nearest(x):
    if x == 0:
        return 0.0
    step = 2.0 ** (math.floor(math.log2(abs(x))) - 7)
    return round(x / step) * step  # Python rounds half-way cases to even, too


def round_merge(weight, update):
    every = np.vectorize(nearest, otypes=[float])
    return [every(weight + update), every(every(weight) + every(update))]


# %% wrong: cuts the bits off | cut the lower bits off
import numpy as np


def bfloat16(x):
    bits = np.asarray(x, dtype=np.float32).view(np.uint32)
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32)


def round_merge(weight, update):
    once = bfloat16(weight + update)
    twice = bfloat16(bfloat16(weight) + bfloat16(update))
    return once, twice


# %% wrong: half goes up | even neighbour
import numpy as np


def bfloat16(x):
    bits = np.asarray(x, dtype=np.float32).view(np.uint32)
    bits = bits + 0x8000
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32)


def round_merge(weight, update):
    once = bfloat16(weight + update)
    twice = bfloat16(bfloat16(weight) + bfloat16(update))
    return once, twice


# %% wrong: float16 | float16
import numpy as np


def round_merge(weight, update):
    once = (weight + update).astype(np.float16)
    return once.astype(float), (weight.astype(np.float16) + update.astype(np.float16)).astype(float)


# %% wrong: rounds nothing | nothing is rounded
def round_merge(weight, update):
    return weight + update, weight + update


# %% wrong: the two swapped | wrong way round
import numpy as np


def bfloat16(x):
    bits = np.asarray(x, dtype=np.float32).view(np.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32)


def round_merge(weight, update):
    once = bfloat16(weight + update)
    twice = bfloat16(bfloat16(weight) + bfloat16(update))
    return twice, once


# %% wrong: rounds the sum again | rounded already
import numpy as np


def bfloat16(x):
    bits = np.asarray(x, dtype=np.float32).view(np.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32)


def round_merge(weight, update):
    once = bfloat16(weight + update)
    twice = bfloat16(once)
    return once, twice


# %% wrong: leaves the update as it is | update has to be rounded
import numpy as np


def bfloat16(x):
    bits = np.asarray(x, dtype=np.float32).view(np.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32)


def round_merge(weight, update):
    once = bfloat16(weight + update)
    twice = bfloat16(bfloat16(weight) + update)
    return once, twice


# %% wrong: leaves the weight as it is | weight has to be rounded
import numpy as np


def bfloat16(x):
    bits = np.asarray(x, dtype=np.float32).view(np.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32)


def round_merge(weight, update):
    once = bfloat16(weight + update)
    twice = bfloat16(weight + bfloat16(update))
    return once, twice


# %% wrong: doesn't round the last sum | rounded once more
import numpy as np


def bfloat16(x):
    bits = np.asarray(x, dtype=np.float32).view(np.uint32)
    bits = bits + 0x7FFF + ((bits >> 16) & 1)
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32)


def round_merge(weight, update):
    once = bfloat16(weight + update)
    twice = bfloat16(weight) + bfloat16(update)
    return once, twice


# %% wrong: places after the point | places after the point
import numpy as np


def bfloat16(x):
    return np.round(x * 2**8) / 2**8


def round_merge(weight, update):
    return bfloat16(weight + update), bfloat16(bfloat16(weight) + bfloat16(update))


# %% wrong: one bit too many | yours keeps 9
import numpy as np


def bfloat16(x):
    mantissa, exponent = np.frexp(x)
    return np.ldexp(np.rint(mantissa * 512), exponent - 9)


def round_merge(weight, update):
    return bfloat16(weight + update), bfloat16(bfloat16(weight) + bfloat16(update))
