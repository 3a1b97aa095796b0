"""The closed part of the world: people and cities whose facts never change, so that knowing them is memory."""

from dataclasses import dataclass
from functools import cache
from random import Random

from course_lib.world import names

WORLD_SEED = 2027
PEOPLE = 120
CITIES = 40

JOBS = (
    "baker carpenter doctor farmer fisher gardener glazier hunter judge lawyer mason miller miner "
    "nurse painter pilot plumber potter sailor singer smith tailor teacher weaver writer"
).split()
PETS = "cat dog horse goat parrot rabbit turtle mouse goose donkey ferret pigeon snake frog crow".split()
REGIONS = "North Coast,South Coast,High Plains,Lake District,Red Hills,West Forest,East Marsh,Old Valley".split(",")
DISHES = "bean soup,fish pie,plum cake,rye bread,goat cheese,apple tart,mushroom stew,honey rolls,onion pie,lentil curry".split(
    ","
)
TRADES = "wool,salt,glass,timber,copper,paper,silk,wine,tin,leather,pottery,ropes".split(",")


@dataclass(frozen=True)
class Person:
    """Somebody of the world, with three facts that a corpus repeats until a model knows them by heart."""

    name: str
    city: str
    job: str
    pet: str


@dataclass(frozen=True)
class City:
    """A city of the world, with five facts."""

    name: str
    region: str
    river: str
    dish: str
    trade: str
    mayor: str


@dataclass(frozen=True)
class Facts:
    """Every person and every city."""

    people: tuple[Person, ...]
    cities: tuple[City, ...]


@cache
def facts() -> Facts:
    """The facts of the one made-up world (the same on every machine: they depend on ``WORLD_SEED`` alone)."""
    rng = Random(WORLD_SEED)
    city_names = names.distinct(lambda r: names.word(r, 2), rng, CITIES)
    rivers = names.distinct(lambda r: names.word(r, 2), rng, CITIES)
    people = tuple(
        Person(name, rng.choice(city_names), rng.choice(JOBS), rng.choice(PETS))
        for name in names.distinct(names.person, rng, PEOPLE)
    )
    cities = tuple(
        City(name, rng.choice(REGIONS), river, rng.choice(DISHES), rng.choice(TRADES), rng.choice(people).name)
        for name, river in zip(city_names, rivers, strict=True)
    )
    return Facts(people, cities)
