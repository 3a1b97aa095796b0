# %% right: numpy's generator
import numpy as np


def mix(new, old, share, seed):
    rng = np.random.default_rng(seed)
    count = round(share * len(new))
    mixed = list(new)
    for place, rows in enumerate(old.values()):
        each = count // len(old) + (place < count % len(old))
        mixed += [rows[i] for i in rng.choice(len(rows), each, replace=False)]
    return [mixed[i] for i in rng.permutation(len(mixed))]


# %% right: random, in turn
import random


def mix(new, old, share, seed):
    luck = random.Random(seed)
    piles = [luck.sample(rows, len(rows)) for rows in old.values()]
    extra = []
    while len(extra) < round(share * len(new)):
        extra.append(piles[len(extra) % len(piles)].pop())
    rows = [*new, *extra]
    luck.shuffle(rows)
    return rows


# %% right: interleaved by round
import itertools
import random


def mix(new, old, share, seed):
    rng = random.Random(f"mix {seed}")
    shuffled = {skill: sorted(rows, key=lambda row: rng.random()) for skill, rows in old.items()}
    rounds = itertools.chain.from_iterable(zip(*shuffled.values()))
    chosen = list(itertools.islice(rounds, int(share * len(new) + 0.5)))
    return tuple(sorted(list(new) + chosen, key=lambda row: rng.random()))


# %% wrong: share of the mixture | not against
import numpy as np


def mix(new, old, share, seed):
    rng = np.random.default_rng(seed)
    count = round(share / (1 - share) * len(new))
    mixed = list(new)
    for place, rows in enumerate(old.values()):
        each = count // len(old) + (place < count % len(old))
        mixed += [rows[i] for i in rng.choice(len(rows), each, replace=False)]
    return [mixed[i] for i in rng.permutation(len(mixed))]


# %% wrong: share of the old | not against the old
import numpy as np


def mix(new, old, share, seed):
    rng = np.random.default_rng(seed)
    count = round(share * sum(map(len, old.values())))
    mixed = list(new)
    for place, rows in enumerate(old.values()):
        each = count // len(old) + (place < count % len(old))
        mixed += [rows[i] for i in rng.choice(len(rows), each, replace=False)]
    return [mixed[i] for i in rng.permutation(len(mixed))]


# %% wrong: the first that come | unevenly
import random


def mix(new, old, share, seed):
    everything = [row for rows in old.values() for row in rows]
    mixed = list(new) + everything[: round(share * len(new))]
    random.Random(seed).shuffle(mixed)
    return mixed


# %% wrong: not shuffled | stand together
import numpy as np


def mix(new, old, share, seed):
    rng = np.random.default_rng(seed)
    count = round(share * len(new))
    mixed = list(new)
    for place, rows in enumerate(old.values()):
        each = count // len(old) + (place < count % len(old))
        mixed += [rows[i] for i in rng.choice(len(rows), each, replace=False)]
    return mixed


# %% wrong: replaces new rows | doesn't replace
import numpy as np


def mix(new, old, share, seed):
    rng = np.random.default_rng(seed)
    count = round(share * len(new))
    mixed = list(new)[count:]
    for place, rows in enumerate(old.values()):
        each = count // len(old) + (place < count % len(old))
        mixed += [rows[i] for i in rng.choice(len(rows), each, replace=False)]
    return [mixed[i] for i in rng.permutation(len(mixed))]


# %% wrong: draws with putting back | came twice
import numpy as np


def mix(new, old, share, seed):
    rng = np.random.default_rng(seed)
    count = round(share * len(new))
    mixed = list(new)
    for place, rows in enumerate(old.values()):
        each = count // len(old) + (place < count % len(old))
        mixed += [rows[i] for i in rng.choice(len(rows), each, replace=True)]
    return [mixed[i] for i in rng.permutation(len(mixed))]


# %% wrong: no seed | has to be repeatable
import numpy as np


def mix(new, old, share, seed):
    rng = np.random.default_rng()
    count = round(share * len(new))
    mixed = list(new)
    for place, rows in enumerate(old.values()):
        each = count // len(old) + (place < count % len(old))
        mixed += [rows[i] for i in rng.choice(len(rows), each, replace=False)]
    return [mixed[i] for i in rng.permutation(len(mixed))]


# %% wrong: always the same seed | another seed
import numpy as np


def mix(new, old, share, seed):
    rng = np.random.default_rng(0)
    count = round(share * len(new))
    mixed = list(new)
    for place, rows in enumerate(old.values()):
        each = count // len(old) + (place < count % len(old))
        mixed += [rows[i] for i in rng.choice(len(rows), each, replace=False)]
    return [mixed[i] for i in rng.permutation(len(mixed))]


# %% wrong: always the same old rows | draw them
import numpy as np


def mix(new, old, share, seed):
    rng = np.random.default_rng(seed)
    count = round(share * len(new))
    mixed = list(new)
    for place, rows in enumerate(old.values()):
        each = count // len(old) + (place < count % len(old))
        mixed += rows[:each]
    return [mixed[i] for i in rng.permutation(len(mixed))]


# %% wrong: so many of each skill | number of old rows in all
import numpy as np


def mix(new, old, share, seed):
    rng = np.random.default_rng(seed)
    count = round(share * len(new))
    mixed = list(new)
    for place, rows in enumerate(old.values()):
        each = count
        mixed += [rows[i] for i in rng.choice(len(rows), each, replace=each > len(rows))]
    return [mixed[i] for i in rng.permutation(len(mixed))]


# %% wrong: shuffles the new rows alone | stand together
import numpy as np


def mix(new, old, share, seed):
    rng = np.random.default_rng(seed)
    count = round(share * len(new))
    mixed = [new[i] for i in rng.permutation(len(new))]
    for place, rows in enumerate(old.values()):
        each = count // len(old) + (place < count % len(old))
        mixed += [rows[i] for i in rng.choice(len(rows), each, replace=False)]
    return mixed
