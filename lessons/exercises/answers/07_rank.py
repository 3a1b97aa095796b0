# %% right: division
def largest_rank(layers, megabytes):
    numbers = sum(count * (d_out + d_in) for d_out, d_in, count in layers)
    rank = int(megabytes * 1e6 // (16 * numbers))
    return min(rank, min(min(d_out, d_in) for d_out, d_in, _ in layers))


# %% right: numpy
import numpy as np


def largest_rank(layers, megabytes):
    out, into, count = np.array(layers).T
    per_rank = (4 + 4 + 8) * (count * (out + into)).sum()
    return np.minimum(np.floor(megabytes * 1e6 / per_rank), np.minimum(out, into).min())


# %% right: search
def largest_rank(layers, megabytes):
    def needs(rank):
        total = 0
        for d_out, d_in, count in layers:
            weights = count * (d_out * rank + rank * d_in)
            total += 4 * weights + 4 * weights + 2 * 4 * weights
        return total / 1e6

    limit, rank = min(min(layer[:2]) for layer in layers), 0
    while rank < limit and needs(rank + 1) <= megabytes:
        rank += 1
    return rank


# %% wrong: rounds up | rounded up
def largest_rank(layers, megabytes):
    numbers = sum(count * (d_out + d_in) for d_out, d_in, count in layers)
    rank = -int(-megabytes * 1e6 // (16 * numbers))
    return min(rank, min(min(d_out, d_in) for d_out, d_in, _ in layers))


# %% wrong: weights alone | weights alone
def largest_rank(layers, megabytes):
    numbers = sum(count * (d_out + d_in) for d_out, d_in, count in layers)
    rank = int(megabytes * 1e6 // (4 * numbers))
    return min(rank, min(min(d_out, d_in) for d_out, d_in, _ in layers))


# %% wrong: one average | two averages
def largest_rank(layers, megabytes):
    numbers = sum(count * (d_out + d_in) for d_out, d_in, count in layers)
    rank = int(megabytes * 1e6 // (12 * numbers))
    return min(rank, min(min(d_out, d_in) for d_out, d_in, _ in layers))


# %% wrong: forgets the counts | multiply by the count
def largest_rank(layers, megabytes):
    numbers = sum((d_out + d_in) for d_out, d_in, count in layers)
    rank = int(megabytes * 1e6 // (16 * numbers))
    return min(rank, min(min(d_out, d_in) for d_out, d_in, _ in layers))


# %% wrong: d_out times d_in | not r times
def largest_rank(layers, megabytes):
    numbers = sum(count * d_out * d_in for d_out, d_in, count in layers)
    rank = int(megabytes * 1e6 // (16 * numbers))
    return min(rank, min(min(d_out, d_in) for d_out, d_in, _ in layers))


# %% wrong: A alone | count both
def largest_rank(layers, megabytes):
    numbers = sum(count * d_in for d_out, d_in, count in layers)
    rank = int(megabytes * 1e6 // (16 * numbers))
    return min(rank, min(min(d_out, d_in) for d_out, d_in, _ in layers))


# %% wrong: no cap | stop there
def largest_rank(layers, megabytes):
    numbers = sum(count * (d_out + d_in) for d_out, d_in, count in layers)
    rank = int(megabytes * 1e6 // (16 * numbers))
    return rank


# %% wrong: at least one | return 0
def largest_rank(layers, megabytes):
    numbers = sum(count * (d_out + d_in) for d_out, d_in, count in layers)
    rank = int(megabytes * 1e6 // (16 * numbers))
    return max(1, rank) and min(max(1, rank), min(min(d_out, d_in) for d_out, d_in, _ in layers))


# %% wrong: rank with a fraction | whole number
def largest_rank(layers, megabytes):
    numbers = sum(count * (d_out + d_in) for d_out, d_in, count in layers)
    rank = megabytes * 1e6 / (16 * numbers)
    return min(rank, min(min(d_out, d_in) for d_out, d_in, _ in layers))
