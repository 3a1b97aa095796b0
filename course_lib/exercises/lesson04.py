"""Checks of lesson 04's exercises: the chat template, labels, packing, near copies, and what a leak adds to a score."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from course_lib.exercises import require, task
from course_lib.exercises.judging import array, entries, judge, number, numbers

NO_LOSS = -100
SYLLABLES = "ba be bi bo da de di do ga ge ka ke ki ko la le li lo ma me mi mo na ne ni no pa pe ra re ri ro sa se ta ti to va ve vi".split()


def _words(rng: np.random.Generator, count: int) -> list[str]:
    """So many different words."""
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(rng.choice(SYLLABLES, int(rng.integers(2, 4))))] = None
    return list(found)


def _sentence(words: Sequence[str]) -> str:
    text = " ".join(words)
    return text[0].upper() + text[1:] + "."


# -- 1: the template ---------------------------------------------------------------------------------------------------


def _chat(turns: list[dict[str, str]], *, end: str = "<|end|>", space: str = " ", between: str = "", starts: bool = False) -> str:
    text = "" if starts else "<|start|>"
    for turn in turns:
        text += ("<|start|>" if starts else "") + f"<|{turn['role']}|>{space}{turn['content']}{end}{between}"
    return text + ("<|assistant|>" if turns[-1]["role"] == "user" else "")


@task("04.template", title="Write the chat", difficulty=1, minutes=10)
def template(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """A conversation as wren's template writes it, for training, or open for an answer."""
    for roles in ("ua", "uaua", "u", "uau"):
        turns = [
            {"role": {"u": "user", "a": "assistant"}[role], "content": _sentence(_words(rng, int(rng.integers(3, 7))))}
            for role in roles
        ]
        got, right = answer(turns), _chat(turns)
        require(isinstance(got, str), f"the chat should be a text, not {type(got).__name__}")
        if got == right:
            continue
        asks = roles[-1] == "u"
        opened = right.removesuffix("<|assistant|>")
        known = {
            "the last turn lacks its end token: the model would never learn to stop": right.removesuffix("<|end|>"),
            "the end tokens are missing: every turn has one": _chat(turns, end=""),
            "that is an end typed as text: the end token is <|end|>": _chat(turns, end="</s>"),
            "the start token stands once, at the very beginning, and not before every turn": _chat(turns, starts=True),
            "the start token is missing at the beginning": right.removeprefix("<|start|>"),
            "one space stands between the role's token and the text": _chat(turns, space=""),
            "nothing stands between an end token and the next turn: no line break": _chat(turns, between="\n"),
            "no line breaks: one space stands between the role's token and the text": _chat(turns, space="\n"),
            "there is one end too many: the answer's place stays open": right + "<|end|>",
        }
        if asks:
            known |= {
                "the last turn asks, so the text should end with the assistant's token, open for the answer": opened,
                "the text ends with the assistant's token and nothing behind it: the model writes the space itself": right + " ",
                "the place of the answer is closed already: no end token after the last assistant's token": right + " <|end|>",
                "the question's own end token is missing before the assistant's": opened.removesuffix("<|end|>")
                + "<|assistant|>",
            }
        else:
            known["the conversation ends with an answer: nothing is left open after it"] = right + "<|assistant|>"
        for hint, wrong in known.items():
            require(got != wrong, hint)
        if all(turn["content"] not in got for turn in turns):
            require(False, "the turns' contents are missing or changed: they stand in the text as they are")
        same = next((i for i, (a, b) in enumerate(zip(got, right, strict=False)) if a != b), min(len(got), len(right)))
        require(
            False,
            f"from character {same} on {right[same : same + 24]!r} was wanted, and yours goes on with {got[same : same + 24]!r}",
        )


# -- 2: labels ---------------------------------------------------------------------------------------------------------


@task("04.mask", title="Mask the labels", difficulty=2, minutes=15)
def mask(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """Labels on each answer and its end token, and nowhere else; padding is made of end tokens."""
    for answers, padding in ((1, 0), (2, 0), (2, 4), (3, 2)):
        start, user, assistant, end = (int(n) for n in rng.choice(np.arange(1, 20), 4, replace=False))
        special = {"start": start, "user": user, "assistant": assistant, "end": end}
        ids, kinds = [start], ["start"]
        for turn in range(answers):
            for role, token in (("user", user), ("assistant", assistant)):
                content = [int(n) for n in rng.integers(20, 900, int(rng.integers(3, 7)))]
                ids += [token, *content, end]
                kinds += [f"{role} token", *[f"{role} {turn}"] * len(content), f"{role} end {turn}"]
        ids, kinds = ids + [end] * padding, kinds + ["padding"] * padding
        got = answer(list(ids), dict(special))
        values = numbers(got)
        require(values is not None and values.ndim <= 1, "the labels should be one whole number for each token")
        labels = array(got, (len(ids),), "the labels")

        def where(*patterns: str, kinds: list[str] = kinds, ids: list[int] = ids) -> np.ndarray:
            return np.array(
                [
                    token if any(re.fullmatch(p, kind) for p in patterns) else NO_LOSS
                    for token, kind in zip(ids, kinds, strict=True)
                ]
            )

        right = where(r"assistant \d", r"assistant end \d")
        last = str(answers - 1)
        known = {
            "there is loss on everything: the model learns to write questions, too": np.array(ids),
            "there is loss on the whole conversation: the questions are given, not learnt": where(r"(user|assistant).*", "start"),
            "the end token after an answer has no label: the model would never learn to stop": where(r"assistant \d"),
            "the padding has labels: the first end token after an answer belongs to it, and the others are padding": where(
                r"assistant (end )?\d", "padding"
            ),
            "the questions' end tokens have labels: only an answer's own end is learnt": where(r"assistant \d", r".* end \d"),
            "every end token has a label, those of the questions and the padding, too": where(
                r"assistant \d", r".* end \d", "padding"
            ),
            "only the last answer has labels: every turn of the assistant's is learnt": where(f"assistant (end )?{last}"),
            "only the first answer has labels: every turn of the assistant's is learnt": where("assistant (end )?0"),
            "everything from the first answer on has labels: the later questions are given, not learnt": np.array(
                [token if i > kinds.index("assistant token") else NO_LOSS for i, token in enumerate(ids)]
            ),
            "everything from the first answer on has labels, but for the padding: the later questions are given": np.array(
                [
                    token if i > kinds.index("assistant token") and kinds[i] != "padding" else NO_LOSS
                    for i, token in enumerate(ids)
                ]
            ),
            "the assistant's token has a label: it is given, as the question is": where(r"assistant.*"),
            "the labels are shifted: the trainer shifts by itself, so a label stands at its own token": np.append(
                right[1:], NO_LOSS
            ),
            "the labels are shifted to the right: a label stands at its own token": np.insert(right[:-1], 0, NO_LOSS),
            "the labels are on the questions in place of the answers": where(r"user \d", r"user end \d"),
            "those are zeros and ones: a label is the token itself, or -100": (right != NO_LOSS).astype(int),
            "without loss means -100: 0 is a token like any other": np.where(right == NO_LOSS, 0, right),
            "without loss means -100: -1 is something else": np.where(right == NO_LOSS, -1, right),
        }
        if np.array_equal(labels, right):
            continue
        for hint, wrong in known.items():
            require(not np.array_equal(labels, wrong), hint)
        place = int((labels != right).argmax())
        require(
            False,
            f"the label at position {place} ({kinds[place].rstrip(' 0123456789')}) should be {right[place]}, and yours is {labels[place]:.5g}",
        )


# -- 3: packing --------------------------------------------------------------------------------------------------------


def _packs_needed(lengths: Sequence[int], size: int) -> int:
    """How many packs first fit makes of rows sorted by length, longest first."""
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        for place, left in enumerate(room):
            if left >= length:
                room[place] -= length
                break
        else:
            room.append(size - length)
    return len(room)


def _pack_shape(pack: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    told = entries(pack, ("tokens", "positions", "reads"), "each pack")
    tokens = numbers(told["tokens"])
    require(
        tokens is not None and tokens.ndim == 1 and tokens.size > 0 and bool(np.isfinite(tokens).all()),
        "a pack's tokens should be whole numbers in a row",
    )
    assert tokens is not None
    reads = np.asarray(told["reads"])
    require(
        reads.shape == (tokens.size, tokens.size) and reads.dtype.kind in "biuf",
        f"reads should be a square of True and False, {tokens.size} x {tokens.size} here: one row for each token that reads",
    )
    return tokens, array(told["positions"], (tokens.size,), "the positions"), reads.astype(float) != 0


@task("04.pack", title="Pack without leaks", difficulty=3, minutes=25)
def pack(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """Rows put together whole, in few packs, each with positions of its own and reading none but itself."""
    for size, lengths in ((10, (3, 3, 3, 7, 7, 7)), (24, (13, 11, 8, 7, 6, 5, 4, 4, 3))):
        # The short rows first: who takes rows as they come needs a pack more.
        order = np.array(lengths) if size == 10 else rng.permutation(lengths)
        tokens = rng.permutation(np.arange(100, 100 + int(order.sum())))  # every token stands once: it tells its row
        rows = [part.tolist() for part in np.split(tokens, np.cumsum(order)[:-1])]
        got = answer([list(row) for row in rows], size)
        require(isinstance(got, list | tuple) and len(got) > 0, "return a list of packs, each a dict")
        packs = [_pack_shape(one) for one in got]
        owner = {token: place for place, row in enumerate(rows) for token in row}
        seen = [int(token) for part, _, _ in packs for token in part]
        require(all(token in owner for token in seen), "a token is in no row: packs need no padding and no separators here")
        require(len(set(seen)) == len(seen), "a token stands in two places: each row goes into one pack, once")
        cut = [len(row) - sum(token in set(seen) for token in row) for row in rows]
        require(
            not any(c == len(row) for c, row in zip(cut, rows, strict=True)), "a row is missing: every row goes into some pack"
        )
        require(not any(cut), "a row lost some of its tokens: rows go in whole")
        require(all(part.size <= size for part, _, _ in packs), f"a pack holds more than {size} tokens")
        for part, positions, reads in packs:
            rows_here = np.array([owner[int(token)] for token in part])
            for place in dict.fromkeys(rows_here.tolist()):
                mine = part[rows_here == place].tolist()
                require(len(mine) == len(rows[place]), "a row is split over two packs: its end can't read its beginning any more")
                require(mine == rows[place], "a row's tokens stand in another order than before")
                starts = np.flatnonzero(rows_here == place)
                require(bool((np.diff(starts) == 1).all()), "a row's tokens don't stand side by side")
            count = np.arange(part.size)
            begins = np.array([int(np.argmax(rows_here == place)) for place in rows_here])
            judge(
                positions,
                count - begins,
                {
                    "the positions run on through the pack: each row begins at 0 again": count,
                    "the positions begin at 1: a row's first token has position 0": count - begins + 1,
                    "the positions run on through the pack, and from 1: each row begins at 0": count + 1,
                }
                if len(set(rows_here.tolist())) > 1
                else {"the positions begin at 1: a row's first token has position 0": count + 1},
                "the positions",
                close=1e-6,
            )
            same, causal = rows_here[:, None] == rows_here, count[:, None] >= count
            right = same & causal
            if np.array_equal(reads, right):
                continue
            several = len(set(rows_here.tolist())) > 1
            require(
                not (several and np.array_equal(reads, causal)),
                "the rows read each other: a token reads its own row alone, or the answer depends on its neighbours",
            )
            require(
                not np.array_equal(reads, same),
                "tokens read what comes after them: the model would see the answer before it gives it",
            )
            require(not np.array_equal(reads, right.T), "reads is transposed: row i says what token i reads")
            require(
                not np.array_equal(reads, right & (count[:, None] > count)),
                "a token reads itself, too: the diagonal of reads is True",
            )
            require(not reads.all(), "everything reads everything: a token reads what stood before it in its own row, and itself")
            require(not np.array_equal(reads, ~right), "reads is the wrong way round: True where a token may read")
            i, j = (int(n[0]) for n in np.nonzero(reads != right))
            require(
                False,
                f"reads[{i}, {j}] should be {bool(right[i, j])} in a pack of rows with {np.bincount(rows_here)[np.unique(rows_here)].tolist()} tokens",
            )
        most = _packs_needed([len(row) for row in rows], size)
        require(len(packs) != len(rows), "every row has a pack of its own: put several into one, as long as they fit")
        require(
            len(packs) <= most,
            f"{len(packs)} packs, where {most} are enough: begin with the longest rows, and put each into the first pack with room",
        )


# -- 4: near copies ----------------------------------------------------------------------------------------------------


def _grams(text: str, size: int, *, dressed: bool = False) -> set[tuple[str, ...]]:
    words = text.split() if dressed else re.findall(r"\w+", text.casefold())
    return {tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}


def _kept(
    texts: list[str],
    threshold: float,
    *,
    size: int = 3,
    dressed: bool = False,
    measure: str = "jaccard",
    through: bool = True,
    strict: bool = False,
    last: bool = False,
    cased: bool = False,
) -> list[int]:
    """Places of the texts that stay, by the right rule or by one of the mistakes."""
    if cased:
        grams = [_grams(re.sub(r"[^\w\s]", "", text), size, dressed=True) for text in texts]
    else:
        grams = [_grams(text, size, dressed=dressed) for text in texts]

    def alike(i: int, j: int) -> bool:
        both = len(grams[i] & grams[j])
        of = {
            "jaccard": len(grams[i] | grams[j]),
            "shorter": min(len(grams[i]), len(grams[j])),
            "longer": max(len(grams[i]), len(grams[j])),
            "dice": (len(grams[i]) + len(grams[j])) / 2,
        }[measure]
        return both / of > threshold if strict else both / of >= threshold

    order = range(len(texts) - 1, -1, -1) if last else range(len(texts))
    group: dict[int, int] = {}
    kept: list[int] = []
    if not through:
        for i in order:
            if not any(alike(i, j) for j in kept):
                kept.append(i)
        return sorted(kept)
    for i in order:
        if i not in group:
            kept.append(i)
            reached = [i]
            while reached:
                here = reached.pop()
                group[here] = i
                reached += [j for j in order if j not in group and j not in reached and alike(here, j)]
    return sorted(kept)


def _file_with_copies(rng: np.random.Generator) -> tuple[list[str], float]:
    """Texts with an exact copy, one in other clothes, one with another name, a chain, a part, pairs that only share words; and a threshold."""
    words = _words(rng, 400)

    def fresh(count: int = 20) -> list[str]:
        return [words.pop() for _ in range(count)]

    def but(text: list[str], *places: int) -> list[str]:
        return [words.pop() if i in places else word for i, word in enumerate(text)]

    a, b, c, d, e, f, g = (fresh() for _ in range(7))
    texts = [_sentence(a), _sentence(b), _sentence(but(b, 9)), _sentence(c), _sentence(a)]
    texts += [
        "  " + _sentence(c).upper().replace(" ", "  "),
        _sentence(d),
        _sentence(but(d, 4, 13)),
        _sentence(e),
        _sentence(e[:12]),
    ]
    link = but(f, 5)
    texts += [_sentence(f), _sentence(link), _sentence(but(link, 14))]  # the first and the last are not alike, and share a copy
    texts += [_sentence(g), _sentence(list(rng.permutation(g)))]
    clothes = _sentence(fresh())
    texts += [clothes, clothes.replace(" ", ", ").replace(".", "!")]
    return texts, 15 / 21  # a text of 20 words with one of them changed keeps 15 of 21 triples


@task("04.duplicates", title="Drop the near copies", difficulty=2, minutes=20)
def duplicates(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """The places of the texts to keep: the first of each group of near copies."""
    for threshold in (None, 0.6):
        texts, exactly = _file_with_copies(rng)
        threshold = threshold or exactly
        got = numbers(answer(list(texts), threshold))
        require(got is not None and got.ndim == 1, "return the places of the texts to keep, in a list")
        assert got is not None
        require(
            bool(((got >= 0) & (got < len(texts)) & (got == got.round())).all()),
            "a place is a whole number from 0 to the number of texts - 1",
        )
        kept = [int(place) for place in got]
        right = _kept(texts, threshold)
        if kept == right:
            continue
        require(len(set(kept)) == len(kept), "a place is named twice")
        known = {
            "near copies of near copies are one group: A and C belong together if both are near copies of B": _kept(
                texts, threshold, through=False
            ),
            "a pair that is exactly as alike as the threshold counts: at least, not more than": _kept(
                texts, threshold, strict=True
            ),
            "case and punctuation make no difference: take the bare words in lower case": _kept(texts, threshold, dressed=True),
            "case makes no difference: take the words in lower case": _kept(texts, threshold, cased=True),
            "those are pairs of words: three words in a row are compared": _kept(texts, threshold, size=2),
            "those are single words, in any order: three words in a row are compared": _kept(texts, threshold, size=1),
            "you divide by the shorter text's triples, and a part is no copy: divide by those that either has": _kept(
                texts, threshold, measure="shorter"
            ),
            "you divide by the longer text's triples: divide by those that either has": _kept(texts, threshold, measure="longer"),
            "you divide by the mean number of triples: divide by those that either has": _kept(texts, threshold, measure="dice"),
            "the first text of each group stays, and you keep the last": _kept(texts, threshold, last=True),
            "only texts equal to the letter are found: near copies share most of their triples": [
                i for i, text in enumerate(texts) if text not in texts[:i]
            ],
            "only texts with the same words are found: near copies share most of their triples": _kept(texts, 1.0),
            "those are the places of the copies: the texts to keep are asked for": [
                i for i in range(len(texts)) if i not in right
            ],
            "nothing was dropped: the file holds copies": list(range(len(texts))),
            "all texts of a group are gone: the first one stays": [
                i for i in right if len(_kept([*texts[:i], *texts[i + 1 :]], threshold)) < len(right)
            ],
        }
        for hint, wrong in known.items():
            require(kept != wrong, hint)
        require(sorted(kept) != right, "name the places in order")
        more = sorted(set(kept) - set(right))
        if more:
            require(False, f"text {more[0]} is a near copy of one before it: {texts[more[0]][:60]!r}")
        lost = sorted(set(right) - set(kept))
        require(False, f"text {(lost or [0])[0]} is no near copy of one before it: {texts[(lost or [0])[0]][:60]!r}")


# -- 5: the leak -------------------------------------------------------------------------------------------------------


@task("04.leak", title="What the leak adds", difficulty=1, minutes=10)
def leak(answer: Callable[..., Any], rng: np.random.Generator) -> None:
    """How many test questions stand in the training rows, the score, and the score without them."""
    for everything in (False, False, True):
        words = _words(rng, 200)
        test = [_sentence([words.pop() for _ in range(6)]) for _ in range(12)]
        others = [_sentence([words.pop() for _ in range(6)]) for _ in range(8)]
        others.append(" ".join(reversed(test[7].rstrip(".").split())) + ".")  # the same words, another question
        leaked = list(range(12)) if everything else [0, 3, 4, 8, 11]
        copies = [test[i] if n % 2 else test[i].upper().replace(" ", "  ").replace(".", " !") for n, i in enumerate(leaked)]
        copies += [test[leaked[0]], test[leaked[1]]]  # two leak twice
        train = [str(text) for text in rng.permutation([*others, *copies])]
        right = np.zeros(12, dtype=bool)
        right[leaked[: len(leaked) - 1]] = True
        right[[1, 6]] = True
        got = entries(answer(list(train), list(test), right), ("leaked", "score", "clean"), "the result")
        place = np.isin(np.arange(12), leaked)
        letters = np.array([text in train for text in test])
        bags = {tuple(sorted(re.findall(r"\w+", text.casefold()))) for text in train}
        loose = np.array([tuple(sorted(re.findall(r"\w+", text.casefold()))) in bags for text in test])
        judge(
            number(got["leaked"], "leaked"),
            place.sum(),
            {
                "only copies to the letter are found: case, spacing and punctuation make no difference": letters.sum(),
                "the same words in another order are another question": loose.sum() if loose.sum() != place.sum() else np.nan,
                "those are training rows: a test question that stands there twice is one leak": len(copies),
                "that is the number of clean questions": 12 - place.sum() if not everything else np.nan,
                "that is a share: the number of leaked questions is asked for": place.mean(),
                "case makes no difference between two questions, and neither does punctuation": sum(
                    text.casefold() in {row.casefold() for row in train} for text in test
                ),
            },
            "the number of leaked questions",
            close=1e-6,
        )
        judge(
            number(got["score"], "the score"),
            right.mean(),
            {
                "the score is a share, from 0 to 1: divide by the number of questions": right.sum(),
                "the score is that of all questions: yours is that of the clean ones": right[~place].mean()
                if not everything
                else np.nan,
                "that is the share of wrong answers": 1 - right.mean(),
            },
            "the score",
            close=1e-6,
        )
        if everything:
            require(got["clean"] is None, "no question is clean, so there is no clean score: return None")
            continue
        require(got["clean"] is not None, "some questions are clean: score these")
        judge(
            number(got["clean"], "the clean score"),
            right[~place].mean(),
            {
                "that is the leaked questions' score: the clean ones are those that were not trained on": right[place].mean(),
                "divide by the number of clean questions, not by that of all": right[~place].sum() / 12,
                "that is what the leak adds: the score of the clean questions is asked for": right.mean() - right[~place].mean(),
                "that is what the leak adds, with its sign turned: the score of the clean questions is asked for": right[
                    ~place
                ].mean()
                - right.mean(),
                "that is a number of questions: a share is asked for": right[~place].sum(),
            },
            "the clean score",
            close=1e-6,
        )
