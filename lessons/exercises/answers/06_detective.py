# %% right: projection
import numpy as np


def what_happened(base, merged, a, b, alpha, r):
    change, product = merged - base, b @ a
    if np.abs(change).max() == 0:
        return "not merged"
    times = (change * product).sum() / (product**2).sum()
    rest = change - times * product
    if (rest**2).mean() > 0.0005:
        return "another base"
    s = alpha / r
    factors = {"right": s, "alpha/r dropped": 1, "alpha and r swapped": 1 / s, "merged twice": 2 * s}
    return min(factors, key=lambda name: abs(factors[name] - times))


# %% right: try each
import numpy as np


def what_happened(base, merged, a, b, alpha, r):
    tries = {
        "right": alpha / r,
        "not merged": 0,
        "alpha/r dropped": 1,
        "alpha and r swapped": r / alpha,
        "merged twice": 2 * alpha / r,
    }
    far = {verdict: np.abs(base + times * (b @ a) - merged).mean() for verdict, times in tries.items()}
    best = min(far, key=far.get)
    return best if far[best] < 0.03 else "another base"


# %% right: least squares with singular values
import numpy as np


def what_happened(base, merged, a, b, alpha, r):
    delta, ba = (merged - base).ravel(), (b @ a).ravel()
    spread = np.linalg.svd((merged - base), compute_uv=False)
    if spread[0] < 1e-6:
        return "not merged"
    if spread[r] > 0.3:  # beyond rank r nothing but rounding should be left
        return "another base"
    k = np.linalg.lstsq(ba[:, None], delta, rcond=None)[0][0]
    names = ["right", "alpha/r dropped", "alpha and r swapped", "merged twice"]
    wanted = np.array([alpha / r, 1, r / alpha, 2 * alpha / r])
    return names[int(np.argmin(np.abs(np.log(wanted / k))))]


# %% wrong: never doubts the base | no multiple of B A
import numpy as np


def what_happened(base, merged, a, b, alpha, r):
    change, product = merged - base, b @ a
    if np.abs(change).max() == 0:
        return "not merged"
    times = (change * product).sum() / (product**2).sum()
    rest = change - times * product
    s = alpha / r
    factors = {"right": s, "alpha/r dropped": 1, "alpha and r swapped": 1 / s, "merged twice": 2 * s}
    return min(factors, key=lambda name: abs(factors[name] - times))


# %% wrong: exact comparison | rounding of bfloat16
import numpy as np


def what_happened(base, merged, a, b, alpha, r):
    tries = {
        "right": alpha / r,
        "not merged": 0,
        "alpha/r dropped": 1,
        "alpha and r swapped": r / alpha,
        "merged twice": 2 * alpha / r,
    }
    for verdict, times in tries.items():
        if np.array_equal(base + times * (b @ a), merged):
            return verdict
    return "another base"


# %% wrong: forgets that nothing may have happened | merged equals base
import numpy as np


def what_happened(base, merged, a, b, alpha, r):
    change, product = merged - base, b @ a
    times = (change * product).sum() / (product**2).sum()
    rest = change - times * product
    if (rest**2).mean() > 0.0005:
        return "another base"
    s = alpha / r
    factors = {"right": s, "alpha/r dropped": 1, "alpha and r swapped": 1 / s, "merged twice": 2 * s}
    return min(factors, key=lambda name: abs(factors[name] - times))


# %% wrong: dropped and swapped exchanged | merged - base is
import numpy as np


def what_happened(base, merged, a, b, alpha, r):
    change, product = merged - base, b @ a
    if np.abs(change).max() == 0:
        return "not merged"
    times = (change * product).sum() / (product**2).sum()
    rest = change - times * product
    if (rest**2).mean() > 0.0005:
        return "another base"
    s = alpha / r
    factors = {"right": s, "alpha/r dropped": 1 / s, "alpha and r swapped": 1, "merged twice": 2 * s}
    return min(factors, key=lambda name: abs(factors[name] - times))


# %% wrong: twice means squared | two times
import numpy as np


def what_happened(base, merged, a, b, alpha, r):
    change, product = merged - base, b @ a
    if np.abs(change).max() == 0:
        return "not merged"
    times = (change * product).sum() / (product**2).sum()
    rest = change - times * product
    if (rest**2).mean() > 0.0005:
        return "another base"
    s = alpha / r
    factors = {"right": s, "alpha/r dropped": 1, "alpha and r swapped": 1 / s, "merged twice": s**2}
    return min(factors, key=lambda name: abs(factors[name] - times))


# %% wrong: always right | called 'right'
def what_happened(base, merged, a, b, alpha, r):
    return "right"


# %% wrong: its own words | there is no verdict
import numpy as np


def what_happened(base, merged, a, b, alpha, r):
    change, product = merged - base, b @ a
    if np.abs(change).max() == 0:
        return "not merged"
    times = (change * product).sum() / (product**2).sum()
    rest = change - times * product
    if (rest**2).mean() > 0.0005:
        return "wrong base"
    s = alpha / r
    factors = {"right": s, "alpha/r dropped": 1, "alpha and r swapped": 1 / s, "merged twice": 2 * s}
    return min(factors, key=lambda name: abs(factors[name] - times))
