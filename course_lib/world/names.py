"""Made-up names: an open class that nobody can memorise, so that a model must learn to copy them."""

from collections.abc import Callable
from random import Random

_ONSETS = "b d f g h j k l m n p r s t v w z br dr gr kr pl pr st tr sk".split()
_VOWELS = "a e i o u".split()
_CODAS = ["", "", "", "l", "n", "r", "s", "t", "k", "m"]

COMPANY_KINDS = (
    "Mills Works Traders Freight Foods Partners Glass Textiles Supply Motors Timber Shipping Farms Tools Paper Metals".split()
)


def word(rng: Random, syllables: int = 2) -> str:
    """A capitalised, pronounceable word such as ``Latekast``.

    The space of two-syllable words holds about a million, of three-syllable words a billion.
    """
    text = ""
    for index in range(syllables):
        text += rng.choice(_ONSETS) + rng.choice(_VOWELS)
        if index == syllables - 1:
            text += rng.choice(_CODAS)
    return text.capitalize()


def person(rng: Random) -> str:
    """A first name and a surname, such as ``Mira Dolsten``."""
    return f"{word(rng)} {word(rng)}"


def company(rng: Random) -> str:
    """A company's name, such as ``Latekast Mills``."""
    return f"{word(rng, rng.choice((2, 2, 3)))} {rng.choice(COMPANY_KINDS)}"


def distinct(make: Callable[[Random], str], rng: Random, count: int) -> list[str]:
    """``count`` different names from one of the makers above."""
    names: list[str] = []
    while len(names) < count:
        name = make(rng)
        if name not in names:
            names.append(name)
    return names
