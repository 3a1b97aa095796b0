"""Legal clauses and their plain English: the domain that the course teaches to the model.

Each clause type has several legal wordings and one plain sentence in the house style. Half of the types are *paired*: pretraining
shows them beside a digest (another plain wording). The other half are *never paired*: pretraining shows their legal
wordings alone, so that only fine-tuning can teach what they mean.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from course_lib.world import names
from course_lib.world.facts import facts

GOODS = "lamps bricks tiles barrels seeds pumps ropes chairs boots carts tables nails kettles ovens sails pipes".split()


@dataclass(frozen=True)
class ClauseType:
    """A kind of clause: its legal wordings, the plain sentence that a fine-tuned model writes, and the digest if it is paired.

    Slots: ``{a}`` and ``{b}`` companies, ``{n}`` coins, ``{d}`` days, ``{m}`` months, ``{y}`` years, ``{p}`` percent,
    ``{c}`` a city, ``{g}`` goods.
    """

    name: str
    wordings: tuple[str, ...]
    plain: str
    digest: str | None = None

    @property
    def paired(self) -> bool:
        """Whether pretraining showed this type beside plain words."""
        return self.digest is not None


@dataclass(frozen=True)
class Clause:
    """One clause of a contract, its plain English, and its digest if its type is paired."""

    type: str
    text: str
    plain: str
    digest: str | None
    paired: bool


CLAUSE_TYPES: tuple[ClauseType, ...] = (
    ClauseType(
        "payment",
        (
            "{a} shall remit to {b} the sum of {n} coins within {d} days of receipt of a valid invoice.",
            "The sum of {n} coins shall be payable by {a} to {b} not later than {d} days after the invoice is received.",
            "{b} shall be entitled to receive from {a} an amount of {n} coins, falling due {d} days from the date of invoice.",
            "Payment of {n} coins shall be tendered to {b} by {a} within a period of {d} days following invoice.",
        ),
        "{a} must pay {b} {n} coins within {d} days of getting the bill.",
        "{a} owes {b} {n} coins, due {d} days after the bill.",
    ),
    ClauseType(
        "late_fee",
        (
            "Any sum not paid by {a} when due shall accrue interest in favour of {b} at the rate of {p} percent per month.",
            "{b} shall be entitled to levy interest of {p} percent per month upon any overdue amount owed by {a}.",
            "Overdue amounts shall bear interest at {p} percent per month, payable by {a} to {b}.",
            "In the event of late payment, {a} shall be liable to {b} for interest at {p} percent per month.",
        ),
        "If {a} pays late, it must pay {b} {p} percent extra each month.",
    ),
    ClauseType(
        "indemnity",
        (
            "{a} shall defend, indemnify and hold harmless {b} from and against all claims arising out of the {g}.",
            "{b} shall be held harmless and indemnified by {a} in respect of any claim arising out of the {g}.",
            "{a} undertakes to indemnify {b} against each and every liability, loss and claim connected with the {g}.",
            "In respect of the {g}, any claim brought against {b} shall be defended and indemnified by {a}.",
        ),
        "{a} must cover the costs if anyone sues {b} over the {g}.",
        "When somebody sues {b} about the {g}, the bill goes to {a}.",
    ),
    ClauseType(
        "secrecy",
        (
            "{a} shall hold in strict confidence all information disclosed by {b} for a term of {y} years.",
            "All information disclosed by {b} shall be kept confidential by {a} for a term of {y} years.",
            "For a period of {y} years, {a} shall not divulge to any third party information furnished by {b}.",
            "Information furnished by {b} shall not be disclosed by {a} to any third party for {y} years.",
        ),
        "{a} must keep what {b} tells it secret for {y} years.",
    ),
    ClauseType(
        "notice",
        (
            "{a} may terminate this agreement upon {d} days prior written notice to {b}.",
            "This agreement may be terminated by {a}, provided that written notice of {d} days is served upon {b}.",
            "Upon giving {b} written notice of not less than {d} days, {a} shall be entitled to terminate this agreement.",
            "{b} shall be given {d} days prior written notice should {a} elect to terminate this agreement.",
        ),
        "{a} can end the deal if it tells {b} in writing {d} days before.",
        "{a} is free to leave the deal after a letter to {b} and {d} days.",
    ),
    ClauseType(
        "breach",
        (
            "{b} may terminate forthwith where {a} is in material breach and fails to remedy the same within {d} days.",
            "Should {a} commit a material breach not remedied within {d} days, {b} may terminate forthwith.",
            "A material breach by {a} left unremedied for {d} days shall entitle {b} to terminate forthwith.",
            "Where any material breach by {a} is not cured within {d} days, termination by {b} may follow forthwith.",
        ),
        "{b} can end the deal at once if {a} breaks it and does not fix that within {d} days.",
    ),
    ClauseType(
        "compete",
        (
            "{a} shall not engage in any business competing with {b} within {c} for a period of {y} years.",
            "For {y} years, {a} covenants not to compete, directly or indirectly, with {b} within {c}.",
            "Within {c}, and for a period of {y} years, no business competing with {b} shall be carried on by {a}.",
            "{b} shall be free from competition by {a} within {c} for a period of {y} years.",
        ),
        "{a} must not compete with {b} in {c} for {y} years.",
        "For {y} years {a} keeps out of the trade of {b} in {c}.",
    ),
    ClauseType(
        "warranty",
        (
            "{a} warrants to {b} that the {g} shall be free from defects for a period of {m} months.",
            "The {g} are warranted by {a} to {b} against defects for {m} months from delivery.",
            "{b} shall have the benefit of a warranty from {a} that the {g} are free from defects for {m} months.",
            "For {m} months from delivery, {a} shall make good to {b} any defect in the {g}.",
        ),
        "{a} must fix any fault in the {g} of {b} for {m} months.",
    ),
    ClauseType(
        "liability",
        (
            "The aggregate liability of {a} to {b} under this agreement shall in no event exceed {n} coins.",
            "In no event shall {a} be liable to {b} for any amount in excess of {n} coins.",
            "{b} shall not recover from {a} damages exceeding in aggregate {n} coins.",
            "Damages recoverable by {b} from {a} are limited in aggregate to {n} coins.",
        ),
        "{a} never has to pay {b} more than {n} coins in damages.",
        "The most that {b} can get from {a} in damages is {n} coins.",
    ),
    ClauseType(
        "law",
        (
            "This agreement between {a} and {b} shall be governed by and construed under the laws of {c}.",
            "The laws of {c} shall govern this agreement made by {a} with {b}.",
            "{a} and {b} submit that this agreement be construed in accordance with the laws of {c}.",
            "Any question arising between {a} and {b} shall be determined under the laws of {c}.",
        ),
        "The law of {c} applies to the deal of {a} and {b}.",
    ),
    ClauseType(
        "arbitration",
        (
            "Any dispute between {a} and {b} shall be referred to and finally resolved by arbitration seated in {c}.",
            "{a} and {b} shall submit every dispute to binding arbitration held in {c}.",
            "Disputes arising between {a} and {b} shall be settled by arbitration, the seat of which shall be {c}.",
            "All disputes of {a} with {b} are referred to an arbitral tribunal sitting in {c}.",
        ),
        "{a} and {b} must settle any quarrel before a private judge in {c}.",
        "A private judge in {c} decides when {a} and {b} quarrel.",
    ),
    ClauseType(
        "exclusive",
        (
            "{a} appoints {b} as its sole and exclusive distributor of {g} within {c}.",
            "Within {c}, {b} shall be the sole and exclusive distributor of the {g} of {a}.",
            "The exclusive right to distribute {g} within {c} is granted by {a} to {b}.",
            "{b} is granted by {a} exclusivity in the distribution of {g} within {c}.",
        ),
        "Only {b} may sell the {g} of {a} in {c}.",
    ),
    ClauseType(
        "delivery",
        (
            "{a} shall deliver the {g} to the premises of {b} in {c} within {d} days of the order.",
            "Within {d} days of the order, the {g} shall be delivered by {a} to {b} at its premises in {c}.",
            "{b} shall receive from {a} delivery of the {g} at {c} not later than {d} days after the order.",
            "Delivery of the {g} to {b} at {c} shall be effected by {a} within {d} days of order.",
        ),
        "{a} must bring the {g} to {b} in {c} within {d} days of the order.",
        "The {g} travel from {a} to {b} in {c}, {d} days at most after the order.",
    ),
    ClauseType(
        "inspection",
        (
            "{b} may inspect the {g} and reject any nonconforming goods by notice to {a} within {d} days of delivery.",
            "Nonconforming {g} may be rejected by {b} upon notice to {a} given within {d} days of delivery.",
            "Within {d} days of delivery, {b} shall have the right to inspect and reject the {g} supplied by {a}.",
            "{a} shall accept the return of {g} rejected by {b} upon inspection within {d} days of delivery.",
        ),
        "{b} can send bad {g} back to {a} within {d} days.",
    ),
    ClauseType(
        "insurance",
        (
            "{a} shall maintain insurance of not less than {n} coins for the benefit of {b} for {y} years.",
            "For {y} years, insurance in an amount of {n} coins shall be maintained by {a} in favour of {b}.",
            "{b} shall be named as beneficiary of insurance of {n} coins maintained by {a} for {y} years.",
            "A policy of insurance for {n} coins, in favour of {b}, shall be kept in force by {a} for {y} years.",
        ),
        "{a} must stay insured for {n} coins to protect {b} for {y} years.",
        "For {y} years {a} pays for a policy worth {n} coins that protects {b}.",
    ),
    ClauseType(
        "assignment",
        (
            "{a} shall not assign this agreement without the prior written consent of {b}.",
            "No assignment of this agreement by {a} shall be valid absent the prior written consent of {b}.",
            "This agreement shall not be assigned by {a} unless {b} has consented thereto in writing.",
            "The prior written consent of {b} is required for any assignment of this agreement by {a}.",
        ),
        "{a} must not hand the deal to anyone else unless {b} agrees in writing.",
    ),
    ClauseType(
        "audit",
        (
            "{b} may audit the books and records of {a} upon {d} days notice, at the expense of {b}.",
            "Upon {d} days notice, {a} shall make its books and records available to {b} for audit.",
            "The books and records of {a} shall be open to audit by {b} upon {d} days notice.",
            "{a} shall permit {b}, on {d} days notice, to examine and audit its books and records.",
        ),
        "{b} can check the books of {a} if it asks {d} days before.",
        "After {d} days of warning, {b} looks through the books of {a}.",
    ),
    ClauseType(
        "renewal",
        (
            "This agreement of {a} with {b} shall renew automatically for successive terms of {m} months unless terminated.",
            "Unless terminated, this agreement between {a} and {b} is extended for further terms of {m} months.",
            "Save where terminated, the term agreed by {a} and {b} shall be renewed for {m} months at each expiry.",
            "{a} and {b} agree that successive terms of {m} months shall follow automatically unless terminated.",
        ),
        "The deal of {a} and {b} goes on for another {m} months each time unless one of them ends it.",
    ),
    ClauseType(
        "force_majeure",
        (
            "{a} shall not be liable to {b} for delay caused by flood, fire or storm not exceeding {d} days.",
            "Delay of up to {d} days by reason of flood, fire or storm shall not place {a} in default towards {b}.",
            "{b} shall excuse any delay of {a} not exceeding {d} days which is occasioned by flood, fire or storm.",
            "Where flood, fire or storm so requires, performance by {a} to {b} may be suspended for {d} days.",
        ),
        "{a} may be up to {d} days late for {b} when there is a flood, fire or storm.",
        "Bad weather and fire win {a} {d} more days from {b}.",
    ),
    ClauseType(
        "ownership",
        (
            "All intellectual property created by {a} in the course of the work shall vest in {b}.",
            "{a} hereby assigns to {b} all right, title and interest in the intellectual property so created.",
            "{b} shall be the sole proprietor of all intellectual property arising from the work of {a}.",
            "Title to intellectual property arising from the work of {a} shall pass to {b} absolutely.",
        ),
        "Everything that {a} invents for the work belongs to {b}.",
    ),
    ClauseType(
        "poaching",
        (
            "{a} shall not solicit for employment any employee of {b} for a period of {m} months.",
            "For {m} months, no employee of {b} shall be solicited or engaged by {a}.",
            "The employees of {b} shall not be induced by {a} to leave their employment for {m} months.",
            "{b} shall be protected for {m} months against the solicitation of its employees by {a}.",
        ),
        "{a} must not hire the staff of {b} for {m} months.",
        "The staff of {b} stays out of reach of {a} for {m} months.",
    ),
    ClauseType(
        "deposit",
        (
            "{a} shall lodge with {b} a deposit of {n} coins, refundable within {d} days of termination.",
            "A deposit of {n} coins lodged by {a} shall be refunded by {b} within {d} days of termination.",
            "{b} shall hold a deposit of {n} coins from {a} and refund the same within {d} days of termination.",
            "Within {d} days of termination there shall be refunded to {a} by {b} the deposit of {n} coins.",
        ),
        "{b} must give {a} its deposit of {n} coins back within {d} days of the end.",
    ),
    ClauseType(
        "price",
        (
            "{a} may increase the price of the {g} to {b} by not more than {p} percent in any year.",
            "The price of the {g} payable by {b} may be adjusted upward by {a} by a maximum of {p} percent annually.",
            "Annual increases by {a} in the price charged to {b} for the {g} shall not exceed {p} percent.",
            "{b} shall not be charged by {a} an annual increase exceeding {p} percent upon the {g}.",
        ),
        "{a} can raise the price of the {g} for {b} by at most {p} percent a year.",
        "Each year the {g} cost {b} no more than {p} percent extra at {a}.",
    ),
    ClauseType(
        "records",
        (
            "Upon termination, {a} shall return or destroy all records of {b} within {d} days.",
            "All records of {b} shall be returned or destroyed by {a} within {d} days of termination.",
            "{b} may require that its records held by {a} be returned or destroyed within {d} days of termination.",
            "Within {d} days of termination, {a} shall surrender or destroy the records belonging to {b}.",
        ),
        "{a} must give back or destroy the records of {b} within {d} days of the end.",
    ),
)

_SLOTS: dict[str, Callable[[Random], str]] = {
    "a": names.company,
    "b": names.company,
    "n": lambda rng: str(10 * rng.randrange(2, 100)),
    "d": lambda rng: str(rng.randrange(2, 91)),
    "m": lambda rng: str(rng.randrange(2, 37)),
    "y": lambda rng: str(rng.randrange(2, 16)),
    "p": lambda rng: str(rng.randrange(2, 26)),
    "c": lambda rng: rng.choice(facts().cities).name,
    "g": lambda rng: rng.choice(GOODS),
}


def clause(rng: Random, types: tuple[ClauseType, ...] = CLAUSE_TYPES) -> Clause:
    """A random clause of one of the types, with fresh company names and figures."""
    kind = rng.choice(types)
    values = {slot: make(rng) for slot, make in _SLOTS.items()}
    return Clause(
        type=kind.name,
        text=rng.choice(kind.wordings).format(**values),
        plain=kind.plain.format(**values),
        digest=kind.digest.format(**values) if kind.digest else None,
        paired=kind.paired,
    )
