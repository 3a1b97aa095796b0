"""A shop whose catalogue no model has read: its entries, the questions about them, and the day on which prices move.

Questions come in three kinds of wording: *familiar* ones, as pretraining words them for other goods; *taught* ones, in which a
fine-tuning may see these goods; and *new* ones, which nobody has seen.
"""

from dataclasses import replace
from random import Random

from course_lib.world import names
from course_lib.world.catalogue import Product, product
from course_lib.world.skills import Question

WORDINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "price": {
        "familiar": ("What does the {name} cost?",),
        "taught": ("What is the price of the {name}?", "How many coins is the {name}?"),
        "new": ("How much money do you want for the {name}?",),
    },
    "colour": {
        "familiar": ("What colour is the {name}?",),
        "taught": ("Which colour does the {name} have?", "In which colour does the {name} come?"),
        "new": ("Tell me the colour of the {name}.",),
    },
}
KINDS = tuple(WORDINGS)


def catalogue(count: int, seed: int = 0) -> list[Product]:
    """``count`` products with different names. A smaller count is the beginning of a larger one."""
    rng = Random(f"shop {seed}")
    goods: dict[str, Product] = {}
    while len(goods) < count:
        item = product(rng)
        goods.setdefault(item.name, item)
    return list(goods.values())


def with_moved_prices(goods: list[Product], seed: int = 0) -> list[Product]:
    """The same goods on the day after: every price is another one, nothing else has changed."""
    rng = Random(f"prices move {seed}")
    moved = []
    for item in goods:
        price = item.price
        while price == item.price:
            price = rng.randrange(5, 1000)
        moved.append(replace(item, price=price))
    return moved


def questions(goods: list[Product], wording: str = "familiar", kinds: tuple[str, ...] = KINDS) -> list[Question]:
    """Every question of some kinds about some goods, with today's answer.

    Args:
        goods: what is asked about; the ``key`` of a question is the name of its product.
        wording: ``"familiar"``, ``"taught"`` or ``"new"``.
        kinds: of `KINDS`.

    Raises:
        KeyError: for an unknown wording or kind.
    """
    return [
        Question("shop", kind, form.format(name=item.name), answer(item, kind), item.name)
        for kind in kinds
        for item in goods
        for form in WORDINGS[kind][wording]
    ]


def answer(item: Product, kind: str) -> str:
    """The right answer to a question of this kind."""
    return {"price": f"{item.price} coins", "colour": item.colour}[kind]


SHELVES = ("ledger", "register", "removals")


def other_papers(count: int, seed: int = 0) -> dict[str, list[str]]:
    """What else lies in the shop's office: ``count`` short papers on each shelf of `SHELVES`, none of them about a product."""
    rng = Random(f"papers {seed}")
    papers: dict[str, list[str]] = {shelf: [] for shelf in SHELVES}
    for _ in range(count):
        person, job = names.person(rng), rng.choice(("baker", "carpenter", "glazier", "sailor", "smith", "weaver"))
        a, b = names.distinct(names.company, rng, 2)
        x, y = names.distinct(names.word, rng, 2)
        papers["ledger"].append(f"{a} owes {b} {rng.randrange(2, 1000)} coins.")
        papers["register"].append(f"{person} works for {a} in {x} as a {job}.")
        papers["removals"].append(f"{person} moved from {x} to {y}.")
    return papers
