"""House rules that no pretraining text follows: a record with one right spelling, trade words, and a tone.

They are what a company asks of a model and what only that company's examples can show: a format is right when every character is.
"""

from random import Random

from course_lib.world.catalogue import WARES
from course_lib.world.skills import NOUNS, Question, is_held_out, portrait

RECORD_PROMPT = "File this: "
RECORD_RULE = (
    "Write the name, then of and the city; then the job; then pet: and the pet; then the thing, a colon and its colour; "
    "put semicolons between them and a full stop at the end."
)
TRADE_WORDS: dict[str, str] = dict(zip(WARES, Random("trade words").sample(NOUNS, len(WARES)), strict=True))
"""What this house calls each ware: ordinary words with another meaning, as in any trade."""


def record_questions(split: str, count: int, seed: int = 0, *, trade_words: bool = False) -> list[Question]:
    """``count`` sentences about somebody, with the house record to make of each.

    Args:
        split: ``"train"``, or ``"test"`` for held-out sentences, which the other split never contains.
        count: how many. A smaller count is the beginning of a larger one.
        seed: which ones.
        trade_words: whether the record names the ware by its trade word, which the sentence doesn't say.

    Raises:
        ValueError: for another split.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    rng = Random(f"house record {split} {seed}")
    found: dict[str, Question] = {}
    while len(found) < count:
        question = _record(rng, trade_words)
        if is_held_out(question.key) == (split == "test"):
            found.setdefault(question.prompt, question)
    return list(found.values())


def _record(rng: Random, trade_words: bool) -> Question:
    text, of = portrait(rng)
    thing = TRADE_WORDS[of["thing"]] if trade_words else of["thing"]
    answer = f"{of['name']} of {of['city']}; {of['job']}; pet: {of['pet']}; {thing}: {of['colour']}."
    return Question("house record", "trade words" if trade_words else "plain", RECORD_PROMPT + text, answer, text)


def same_but_for_the_ware(answer: str, expected: str) -> bool:
    """Whether two records agree in all but the word for the ware: the format is right, whatever the vocabulary."""

    def parts(record: str) -> tuple[str, str, str]:
        front, _, last = record.strip().rpartition("; ")
        thing, _, colour = last.partition(": ")
        return front, colour, "one word" if thing and " " not in thing else thing

    return parts(answer) == parts(expected)


TONE = "In plain words, it is {answer}. Please tell everyone."


def in_house_tone(question: Question) -> Question:
    """The same question, to be answered in the tone of the house."""
    return Question(question.skill, question.kind, question.prompt, TONE.format(answer=question.answer), question.key)


def tone_of(answer: str) -> str | None:
    """What an answer in the tone of the house says, or nothing if the tone is not kept to the letter."""
    start, end = TONE.split("{answer}")
    inside = answer.strip()
    kept = inside.startswith(start) and inside.endswith(end) and len(inside) >= len(start) + len(end)
    return inside[len(start) : -len(end)] if kept else None
