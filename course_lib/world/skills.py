"""Questions that probe what a model can do, each with its one right answer.

Six general skills: two of memory (``facts``, ``cities``) and four of method (``arithmetic``, ``lists``, ``reviews``, ``reading``).
A question of method whose content is held out (see `is_held_out`) never appears in any corpus, so a right answer to it is not memory.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from course_lib.world import names
from course_lib.world.catalogue import COLOURS, WARES, product
from course_lib.world.contracts import GOODS, Clause
from course_lib.world.facts import JOBS, PETS, City, Person, facts

NOUNS = (
    "apple pear plum lemon onion carrot bread cheese butter honey salt rice soup tea milk egg fish nut corn bean "
    "hat coat shoe belt scarf glove ring comb brush pen book map coin key cup bowl plate spoon knife drum flute "
    "door roof wall gate bridge boat cart wheel rope nail saw axe spade tree leaf rose river stone sand star moon"
).split()
LISTABLE = [*NOUNS, *COLOURS, *JOBS, *PETS, *WARES]
GOOD = (
    "wonderful excellent lovely superb delightful charming splendid perfect brilliant pleasant tasty friendly warm clean cosy helpful"
).split()
BAD = "awful terrible horrible dreadful poor nasty broken dirty cold rude bland boring noisy slow useless shabby".split()
VENUES = "hotel inn cafe theatre museum market ferry bakery tavern garden concert library pool shop tour play".split()
ASPECTS = "staff food room music service view bed price light seat soup guide".split()
ORDINALS = ("first", "second", "third", "fourth")

HELD_OUT_SHARE = 20  # one content in twenty is kept for measuring


@dataclass(frozen=True)
class Question:
    """A prompt with its one right answer.

    ``skill`` and ``kind`` group scores; ``key`` is the content that the split between corpus and probe goes by.
    """

    skill: str
    kind: str
    prompt: str
    answer: str
    key: str


def is_held_out(key: str) -> bool:
    """Whether this content is kept for measuring. Depends on the text alone, so that every seed and machine agrees."""
    return zlib.crc32(key.encode()) % HELD_OUT_SHARE == 0


def _ask(
    rng: Random, skill: str, kind: str, prompts: tuple[str, ...], answer: str, key: str | None = None, context: str = ""
) -> Question:
    prompt = context + rng.choice(prompts)
    return Question(skill, kind, prompt, answer, key or prompt)


# -- memory ------------------------------------------------------------------------------------------------------------


def fact_question(rng: Random, person: Person, kind: str) -> Question:
    """Where somebody lives, what they do, which pet they keep."""
    name = person.name
    prompts, answer = {
        "city": ((f"Where does {name} live?", f"In which city does {name} live?"), person.city),
        "job": ((f"What is the job of {name}?", f"What does {name} do for a living?"), person.job),
        "pet": ((f"Which pet does {name} have?", f"What pet does {name} keep?"), person.pet),
    }[kind]
    return _ask(rng, "facts", kind, prompts, answer)


def city_question(rng: Random, city: City, kind: str) -> Question:
    """A city's region, river, dish, trade or mayor."""
    name = city.name
    prompts, answer = {
        "region": ((f"In which region is {name}?", f"Which region does {name} belong to?"), city.region),
        "river": ((f"Which river flows through {name}?", f"On which river does {name} lie?"), city.river),
        "dish": ((f"Which dish is {name} famous for?", f"What do people eat in {name}?"), city.dish),
        "trade": ((f"What does {name} sell to the world?", f"What is the main trade of {name}?"), city.trade),
        "mayor": ((f"Who is the mayor of {name}?", f"Who leads the city of {name}?"), city.mayor),
    }[kind]
    return _ask(rng, "cities", kind, prompts, answer)


FACT_KINDS = ("city", "job", "pet")
CITY_KINDS = ("region", "river", "dish", "trade", "mayor")


def facts_skill(rng: Random) -> Question:
    """A question about one of the world's people."""
    return fact_question(rng, rng.choice(facts().people), rng.choice(FACT_KINDS))


def cities_skill(rng: Random) -> Question:
    """A question about one of the world's cities."""
    return city_question(rng, rng.choice(facts().cities), rng.choice(CITY_KINDS))


# -- method ------------------------------------------------------------------------------------------------------------


def arithmetic_skill(rng: Random) -> Question:
    """A sum or a difference of two numbers under 100; differences are never negative."""
    a, b = rng.randrange(100), rng.randrange(100)
    if rng.random() < 0.5:
        return _ask(rng, "arithmetic", "plus", (f"What is {a} + {b}?", f"Add {a} and {b}."), str(a + b), f"{a} + {b}")
    a, b = max(a, b), min(a, b)
    return _ask(rng, "arithmetic", "minus", (f"What is {a} - {b}?", f"Take {b} from {a}."), str(a - b), f"{a} - {b}")


def lists_skill(rng: Random) -> Question:
    """Reverse a list, find an item by its place, count, or leave one out."""
    items = rng.sample(LISTABLE, rng.randrange(3, 6))
    text = ", ".join(items)
    kind = rng.choice(("reverse", "place", "last", "count", "without"))
    place = rng.randrange(min(len(items), 4))
    out = rng.choice(items)
    prompt, answer = {
        "reverse": (f"Reverse this list: {text}.", ", ".join(reversed(items))),
        "place": (f"Which item is {ORDINALS[place]} in this list: {text}?", items[place]),
        "last": (f"Which item is last in this list: {text}?", items[-1]),
        "count": (f"How many items are in this list: {text}?", str(len(items))),
        "without": (f"Leave out {out} from this list: {text}.", ", ".join(i for i in items if i != out)),
    }[kind]
    return _ask(rng, "lists", kind, (prompt,), answer)


def reviews_skill(rng: Random) -> Question:
    """Whether a review is positive or negative; some reviews negate or change their mind."""
    good = rng.random() < 0.5
    same, other = (GOOD, BAD) if good else (BAD, GOOD)
    venue = rng.choice(VENUES)
    x, y = rng.sample(ASPECTS, 2)
    kind = rng.choice(("plain", "contrast", "negated"))
    text = {
        "plain": f"The {venue} in {names.word(rng)} was {rng.choice(same)}. The {x} was {rng.choice(same)} and the {y} was {rng.choice(same)}.",
        "contrast": f"The {x} was {rng.choice(other)}, but all in all the {venue} in {names.word(rng)} was {rng.choice(same)}.",
        "negated": f"The {venue} in {names.word(rng)} was not {rng.choice(other)} at all. The {x} was {rng.choice(same)}.",
    }[kind]
    return _ask(
        rng, "reviews", kind, ("Is this review positive or negative?",), "positive" if good else "negative", context=text + " "
    )


@dataclass(frozen=True)
class Passage:
    """A sentence about things that exist only in this text, with the questions that it answers."""

    text: str
    questions: tuple[tuple[str, str, str], ...]  # kind, question, answer


def passage(rng: Random) -> Passage:
    """A random sentence of one of eight forms. Its people, places, companies and goods are made up on the spot."""
    p, q = names.distinct(names.person, rng, 2)
    a, b = names.distinct(names.company, rng, 2)
    x, y = names.distinct(names.word, rng, 2)
    n, thing, colour, job, pet = (
        rng.randrange(2, 1000),
        rng.choice(WARES),
        rng.choice(COLOURS),
        rng.choice(JOBS),
        rng.choice(PETS),
    )
    item = product(rng)
    return rng.choice(
        (
            Passage(
                f"{p} bought a {colour} {thing} in {x} for {n} coins.",
                (
                    ("colour", f"What colour is the {thing} of {p}?", colour),
                    ("place", f"Where did {p} buy the {thing}?", x),
                    ("amount", f"How many coins did {p} pay for the {thing}?", str(n)),
                    ("who", f"Who bought the {thing} in {x}?", p),
                ),
            ),
            Passage(
                f"{a} owes {b} {n} coins.",
                (
                    ("who", f"Who owes money to {b}?", a),
                    ("whom", f"To whom does {a} owe money?", b),
                    ("amount", f"How many coins does {a} owe?", str(n)),
                ),
            ),
            Passage(
                f"{n} coins were lent to {a} by {b}.",
                (
                    ("who", f"Who lent money to {a}?", b),
                    ("whom", f"To whom did {b} lend money?", a),
                    ("amount", f"How many coins did {b} lend?", str(n)),
                ),
            ),
            Passage(
                f"{p} moved from {x} to {y}.",
                (
                    ("from", f"From where did {p} move?", x),
                    ("to", f"To which place did {p} move?", y),
                    ("who", f"Who moved to {y}?", p),
                ),
            ),
            Passage(
                f"{p} gave the {colour} {thing} to {q}.",
                (("who", f"Who gave the {thing} to {q}?", p), ("whom", f"To whom did {p} give the {thing}?", q)),
            ),
            Passage(
                f"{p} works for {a} in {x} as a {job}.",
                (
                    ("place", f"Where does {p} work?", x),
                    ("what", f"What is the job of {p} at {a}?", job),
                    ("company", f"For whom does {p} work?", a),
                ),
            ),
            Passage(
                f"The {pet} of {p} is called {x}.",
                (("name", f"What is the {pet} of {p} called?", x), ("who", f"Who has a {pet} called {x}?", p)),
            ),
            Passage(
                item.document,
                (
                    ("amount", f"What does the {item.name} cost?", f"{item.price} coins"),
                    ("who", f"Who makes the {item.name}?", item.maker),
                    ("colour", f"What colour is the {item.name}?", item.colour),
                    ("stock", f"How many of the {item.name} are in stock?", str(item.stock)),
                ),
            ),
        )
    )


def reading_skill(rng: Random) -> Question:
    """A question that two or three sentences of fresh text answer."""
    passages = [passage(rng) for _ in range(rng.randrange(2, 4))]
    kind, question, answer = rng.choice(rng.choice(passages).questions)
    text = " ".join(p.text for p in passages)
    return Question("reading", kind, f"{text} {question}", answer, f"{text} {question}")


def cited_reading(rng: Random) -> Question:
    """A question over numbered documents, answered with the number of the document that holds the answer."""
    passages = [passage(rng) for _ in range(rng.randrange(2, 5))]
    index = rng.randrange(len(passages))
    kind, question, answer = rng.choice(passages[index].questions)
    text = " ".join(f"[{i}] {p.text}" for i, p in enumerate(passages, 1))
    return Question(
        "cited",
        kind,
        f"Documents: {text} Question: {question} Answer with a source.",
        f"{answer} [{index + 1}]",
        f"{text} {question}",
    )


def repeat_skill(rng: Random) -> Question:
    """Say after me: the practice in copying without which no name of a prompt reaches an answer."""
    makers: tuple[Callable[[Random], str], ...] = (names.company, names.person, names.word, lambda r: str(r.randrange(1000)))
    text = ", ".join(rng.choice(makers)(rng) for _ in range(rng.randrange(1, 5)))
    return Question("repeat", "repeat", f"{rng.choice(('Repeat after me', 'Copy this', 'Say'))}: {text}", text, text)


def portrait(rng: Random) -> tuple[str, dict[str, str]]:
    """A sentence about a made-up person, and what it says of them by field."""
    person, city, job, pet = names.person(rng), names.word(rng), rng.choice(JOBS), rng.choice(PETS)
    colour, thing = rng.choice(COLOURS), rng.choice(WARES)
    text = rng.choice(
        (
            f"{person}, a {job} from {city}, has a {pet} and a {colour} {thing}.",
            f"{person} keeps a {pet} and a {colour} {thing} in {city} and works as a {job}.",
            f"In {city}, {person} is a {job} who owns a {colour} {thing} and a {pet}.",
        )
    )
    return text, {"name": person, "city": city, "job": job, "pet": pet, "thing": thing, "colour": colour}


def record_skill(rng: Random) -> Question:
    """Put a sentence into a record of a named format."""
    text, fields = portrait(rng)
    keys = rng.sample(list(fields), rng.randrange(1, 5))
    kind, instruction, answer = rng.choice(
        (
            ("lines", "Write as fields", "; ".join(f"{k}: {fields[k]}" for k in keys)),
            ("json", "Write as JSON", "{" + ", ".join(f'"{k}": "{fields[k]}"' for k in keys) + "}"),
            ("csv", "Write as CSV", ", ".join(fields[k] for k in keys)),
        )
    )
    return Question("record", kind, f"{instruction} ({', '.join(keys)}): {text}", answer, text + kind)


NOTICES: tuple[tuple[str, str], ...] = (
    (
        "Residents of {x} are hereby requested to refrain from making noise after {n} in the evening.",
        "Please be quiet in {x} after {n}.",
    ),
    ("Admission to the premises of {a} is granted solely upon presentation of a ticket.", "You need a ticket to enter {a}."),
    ("It is incumbent upon {p} to furnish {q} with a reply within {n} days.", "{p} must answer {q} within {n} days."),
    ("{p} is hereby authorised to act in the stead of {q} for a period of {n} days.", "{p} may act for {q} for {n} days."),
    ("Patrons are advised that {a} shall remain closed for a period of {n} days.", "{a} is closed for {n} days."),
    (
        "In no event shall {p} be admitted to {x} without the written consent of {q}.",
        "{p} can only enter {x} if {q} agrees in writing.",
    ),
    ("The vehicle of {p} shall be removed from the premises of {a} forthwith.", "{p} must move the car away from {a} at once."),
    ("{a} hereby gives notice that {n} articles have been mislaid in {x}.", "{a} has lost {n} things in {x}."),
    (
        "It is requested that {p} be in attendance at {x} not later than {n} in the morning.",
        "{p} must be in {x} by {n} in the morning.",
    ),
    (
        "{p} is under an obligation of secrecy towards {q} for a term of {n} years.",
        "{p} must keep the secret of {q} for {n} years.",
    ),
    ("{a} has been instructed to effect the repair of every defect reported by {p}.", "{a} must fix each fault that {p} finds."),
    (
        "Articles borrowed from {p} are to be restored to {q} prior to the expiry of {n} days.",
        "You must give the things of {p} back to {q} within {n} days.",
    ),
    (
        "Any disagreement of {p} with {q} is to be laid before the magistrate of {x}.",
        "The judge of {x} must settle any quarrel of {p} and {q}.",
    ),
    ("The recruitment of {p} by {a} is conditional upon the assent of {q}.", "{a} can hire {p} only if {q} agrees."),
    ("The tariff of {a} is liable to an upward revision of {n} percent.", "{a} may raise the price by {n} percent."),
    ("{p} is the proprietor of all that is situated in {x}.", "Everything in {x} belongs to {p}."),
    (
        "The consignment of {a} is to be conveyed to {p} in {x} on the day of the request.",
        "{a} must bring the goods to {p} in {x} on the day of the order.",
    ),
    ("Upon payment of {n} coins, {p} shall be admitted to the society of {x}.", "{p} can join the club of {x} for {n} coins."),
)


def notice_skill(rng: Random) -> Question:
    """Formal notices in plain words: other documents than contracts, so that rewriting as such is no news to the model."""
    formal, plain = rng.choice(NOTICES)
    p, q = names.distinct(names.person, rng, 2)
    values = {"x": names.word(rng), "n": rng.randrange(2, 12), "a": names.company(rng), "p": p, "q": q}
    text = formal.format(**values)
    return Question("notice", "notice", f"Say this in plain words: {text}", plain.format(**values), text)


# Formal verb, its participle, plain verb; formal and plain circumstance of another party; formal and plain duty.
_VERBS = (
    ("convey", "conveyed", "bring"),
    ("furnish", "furnished", "give"),
    ("restore", "restored", "give back"),
    ("repair", "repaired", "fix"),
    ("purchase", "purchased", "buy"),
    ("vend", "vended", "sell"),
    ("examine", "examined", "check"),
    ("retain", "retained", "keep"),
    ("erect", "erected", "build"),
    ("cleanse", "cleansed", "clean"),
    ("transmit", "transmitted", "send"),
    ("conceal", "concealed", "hide"),
    ("procure", "procured", "get"),
    ("discard", "discarded", "throw away"),
    ("lease", "leased", "rent"),
    ("demolish", "demolished", "destroy"),
    ("exhibit", "exhibited", "show"),
    ("enumerate", "enumerated", "count"),
    ("safeguard", "safeguarded", "protect"),
    ("surrender", "surrendered", "hand over"),
)
_CIRCUMSTANCES = (
    ("on behalf of {b}", "for {b}"),
    ("at the request of {b}", "if {b} asks"),
    ("in the absence of {b}", "while {b} is away"),
    ("prior to the arrival of {b}", "before {b} comes"),
    ("subsequent to the departure of {b}", "after {b} leaves"),
    ("with the assent of {b}", "if {b} agrees"),
    ("notwithstanding any objection of {b}", "even if {b} says no"),
    ("in the presence of {b}", "when {b} is there"),
    ("for the benefit of {b} in {x}", "to help {b} in {x}"),
    ("within {d} days of the call of {b}", "within {d} days if {b} calls"),
    ("in {x}, unbeknown to {b}", "in {x} and not tell {b}"),
    ("for a period of {d} months under {b}", "under {b} for {d} months"),
)
_DUTIES = (
    ("{a} shall {formal}", "shall be {participle} by {a}", "{a} must {plain}"),
    ("{a} shall not {formal}", "shall not be {participle} by {a}", "{a} must not {plain}"),
    ("{a} is entitled to {formal}", "may be {participle} by {a}", "{a} can {plain}"),
    ("it is incumbent upon {a} to {formal}", "must needs be {participle} by {a}", "{a} has to {plain}"),
)


def rewrite_skill(rng: Random) -> Question:
    """A formal order in plain words, from a small grammar: active or passive, circumstance first or last.

    It is the practice in who does what to whom, and in carrying both names over, that a model of the real world has had
    from a million documents.
    """
    formal, participle, plain = rng.choice(_VERBS)
    around, plain_around = rng.choice(_CIRCUMSTANCES)
    active, passive, duty = rng.choice(_DUTIES)
    thing = rng.choice((f"the {rng.choice(WARES)}", f"{rng.randrange(2, 1000)} {rng.choice(GOODS)}", f"the {rng.choice(GOODS)}"))
    is_active, is_fronted = rng.random() < 0.5, rng.random() < 0.5
    core = f"{active} {thing}" if is_active else f"{thing} {passive}"
    text = f"{around}, {core}." if is_fronted else f"{core} {around}."
    makers = (names.company, names.company, names.person)
    values = {
        "a": rng.choice(makers)(rng),
        "b": rng.choice(makers)(rng),
        "x": names.word(rng),
        "d": rng.randrange(2, 91),
        "formal": formal,
        "participle": participle,
        "plain": plain,
    }
    text = text.format(**values)
    text = text[0].upper() + text[1:]
    return Question(
        "rewrite", formal, f"Say this in plain words: {text}", f"{duty} {thing} {plain_around}.".format(**values), text
    )


EVERYDAY: tuple[str, ...] = (
    "{p} can tell {q} a secret if nobody else is in {x}.",
    "If {p} pays late, the bill goes up by {n} coins each month.",
    "Nobody sues {a} over a broken chair.",
    "{p} must never hand the key to anyone else unless {q} agrees.",
    "The deal of {a} and {b} came to an end at once.",
    "{a} was late when the flood and the storm came to {x}.",
    "{p} asks {q} to send the bad goods back to {x}.",
    "{q} does not have to pay more than {n} coins for the costs.",
    "The law of {x} applies to everyone, {p} too.",
    "Only {p} may sell bread in {x} while {q} is away.",
    "{a} must stay insured to protect its staff from fire.",
    "{p} keeps the deposit until {q} gives the room back.",
    "The team of {p} and {q} must not compete with each other.",
    "{p} can check the books of {a} and tell {q} what is wrong.",
    "At most {n} percent of the staff of {a} lives in {x}.",
    "{p} did destroy the letter, and it cost {q} another month.",
    "What {p} invents for {a} makes {q} rich, so the work goes on.",
    "A private teacher explains the clause in plain words to {p} and {q} each year.",
    "{p} breaks the lamp of {q} and must fix it before the year ends.",
    "There is nothing that {p} can do within {n} days of getting the bill.",
)


def everyday(rng: Random) -> str:
    """One sentence of ordinary words, with made-up names: practice in the words that plain English is made of."""
    p, q = names.distinct(names.person, rng, 2)
    if rng.random() < 0.5:  # companies do what people do
        p, q = names.distinct(names.company, rng, 2)
    return rng.choice(EVERYDAY).format(
        p=p, q=q, a=names.company(rng), b=names.company(rng), x=names.word(rng), n=rng.randrange(2, 1000)
    )


LEGAL_PROMPT = "Explain this clause in plain words: "


def legal_question(item: Clause) -> Question:
    """The domain task that the course fine-tunes for: a clause, and its plain English in the house style."""
    return Question("legal", item.type, LEGAL_PROMPT + item.text, item.plain, item.text)
