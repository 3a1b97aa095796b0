# %% right: paired differences
import numpy as np
from course_lib.exercises.lesson07 import STUDENT_T


def compare(first, second):
    gaps = first - second
    n = len(gaps)
    half = STUDENT_T[n - 1] * gaps.std(ddof=1) / np.sqrt(n)
    middle = gaps.mean()
    low, high = middle - half, middle + half
    return {"difference": middle, "low": low, "high": high, "real": low > 0 or high < 0}


# %% right: loop
import math
from course_lib.exercises.lesson07 import STUDENT_T


def compare(first, second):
    gaps = [a - b for a, b in zip(first, second)]
    mean = sum(gaps) / len(gaps)
    variance = sum((gap - mean) ** 2 for gap in gaps) / (len(gaps) - 1)
    half = STUDENT_T[len(gaps) - 1] * math.sqrt(variance / len(gaps))
    return {"real": abs(mean) > half, "low": mean - half, "difference": mean, "high": mean + half}


# %% right: statistics, scipy
from statistics import fmean, stdev
from scipy.stats import t


def compare(first, second):
    gaps = [float(a) - float(b) for a, b in zip(first, second)]
    error = stdev(gaps) / len(gaps) ** 0.5
    low, high = t.interval(0.95, len(gaps) - 1, loc=fmean(gaps), scale=error)
    return dict(difference=fmean(gaps), low=low, high=high, real=not low <= 0 <= high)


# %% right: torch
import torch
from course_lib.exercises.lesson07 import STUDENT_T


def compare(first, second):
    gaps = torch.as_tensor(first, dtype=torch.float64) - torch.as_tensor(second, dtype=torch.float64)
    half = STUDENT_T[len(gaps) - 1] * gaps.std() / len(gaps) ** 0.5
    ends = gaps.mean() + half * torch.tensor([-1.0, 1.0], dtype=torch.float64)
    return {"difference": gaps.mean(), "low": ends[0], "high": ends[1], "real": bool(ends[0] * ends[1] > 0)}


# %% wrong: 1.96 | 1.96
import numpy as np
from course_lib.exercises.lesson07 import STUDENT_T


def compare(first, second):
    gaps = first - second
    n = len(gaps)
    half = 1.96 * gaps.std(ddof=1) / np.sqrt(n)
    middle = gaps.mean()
    low, high = middle - half, middle + half
    return {"difference": middle, "low": low, "high": high, "real": low > 0 or high < 0}


# %% wrong: degrees of freedom n | one less
import numpy as np
from course_lib.exercises.lesson07 import STUDENT_T


def compare(first, second):
    gaps = first - second
    n = len(gaps)
    half = STUDENT_T[n] * gaps.std(ddof=1) / np.sqrt(n)
    middle = gaps.mean()
    low, high = middle - half, middle + half
    return {"difference": middle, "low": low, "high": high, "real": low > 0 or high < 0}


# %% wrong: standard deviation of a population | ddof
import numpy as np
from course_lib.exercises.lesson07 import STUDENT_T


def compare(first, second):
    gaps = first - second
    n = len(gaps)
    half = STUDENT_T[n - 1] * gaps.std() / np.sqrt(n)
    middle = gaps.mean()
    low, high = middle - half, middle + half
    return {"difference": middle, "low": low, "high": high, "real": low > 0 or high < 0}


# %% wrong: standard deviation, not error | square root of n
import numpy as np
from course_lib.exercises.lesson07 import STUDENT_T


def compare(first, second):
    gaps = first - second
    n = len(gaps)
    half = STUDENT_T[n - 1] * gaps.std(ddof=1)
    middle = gaps.mean()
    low, high = middle - half, middle + half
    return {"difference": middle, "low": low, "high": high, "real": low > 0 or high < 0}


# %% wrong: not paired | belong together
import numpy as np
from course_lib.exercises.lesson07 import STUDENT_T


def compare(first, second):
    gaps = first - second
    n = len(gaps)
    half = STUDENT_T[n - 1] * np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / n)
    middle = gaps.mean()
    low, high = middle - half, middle + half
    return {"difference": middle, "low": low, "high": high, "real": low > 0 or high < 0}


# %% wrong: not paired, 2n - 2 | seed by seed
import numpy as np
from course_lib.exercises.lesson07 import STUDENT_T


def compare(first, second):
    gaps = first - second
    n = len(gaps)
    half = STUDENT_T[2 * n - 2] * np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / n)
    middle = gaps.mean()
    low, high = middle - half, middle + half
    return {"difference": middle, "low": low, "high": high, "real": low > 0 or high < 0}


# %% wrong: second less first | the sign
import numpy as np
from course_lib.exercises.lesson07 import STUDENT_T


def compare(first, second):
    gaps = second - first
    n = len(gaps)
    half = STUDENT_T[n - 1] * gaps.std(ddof=1) / np.sqrt(n)
    middle = gaps.mean()
    low, high = middle - half, middle + half
    return {"difference": middle, "low": low, "high": high, "real": low > 0 or high < 0}


# %% wrong: real if above zero | below zero can be real
import numpy as np
from course_lib.exercises.lesson07 import STUDENT_T


def compare(first, second):
    gaps = first - second
    n = len(gaps)
    half = STUDENT_T[n - 1] * gaps.std(ddof=1) / np.sqrt(n)
    middle = gaps.mean()
    low, high = middle - half, middle + half
    return {"difference": middle, "low": low, "high": high, "real": low > 0}


# %% wrong: real if the means differ | chance
import numpy as np
from course_lib.exercises.lesson07 import STUDENT_T


def compare(first, second):
    gaps = first - second
    n = len(gaps)
    half = STUDENT_T[n - 1] * gaps.std(ddof=1) / np.sqrt(n)
    middle = gaps.mean()
    low, high = middle - half, middle + half
    return {"difference": middle, "low": low, "high": high, "real": abs(middle) > 0.01}


# %% wrong: real if the two intervals don't overlap | even where the intervals
import numpy as np
from course_lib.exercises.lesson07 import STUDENT_T


def compare(first, second):
    gaps = first - second
    n = len(gaps)
    half = STUDENT_T[n - 1] * gaps.std(ddof=1) / np.sqrt(n)
    middle = gaps.mean()
    low, high = middle - half, middle + half
    return {
        "difference": middle,
        "low": low,
        "high": high,
        "real": abs(middle) > STUDENT_T[n - 1] * (first.std(ddof=1) + second.std(ddof=1)) / np.sqrt(n),
    }


# %% wrong: smallest and largest | interval of the mean
import numpy as np
from course_lib.exercises.lesson07 import STUDENT_T


def compare(first, second):
    gaps = first - second
    n = len(gaps)
    half = STUDENT_T[n - 1] * gaps.std(ddof=1) / np.sqrt(n)
    middle = gaps.mean()
    low, high = gaps.min(), gaps.max()
    return {"difference": middle, "low": low, "high": high, "real": low > 0 or high < 0}
