# %% right: numpy
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    batches = int(np.ceil(rows / (per_device * devices)))
    steps = int(np.ceil(epochs * np.ceil(batches / accumulation)))
    warm = int(np.ceil(steps * warmup))
    s = np.arange(steps)
    rising = s / max(1, warm)
    falling = 0.5 * (1 + np.cos(np.pi * (s - warm) / (steps - warm)))
    return peak * np.where(s < warm, rising, falling)


# %% right: loop
import math


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    batches = -(-rows // (per_device * devices))
    steps = math.ceil(epochs * -(-batches // accumulation))
    warm = math.ceil(warmup * steps)
    rates = []
    for s in range(steps):
        if s < warm:
            rates.append(peak * s / warm)
        else:
            rates.append(peak * math.cos(math.pi / 2 * (s - warm) / (steps - warm)) ** 2)
    return rates


# %% right: two pieces
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    a_step = per_device * devices * accumulation
    per_epoch = (rows + a_step - 1) // a_step
    n = int(-(-epochs * per_epoch // 1))
    w = int(-(-n * warmup // 1))
    up = np.linspace(0, peak, w, endpoint=False)
    down = peak * (1 + np.cos(np.linspace(0, np.pi, n - w, endpoint=False))) / 2
    return np.concatenate([up, down]).astype(np.float32)


# %% right: torch
import math
import torch


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    steps = math.ceil(epochs * math.ceil(math.ceil(rows / (per_device * devices)) / accumulation))
    warm = math.ceil(steps * warmup)
    s = torch.arange(steps, dtype=torch.float64)
    way = ((s - warm) / (steps - warm)).clamp(min=0)
    return peak * torch.where(s < warm, s / max(warm, 1), 0.5 * (1 + torch.cos(torch.pi * way)))


# %% wrong: rounds down | round up
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    batches = rows // (per_device * devices)
    steps = int(np.ceil(epochs * batches // accumulation))
    warm = int(np.ceil(steps * warmup))
    s = np.arange(steps)
    rising = s / max(1, warm)
    falling = 0.5 * (1 + np.cos(np.pi * (s - warm) / (steps - warm)))
    return peak * np.where(s < warm, rising, falling)


# %% wrong: forgets accumulation | accumulation is forgotten
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    batches = int(np.ceil(rows / (per_device * devices)))
    steps = int(np.ceil(epochs * batches))
    warm = int(np.ceil(steps * warmup))
    s = np.arange(steps)
    rising = s / max(1, warm)
    falling = 0.5 * (1 + np.cos(np.pi * (s - warm) / (steps - warm)))
    return peak * np.where(s < warm, rising, falling)


# %% wrong: forgets the devices | devices are forgotten
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    batches = int(np.ceil(rows / per_device))
    steps = int(np.ceil(epochs * np.ceil(batches / accumulation)))
    warm = int(np.ceil(steps * warmup))
    s = np.arange(steps)
    rising = s / max(1, warm)
    falling = 0.5 * (1 + np.cos(np.pi * (s - warm) / (steps - warm)))
    return peak * np.where(s < warm, rising, falling)


# %% wrong: multiplies before it rounds | round up for each epoch
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    steps = int(np.ceil(epochs * rows / (per_device * devices * accumulation)))
    warm = int(np.ceil(steps * warmup))
    s = np.arange(steps)
    rising = s / max(1, warm)
    falling = 0.5 * (1 + np.cos(np.pi * (s - warm) / (steps - warm)))
    return peak * np.where(s < warm, rising, falling)


# %% wrong: no warm-up | no warm-up
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    batches = int(np.ceil(rows / (per_device * devices)))
    steps = int(np.ceil(epochs * np.ceil(batches / accumulation)))
    warm = 0
    s = np.arange(steps)
    rising = s / max(1, warm)
    falling = 0.5 * (1 + np.cos(np.pi * (s - warm) / (steps - warm)))
    return peak * np.where(s < warm, rising, falling)


# %% wrong: linear | along a line
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    batches = int(np.ceil(rows / (per_device * devices)))
    steps = int(np.ceil(epochs * np.ceil(batches / accumulation)))
    warm = int(np.ceil(steps * warmup))
    s = np.arange(steps)
    rising = s / max(1, warm)
    falling = 1 - (s - warm) / (steps - warm)
    return peak * np.where(s < warm, rising, falling)


# %% wrong: quarter of a wave | quarter
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    batches = int(np.ceil(rows / (per_device * devices)))
    steps = int(np.ceil(epochs * np.ceil(batches / accumulation)))
    warm = int(np.ceil(steps * warmup))
    s = np.arange(steps)
    rising = s / max(1, warm)
    falling = np.cos(np.pi / 2 * (s - warm) / (steps - warm))
    return peak * np.where(s < warm, rising, falling)


# %% wrong: cosine from the first step | where the warm-up ends
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    batches = int(np.ceil(rows / (per_device * devices)))
    steps = int(np.ceil(epochs * np.ceil(batches / accumulation)))
    warm = int(np.ceil(steps * warmup))
    s = np.arange(steps)
    rising = s / max(1, warm)
    falling = 0.5 * (1 + np.cos(np.pi * s / steps))
    return peak * np.where(s < warm, rising, falling)


# %% wrong: starts at one step's rate | off by one in the warm-up
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    batches = int(np.ceil(rows / (per_device * devices)))
    steps = int(np.ceil(epochs * np.ceil(batches / accumulation)))
    warm = int(np.ceil(steps * warmup))
    s = np.arange(steps)
    rising = (s + 1) / max(1, warm)
    falling = 0.5 * (1 + np.cos(np.pi * (s - warm) / (steps - warm)))
    return peak * np.where(s < warm, rising, falling)


# %% wrong: reaches zero too early | off by one at the end
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    batches = int(np.ceil(rows / (per_device * devices)))
    steps = int(np.ceil(epochs * np.ceil(batches / accumulation)))
    warm = int(np.ceil(steps * warmup))
    s = np.arange(steps)
    rising = s / max(1, warm)
    falling = 0.5 * (1 + np.cos(np.pi * (s - warm) / (steps - 1 - warm)))
    return peak * np.where(s < warm, rising, falling)


# %% wrong: divides by no warm-up | nothing to divide by
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    batches = int(np.ceil(rows / (per_device * devices)))
    steps = int(np.ceil(epochs * np.ceil(batches / accumulation)))
    warm = int(np.ceil(steps * warmup))
    s = np.arange(steps)
    np.seterr(all="ignore")
    rising = s / np.float64(warm)
    falling = 0.5 * (1 + np.cos(np.pi * (s - warm) / (steps - warm)))
    return peak * np.where(s <= warm, rising, falling)


# %% wrong: one rate too many | one rate too many
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    batches = int(np.ceil(rows / (per_device * devices)))
    steps = int(np.ceil(epochs * np.ceil(batches / accumulation)))
    warm = int(np.ceil(steps * warmup))
    s = np.arange(steps + 1)
    rising = s / max(1, warm)
    falling = 0.5 * (1 + np.cos(np.pi * (s - warm) / (steps - warm)))
    return peak * np.where(s < warm, rising, falling)


# %% wrong: shares, no peak | multiply by the peak
import numpy as np


def schedule(rows, per_device, devices, accumulation, epochs, peak, warmup):
    batches = int(np.ceil(rows / (per_device * devices)))
    steps = int(np.ceil(epochs * np.ceil(batches / accumulation)))
    warm = int(np.ceil(steps * warmup))
    s = np.arange(steps)
    rising = s / max(1, warm)
    falling = 0.5 * (1 + np.cos(np.pi * (s - warm) / (steps - warm)))
    return np.where(s < warm, rising, falling)
