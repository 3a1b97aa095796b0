# %% right: formula
def break_even(long, short, price, training, hosting, days):
    saved = (long - short) * price / 1e6
    if saved <= 0:
        return None
    return int(np.ceil((training / days + hosting) / saved))


# %% right: whole days
import math


def break_even(a, b, per_million, fixed, daily, n):
    if b >= a:
        return None
    return math.ceil((fixed + daily * n) * 1e6 / ((a - b) * per_million * n))


# %% right: search
def break_even(long, short, price, training, hosting, days):
    def prompting(n):
        return n * days * long * price / 1_000_000

    def trained(n):
        return training + days * hosting + n * days * short * price / 1_000_000

    if short >= long:
        return None
    low, high = 0, 1
    while trained(high) > prompting(high):
        high *= 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if trained(middle) > prompting(middle) else (low, middle)
    return high


# %% wrong: rounds down | rounded down
def break_even(long, short, price, training, hosting, days):
    saved = (long - short) * price / 1e6
    if saved <= 0:
        return None
    return int(np.floor((training / days + hosting) / saved))


# %% wrong: not whole | answers come whole
def break_even(long, short, price, training, hosting, days):
    saved = (long - short) * price / 1e6
    if saved <= 0:
        return None
    return (training / days + hosting) / saved


# %% wrong: short prompt for free | the short prompt costs something, too
def break_even(long, short, price, training, hosting, days):
    saved = long * price / 1e6
    if saved <= 0:
        return None
    return int(np.ceil((training / days + hosting) / saved))


# %% wrong: all days | answers a day are asked for
def break_even(long, short, price, training, hosting, days):
    saved = (long - short) * price / 1e6
    if saved <= 0:
        return None
    return int(np.ceil((training + days * hosting) / saved))


# %% wrong: training every day | training is paid once
def break_even(long, short, price, training, hosting, days):
    saved = (long - short) * price / 1e6
    if saved <= 0:
        return None
    return int(np.ceil((training + hosting) / saved))


# %% wrong: no hosting | hosting the adapter is missing
def break_even(long, short, price, training, hosting, days):
    saved = (long - short) * price / 1e6
    if saved <= 0:
        return None
    return int(np.ceil((training / days) / saved))


# %% wrong: no training | the training itself is missing
def break_even(long, short, price, training, hosting, days):
    saved = (long - short) * price / 1e6
    if saved <= 0:
        return None
    return int(np.ceil((hosting) / saved))


# %% wrong: price of a token | the price is that of a million tokens
def break_even(long, short, price, training, hosting, days):
    saved = (long - short) * price
    if saved <= 0:
        return None
    return int(np.ceil((training / days + hosting) / saved))


# %% wrong: always pays | training never pays
def break_even(long, short, price, training, hosting, days):
    saved = (long - short) * price / 1e6
    return int(np.ceil((training / days + hosting) / saved))
