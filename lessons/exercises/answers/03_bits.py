# %% right: formula
def bits_per_weight(block, second_block):
    if second_block is None:
        return 4 + 32 / block
    return 4 + 8 / block + 32 / (block * second_block)


# %% right: totals
def bits_per_weight(block, second_block):
    weights = block * (second_block or 1)
    scales = weights / block
    total = 4 * weights + (32 * scales if second_block is None else 8 * scales + 32)
    return total / weights


# %% right: fractions
from fractions import Fraction


def bits_per_weight(n, m):
    scale = Fraction(32) if m is None else 8 + Fraction(32, m)
    return float(4 + scale / n)


# %% wrong: no second scale | the scales' own scales are missing
def bits_per_weight(block, second_block):
    if second_block is None:
        return 4 + 32 / block
    return 4 + 8 / block


# %% wrong: second scale a weight | divide by both
def bits_per_weight(block, second_block):
    if second_block is None:
        return 4 + 32 / block
    return 4 + 8 / block + 32 / second_block


# %% wrong: scales of 32 bits stay | the plain scales are gone
def bits_per_weight(block, second_block):
    if second_block is None:
        return 4 + 32 / block
    return 4 + 32 / block + 32 / (block * second_block)


# %% wrong: both scales | yours has both
def bits_per_weight(block, second_block):
    if second_block is None:
        return 4 + 32 / block
    return 4 + 32 / block + 8 / block + 32 / (block * second_block)


# %% wrong: four bits | the scales cost something, too
def bits_per_weight(block, second_block):
    if second_block is None:
        return 4
    return 4 + 8 / block + 32 / (block * second_block)


# %% wrong: no codes | own four bits are missing
def bits_per_weight(block, second_block):
    if second_block is None:
        return 32 / block
    return 8 / block + 32 / (block * second_block)


# %% wrong: bytes | those are bytes
def bits_per_weight(block, second_block):
    if second_block is None:
        return (4 + 32 / block) / 8
    return 4 + 8 / block + 32 / (block * second_block)


# %% wrong: 16-bit scales | yours has 16
def bits_per_weight(block, second_block):
    if second_block is None:
        return 4 + 16 / block
    return 4 + 8 / block + 32 / (block * second_block)


# %% wrong: never double | without double quantisation
def bits_per_weight(block, second_block):
    return 4 + 32 / block
