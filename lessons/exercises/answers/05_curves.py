# %% right: rules
import numpy as np


def diagnose(run):
    train, held_out, per = run["train"], run["held_out"], run["steps_per_epoch"]
    if run["counted_tokens"] > run["answer_tokens"]:
        return "loss on the prompt"
    if train[-per // 2 :].mean() > 0.5 * train[0]:
        return "rate too high"
    if run["stopped"] < 0.5:
        return "no end token"
    if train[per:].max() > 0.2 * train[0]:
        return "sorted data"
    if held_out[-1] > 1.3 * held_out.min():
        return "overfitting"
    return "healthy"


# %% right: a table of symptoms
import numpy as np


def diagnose(log):
    last = log["train"][-log["steps_per_epoch"] :]
    symptoms = {
        "loss on the prompt": log["counted_tokens"] != log["answer_tokens"]
        and log["counted_tokens"] != log["answer_tokens"] - log["rows"],
        "no end token": log["counted_tokens"] == log["answer_tokens"] - log["rows"],
        "rate too high": np.median(last) > 1,
        "sorted data": last.max() > 5 * np.median(last) and np.median(last) <= 1,
        "overfitting": np.argmin(log["held_out"]) < len(log["held_out"]) - 2 and log["held_out"][-1] - min(log["held_out"]) > 0.2,
    }
    return next((name for name, there in symptoms.items() if there), "healthy")


# %% right: jumps
def diagnose(run):
    train = list(run["train"])
    jumps = [now - then for then, now in zip(train, train[1:])]
    late = jumps[len(jumps) // 2 :]
    if run["counted_tokens"] > run["answer_tokens"]:
        return "loss on the prompt"
    if run["counted_tokens"] < run["answer_tokens"]:
        return "no end token"
    if max(late) > 0.5:
        return "rate too high" if min(train[len(train) // 2 :]) > 2 else "sorted data"
    if run["held_out"][-1] > run["held_out"][1] + 0.2:
        return "overfitting"
    return "healthy"


# %% wrong: calls any high loss a high rate | more tokens count
import numpy as np


def diagnose(run):
    train, held_out, per = run["train"], run["held_out"], run["steps_per_epoch"]
    if train[-per // 2 :].mean() > 0.5 * train[0]:
        return "rate too high"
    if run["stopped"] < 0.5:
        return "no end token"
    if train[per:].max() > 0.2 * train[0]:
        return "sorted data"
    if held_out[-1] > 1.3 * held_out.min():
        return "overfitting"
    return "healthy"


# %% wrong: believes a falling loss | held-out loss turns
import numpy as np


def diagnose(run):
    train, held_out, per = run["train"], run["held_out"], run["steps_per_epoch"]
    if run["counted_tokens"] > run["answer_tokens"]:
        return "loss on the prompt"
    if train[-per // 2 :].mean() > 0.5 * train[0]:
        return "rate too high"
    if run["stopped"] < 0.5:
        return "no end token"
    if train[per:].max() > 0.2 * train[0]:
        return "sorted data"
    return "healthy"


# %% wrong: doesn't look whether answers end | hardly any answer ends
import numpy as np


def diagnose(run):
    train, held_out, per = run["train"], run["held_out"], run["steps_per_epoch"]
    if run["counted_tokens"] > run["answer_tokens"]:
        return "loss on the prompt"
    if train[-per // 2 :].mean() > 0.5 * train[0]:
        return "rate too high"
    if train[per:].max() > 0.2 * train[0]:
        return "sorted data"
    if held_out[-1] > 1.3 * held_out.min():
        return "overfitting"
    return "healthy"


# %% wrong: takes every jump for a high rate | same places of every epoch
import numpy as np


def diagnose(run):
    train, held_out, per = run["train"], run["held_out"], run["steps_per_epoch"]
    if run["counted_tokens"] > run["answer_tokens"]:
        return "loss on the prompt"
    if train[-per // 2 :].mean() > 0.5 * train[0]:
        return "rate too high"
    if run["stopped"] < 0.5:
        return "no end token"
    if train[per:].max() > 0.2 * train[0]:
        return "rate too high"
    if held_out[-1] > 1.3 * held_out.min():
        return "overfitting"
    return "healthy"


# %% wrong: doesn't look at the training loss at the end | doesn't come back
import numpy as np


def diagnose(run):
    train, held_out, per = run["train"], run["held_out"], run["steps_per_epoch"]
    if run["counted_tokens"] > run["answer_tokens"]:
        return "loss on the prompt"
    if run["stopped"] < 0.5:
        return "no end token"
    if train[per:].max() > 0.2 * train[0]:
        return "sorted data"
    if held_out[-1] > 1.3 * held_out.min():
        return "overfitting"
    return "healthy"


# %% wrong: takes the first fall of the held-out loss for overfitting | stay down
import numpy as np


def diagnose(run):
    train, held_out, per = run["train"], run["held_out"], run["steps_per_epoch"]
    if run["counted_tokens"] > run["answer_tokens"]:
        return "loss on the prompt"
    if train[-per // 2 :].mean() > 0.5 * train[0]:
        return "rate too high"
    if run["stopped"] < 0.5:
        return "no end token"
    if train[per:].max() > 0.2 * train[0]:
        return "sorted data"
    if held_out[0] > held_out.min():
        return "overfitting"
    return "healthy"


# %% wrong: an own name | there is no diagnosis
import numpy as np


def diagnose(run):
    train, held_out, per = run["train"], run["held_out"], run["steps_per_epoch"]
    if run["counted_tokens"] > run["answer_tokens"]:
        return "loss on the prompt"
    if train[-per // 2 :].mean() > 0.5 * train[0]:
        return "rate too high"
    if run["stopped"] < 0.5:
        return "no end token"
    if train[per:].max() > 0.2 * train[0]:
        return "sorted data"
    if held_out[-1] > 1.3 * held_out.min():
        return "overfitting"
    return "fine"


# %% wrong: everything is healthy | called 'healthy'
def diagnose(run):
    return "healthy"


# %% wrong: a number | return one of the names
def diagnose(run):
    return int(run["held_out"].argmin())
