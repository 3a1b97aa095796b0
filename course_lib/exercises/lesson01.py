"""Checks of lesson 01's exercises: choose from measurements, BM25, when training pays, and what makes a comparison unfair."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np

from course_lib.exercises import require, task
from course_lib.exercises.judging import array, entries, judge, number


class Way(TypedDict):
    """What was measured of one way to do a job: shares right today, right a day later, rightly cited; tokens of a prompt."""

    today: float
    later: float
    cited: float
    tokens: int


def _way(today: float, later: float, cited: float, tokens: int) -> Way:
    return Way(today=today, later=later, cited=cited, tokens=tokens)


FACTS: dict[str, Way] = {
    "prompt": _way(0.02, 0.02, 0.0, 13),
    "RAG": _way(1.0, 1.0, 1.0, 71),
    "LoRA": _way(0.98, 0.5, 0.0, 13),
    "both": _way(1.0, 1.0, 1.0, 71),
}
"""Lesson 01's first job, a catalogue whose prices move overnight, as measured there; a test compares them with the lesson."""
FORMAT: dict[str, Way] = {
    "prompt": _way(0.0, 0.0, 0.0, 89),
    "RAG": _way(0.0, 0.0, 0.0, 138),
    "LoRA": _way(0.99, 0.99, 0.0, 31),
    "both": _way(1.0, 1.0, 0.0, 138),
}
"""Its second job, the format of the house, which doesn't change."""

# -- 1: choose ---------------------------------------------------------------------------------------------------------


def _choose(
    ways: dict[str, Way],
    least: float,
    sources: bool,
    *,
    later: bool = True,
    always: bool = False,
    strict: bool = False,
    mean: bool = False,
    by: str = "tokens",
    source_first: bool = False,
    fallback: bool = False,
) -> dict[str, Any]:
    """The right choice, or that of one of the mistakes."""

    def low(share: float) -> bool:
        return share <= least if strict else share < least

    out: dict[str, str] = {}
    for name, way in ways.items():
        after = (way["today"] + way["later"]) / 2 if mean else way["later"]
        reasons = [
            ("wrong", low(way["today"])),
            ("stale", later and low(after)),
            ("no source", (sources or always) and low(way["cited"])),
        ]
        if source_first:
            reasons = reasons[::-1]
        found = next((reason for reason, holds in reasons if holds), None)
        if found:
            out[name] = found
    left = [name for name in ways if name not in out] or (list(ways) if fallback else [])
    orders: dict[str, Callable[[str], tuple[float, ...]]] = {
        "tokens": lambda name: (ways[name]["tokens"],),
        "today": lambda name: (-ways[name]["today"],),
        "last": lambda name: (ways[name]["tokens"], -list(ways).index(name)),
        "dear": lambda name: (-ways[name]["tokens"],),
    }
    return {"choice": min(left, key=orders[by], default=None), "out": out}


def _jobs(rng: np.random.Generator) -> list[tuple[dict[str, Way], float, bool]]:
    """Jobs, each of which tells some mistakes from the right rule."""
    u, t = (lambda low, high: round(float(rng.uniform(low, high)), 3)), (lambda low, high: int(rng.integers(low, high)))
    good, bad = u(0.86, 0.99), u(0.1, 0.6)
    cites = {
        "prompt": _way(bad, bad, 0.0, t(10, 20)),
        "RAG": _way(good, good, u(0.9, 0.99), t(60, 90)),
        "LoRA": _way(u(0.9, 0.99), u(0.9, 0.99), 0.0, t(21, 30)),
        "both": _way(0.995, 0.995, u(0.85, 0.99), t(40, 59)),
    }
    edge = {
        "RAG": _way(0.8, 0.8, 0.8, t(30, 40)),
        "prompt": _way(0.95, 0.95, 0.9, t(50, 60)),
        "both": _way(0.97, 0.79, 0.3, t(20, 30)),
        "LoRA": _way(0.6, 0.97, 0.0, t(8, 20)),
    }
    none = {"prompt": _way(bad, bad, 0.0, t(10, 20)), "LoRA": _way(0.97, 0.4, 0.0, 21), "RAG": _way(0.7, 0.7, 0.7, 60)}
    return [
        (FACTS, 0.9, False),
        (cites, 0.8, True),
        (FORMAT, 0.9, False),
        (FACTS, 0.7, False),
        (cites, 0.8, False),
        (edge, 0.8, False),
        (edge, 0.8, True),
        (none, 0.85, True),
    ]


@task("01.choose", title="Choose from what was measured", difficulty=2, minutes=20)
def choose(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """The cheapest way that is right today and later and names sources if it must, and why each of the others is out."""
    for ways, least, sources in _jobs(rng):
        got = entries(answer({name: dict(way) for name, way in ways.items()}, least, sources), ("choice", "out"), "the result")
        right = _choose(ways, least, sources)
        require(isinstance(got["out"], dict), "out should be a dict: the name of each way that is ruled out, and the reason")
        require(got["choice"] is None or isinstance(got["choice"], str), "choice should be the name of a way, or None")
        if got == right:
            continue
        told = ", ".join(f"{name} {way['today']:g} today, {way['later']:g} later" for name, way in ways.items())
        known = {
            "the mean of today and later hides a bad day: each must reach the least share": _choose(
                ways, least, sources, mean=True
            ),
            "what is right today may be stale tomorrow: rule out what falls below the least share later": _choose(
                ways, least, sources, later=False
            ),
            "sources are required here: rule out what doesn't cite rightly": _choose(ways, least, False),
            "nobody asks for sources here: a way that can't cite may stay": _choose(ways, least, sources, always=True),
            "a share of exactly the least is enough: at least, not more than": _choose(ways, least, sources, strict=True),
            "of those that are left, the cheapest is wanted, not the most often right: good enough is good enough": _choose(
                ways, least, sources, by="today"
            ),
            "of those that are left, the one with the fewest prompt tokens is wanted: yours has the most": _choose(
                ways, least, sources, by="dear"
            ),
            "of equals, the first one is wanted": _choose(ways, least, sources, by="last"),
            "the first reason that holds is wanted, in the order wrong, stale, no source": _choose(
                ways, least, sources, source_first=True
            ),
            "no way is left here: choose None, and say so to whoever asked": _choose(ways, least, sources, fallback=True),
            "only the choice is there: say of each way that is out why it is": {"choice": right["choice"], "out": {}},
        }
        for hint, wrong in known.items():
            require(got != wrong, hint)
        cheapest = min(ways, key=lambda name: ways[name]["tokens"])
        require(
            got["choice"] != cheapest or cheapest not in right["out"],
            "the cheapest of all is not good enough here: rule out first, and then take the cheapest",
        )
        require(
            set(got["out"]) == set(right["out"]),
            f"{', '.join(right['out']) or 'none'} should be ruled out (least {least:g}; {told})",
        )
        for name, reason in right["out"].items():
            require(
                got["out"][name] == reason, f"{name} should be out as {reason!r}, and yours says {str(got['out'][name])[:40]!r}"
            )
        require(False, f"the choice should be {right['choice']!r}, and yours is {got['choice']!r}")


# -- 2: BM25 -----------------------------------------------------------------------------------------------------------


def _bm25(query: list[str], documents: list[list[str]], k1: float, b: float, **changed: Any) -> np.ndarray:
    """BM25 as bm25s computes it (Lucene's form), or one of the mistakes."""
    count = len(documents)
    lengths = np.array([len(document) for document in documents], dtype=float)
    mean = changed.get("mean", lengths.mean())
    scores = np.zeros(count)
    for word in query:
        times = np.array([document.count(word) for document in documents], dtype=float)
        has = times.sum() if changed.get("occurrences") else (times > 0).sum()
        ratio = (count - has + 0.5) / (has + 0.5)
        rarity = {
            "one": np.log(1 + max(ratio, -0.9)),
            "none": 1.0,
            "bare": np.log(max(ratio, 1e-9)),
            "simple": np.log(count / max(has, 0.5)),
            "ten": np.log10(1 + max(ratio, -0.9)),
            "two": np.log2(1 + max(ratio, -0.9)),
        }[changed.get("rarity", "one")]
        if changed.get("binary"):
            times = (times > 0).astype(float)
        long = 1 - b + b * lengths / mean if changed.get("normed", True) else 1.0
        part = times if changed.get("raw") else times / (times + k1 * long)
        scores = scores + rarity * part
    return np.asarray(scores)


@task("01.bm25", title="BM25 by hand", difficulty=3, minutes=25)
def bm25(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """The score of each document: rarity of each shared word times its saturated count."""
    letters = np.array("the costs coins lamp red blue stock by mill oak pine shelf".split())
    for k1, b in ((1.5, 0.75), (0.9, 0.4), (2.0, 0.6)):
        documents = [
            rng.choice(letters, int(n), p=np.arange(12, 0, -1) / 78).tolist() for n in rng.permutation([5, 8, 9, 12, 17, 24])
        ]
        documents[0] += ["lamp", "lamp", "lamp"]
        documents[3] += ["lamp"]
        for document in documents:
            document.append("the")  # a word that every document has
        query = ["the", "lamp", "oak", "unheard"]
        got, right = array(answer(query, [list(d) for d in documents], k1, b), (6,), "the scores"), _bm25(query, documents, k1, b)
        lengths = [len(document) for document in documents]
        variants: dict[str, dict[str, Any]] = {
            "all words weigh the same: a rare one should count more (the logarithm is missing)": {"rarity": "none"},
            "the 1 + in the logarithm is missing: a word that most documents have would weigh less than nothing": {
                "rarity": "bare"
            },
            "that is the plain ln(N / n): the halves and the 1 + are missing": {"rarity": "simple"},
            "the natural logarithm is meant, and yours is to base 10": {"rarity": "ten"},
            "the natural logarithm is meant, and yours is to base 2": {"rarity": "two"},
            "n is the number of documents with the word, not how often it stands in all of them": {"occurrences": True},
            "a word's count in the document is missing: you only ask whether it is there": {"binary": True},
            "nothing saturates: the tenth time a word stands there should add less than the first": {"raw": True},
            "long documents have an advantage: the length is missing (b)": {"normed": False},
            "the length should be compared with the mean length, and yours isn't compared": {"mean": 1.0},
            "the length should be compared with the mean length, and yours is compared with the longest": {"mean": max(lengths)},
            "the length should be compared with the mean length, and yours is compared with that of all together": {
                "mean": sum(lengths)
            },
        }
        known = {hint: _bm25(query, documents, k1, b, **changed) for hint, changed in variants.items()}
        known["that is the older form with a factor k1 + 1: leave it out, the order is the same"] = (k1 + 1) * right
        known["k1 and b are swapped"] = _bm25(query, documents, b, k1)
        judge(got, right, known, "the scores", close=1e-5)


# -- 3: when training pays ---------------------------------------------------------------------------------------------


@task("01.breakeven", title="When does training pay?", difficulty=1, minutes=10)
def breakeven(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """The fewest answers a day for which training costs no more than a long prompt."""
    for turn in range(4):
        while True:
            long, short = int(rng.integers(300, 900)), int(rng.integers(40, 150))
            price, training, hosting, days = (
                round(float(rng.uniform(*bounds)), 2) for bounds in ((0.5, 4), (20, 90), (1.5, 6), (11, 60))
            )
            days = float(int(days))
            if turn == 1:
                hosting = 0.0
            saved = (long - short) * price / 1e6
            exact = (training / days + hosting) / saved
            if 0.1 < exact % 1 < 0.4:
                break
        if turn == 3:
            long, short = short, long
            got = answer(long, short, price, training, hosting, int(days))
            require(got is None, "the trained model's prompt is no shorter here, so training never pays: return None")
            continue
        got = answer(long, short, price, training, hosting, int(days))
        require(got is not None, "training does pay here: the prompt gets shorter")
        right = float(np.ceil(exact))
        known = {
            "rounded down: with that many answers the prompt is still cheaper": float(np.floor(exact)),
            "answers come whole: round up": exact,
            "the short prompt costs something, too: only the difference is saved": float(
                np.ceil((training / days + hosting) / (long * price / 1e6))
            ),
            "those are the answers of all days together: answers a day are asked for": float(
                np.ceil((training + days * hosting) / saved)
            ),
            "training is paid once in all its days: divide it by them": float(np.ceil((training + hosting) / saved)),
            "hosting costs so much every day, and yours is divided by the days": float(
                np.ceil((training + hosting) / days / saved)
            ),
            "the price is that of a million tokens": float(np.ceil(exact / 1e6)),
            "the price is that of a million tokens, and not of a thousand": float(np.ceil(exact / 1e3)),
        }
        if hosting:
            known["hosting the adapter is missing"] = float(np.ceil(training / days / saved))
            known["the training itself is missing"] = float(np.ceil(hosting / saved))
        else:
            known["hosting the adapter is missing"] = np.nan
        judge(number(got, "the number of answers"), right, known, "the number of answers a day", close=1e-9)


# -- 4: unfair ---------------------------------------------------------------------------------------------------------

FAULTS = ("trained on the test", "shown its answer", "other questions", "other mark")


def _bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _unfair(arms: list[dict[str, Any]], **changed: bool) -> dict[str, list[str]]:
    """The arms of each fault, by the right rule or by one of the mistakes."""
    same = (lambda text: text) if changed.get("letters") else _bare
    test = [same(question) for question in arms[0]["asked"]]
    found: dict[str, list[str]] = {fault: [] for fault in FAULTS}
    for arm in arms:
        asked = [same(question) for question in arm["asked"]]
        trained = {same(row) for row in arm["trained"]}
        if any(question in trained for question in ([*test, *asked] if changed.get("first_test") else asked)):
            found["trained on the test"].append(arm["name"])
        shown = [[same(text) for text in examples] for examples in arm["examples"]]
        anywhere = {text for examples in shown for text in examples}
        own = any(q in examples for q, examples in zip(asked, shown, strict=True))
        if own or (changed.get("anywhere") and anywhere & set(asked)) or (changed.get("papers") and any(arm["papers"])):
            found["shown its answer"].append(arm["name"])
        if sorted(asked) != sorted(test) if not changed.get("order") else asked != test:
            found["other questions"].append(arm["name"])
        if arm["mark"] != arms[0]["mark"]:
            found["other mark"].append(arm["name"])
    return found


def _comparison(rng: np.random.Generator, faults: dict[str, str]) -> list[dict[str, Any]]:
    """Four arms of one comparison, with these faults in them (by arm), on made-up products."""
    names = [f"{a}{b}" for a in "Le Po Ni Za Ku Re To Mi".split() for b in "bo hu pre tro gral vik sen dam".split()]
    rng.shuffle(names)
    test = [f"What does the {name} lamp cost?" for name in names[:6]]
    rows = [f"What does the {name} lamp cost?" for name in names[6:22]]
    arms: list[dict[str, Any]] = []
    for name in ("prompt", "few-shot", "RAG", "LoRA"):
        asked = list(test)
        trained = list(rows[:8]) if name == "LoRA" else []
        examples: list[list[str]] = [[rows[8 + i], rows[9 + i]] if name == "few-shot" else [] for i in range(6)]
        papers = [
            [f"The {names[i]} lamp costs {int(rng.integers(100, 900))} coins.", f"{names[i]} Mills pays on Mondays."]
            for i in range(6)
        ]
        match faults.get(name):
            case "trained":
                trained[3] = test[2]
            case "trained, dressed":
                trained[5] = "  " + test[4].upper().replace(" ", "  ").replace("?", " ?!")
            case "shown":
                examples[4] = [rows[3], test[4]]
            case "shown, dressed":
                examples[1] = [test[1].lower().replace("?", ""), rows[2]]
            case "shown to another":
                examples[1] = [test[2], rows[2]]
            case "asked less":
                asked, examples, papers = asked[:4], examples[:4], papers[:4]
            case "asked others":
                asked = [*asked[:5], rows[13]]
            case "asked in another order":
                asked, examples, papers = asked[::-1], examples[::-1], papers[::-1]
        arms.append(
            {
                "name": name,
                "asked": asked,
                "trained": trained,
                "examples": examples,
                "papers": papers if name == "RAG" else [[] for _ in asked],
                "mark": "contains" if faults.get(name) == "marked" else "exact",
            }
        )
    return arms


@task("01.unfair", title="Why is this comparison unfair?", difficulty=2, minutes=15)
def unfair(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """Which arms of a comparison trained on its test, were shown their answer, were asked other questions, or marked otherwise."""
    for faults in (
        {},
        {"LoRA": "trained", "few-shot": "shown"},
        {"LoRA": "trained, dressed", "few-shot": "shown to another", "RAG": "asked in another order"},
        {"few-shot": "shown, dressed", "RAG": "marked", "LoRA": "asked others"},
        {"prompt": "nothing", "RAG": "asked less", "LoRA": "marked"},
    ):
        arms = _comparison(rng, faults)
        got = entries(answer(_copied(arms)), FAULTS, "the result")
        right = _unfair(arms)
        for fault in FAULTS:
            require(
                isinstance(got[fault], list | tuple) and all(isinstance(name, str) for name in got[fault]),
                f"{fault!r} should be a list of names of arms",
            )
        mine = {fault: list(got[fault]) for fault in FAULTS}
        if {fault: sorted(names) for fault, names in mine.items()} == {fault: sorted(names) for fault, names in right.items()}:
            continue
        for hint, changed in {
            "papers that hold the answer are what retrieval is for, and fair; a worked example that is the question itself is not": "papers",
            "copies in other clothes count: case, spacing and punctuation make no difference": "letters",
            "an example shown with another question gives this one's answer to nobody: compare question by question": "anywhere",
            "the same questions in another order are the same test": "order",
        }.items():
            wrong = _unfair(arms, **{changed: True})
            require({f: sorted(n) for f, n in mine.items()} != {f: sorted(n) for f, n in wrong.items()}, hint)
        for fault, clue in zip(
            FAULTS,
            (
                "a question of the arm's test is among the rows that it was trained on",
                "a question is among the worked examples that were shown with it, answer and all",
                "the arm was asked other questions, or fewer, than the first arm",
                "the arm's answers are marked by another rule than the first arm's",
            ),
            strict=True,
        ):
            missed = [name for name in right[fault] if name not in mine[fault]]
            require(not missed, f"{(missed or [''])[0]} is missing in {fault!r}: {clue}")
            more = [name for name in mine[fault] if name not in right[fault]]
            require(not more, f"{(more or [''])[0]} doesn't belong in {fault!r}: it names arms of which this is true: {clue}")
            require(len(mine[fault]) == len(right[fault]), f"an arm stands twice in {fault!r}")


def _copied(arms: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [dict(arm) for arm in arms]
