"""Catalogues: goods with prices, the kind of fact that changes and that a model should look up rather than remember."""

from dataclasses import dataclass
from random import Random

from course_lib.world import names

WARES = "lamp chair table kettle clock saddle ladder mirror basket blanket lantern bucket hammer stool cupboard bell".split()
COLOURS = (
    "red blue green black white yellow brown grey purple golden pink silver crimson scarlet violet turquoise "
    "bronze copper cream beige navy teal lilac maroon"
).split()


@dataclass(frozen=True)
class Product:
    """One line of a catalogue."""

    name: str
    price: int
    colour: str
    maker: str
    stock: int

    @property
    def document(self) -> str:
        """The entry as a short text, as a retriever stores it."""
        return f"The {self.name} by {self.maker} costs {self.price} coins and comes in {self.colour}. There are {self.stock} in stock."


def product(rng: Random) -> Product:
    """A product that exists nowhere else, such as the ``Belka lamp``."""
    return Product(
        name=f"{names.word(rng)} {rng.choice(WARES)}",
        price=rng.randrange(5, 1000),
        colour=rng.choice(COLOURS),
        maker=names.company(rng),
        stock=rng.randrange(2, 100),
    )
