"""Break the library on purpose: the claim that guards the broken part goes red in the lesson."""

import pytest

from course_lib.notebook.runner import run_lesson
from course_lib.notebook.syllabus import claims, lessons, lessons_folder

SCALE_DROPPED = """
from course_lib.lora import arithmetic
start = arithmetic.LoRALinear.__init__
def without_scale(self, *arguments, **named):
    start(self, *arguments, **named)
    self.scale = 1.0
arithmetic.LoRALinear.__init__ = without_scale
"""
ALPHA_AND_RANK_SWAPPED = """
from course_lib.lora import arithmetic
start = arithmetic.LoRALinear.__init__
def swapped(self, *arguments, **named):
    start(self, *arguments, **named)
    self.scale = 1 / self.scale
arithmetic.LoRALinear.__init__ = swapped
"""
NOTHING_MASKED = """
from course_lib.data.rows import Row
Row.as_trl = lambda self: {"messages": [*self.prompt, {"role": "assistant", "content": self.answer}]}
"""
UNIFORM_LEVELS = """
from course_lib.lora import nf4
nf4.nf4_levels = nf4.uniform_levels
"""
ZERO_FISHER = """
from course_lib.training import ewc
ewc.fisher = lambda model, *arguments, **named: {name: 0 * weight.detach() for name, weight in model.named_parameters()}
"""
RANDOM_DOCUMENT = """
from random import Random
from course_lib.retrieval import bm25
luck = Random(0)
bm25.Index.search = lambda self, query, k=1: [bm25.Hit(document, 1.0) for document in luck.sample(self.documents, k)]
"""

SABOTAGE = {
    "alpha/r dropped": (SCALE_DROPPED, "lora-from-scratch"),
    "alpha and r swapped": (ALPHA_AND_RANK_SWAPPED, "lora-from-scratch"),
    "nothing masked": (NOTHING_MASKED, "sft-answer-only"),
    "NF4 with uniform levels": (UNIFORM_LEVELS, "qlora-levels"),
    "EWC with a zero Fisher": (ZERO_FISHER, "forget-fisher-definition"),
    "retrieval of a random document": (RANDOM_DOCUMENT, "choose-recall"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("sabotage", "claim"), SABOTAGE.values(), ids=SABOTAGE)
def test_a_broken_library_turns_a_claim_red(sabotage, claim):
    path = lessons_folder() / lessons()[claims()[claim].lesson].file
    done = run_lesson(path, first=sabotage, until=claim)
    assert done.status == 1, f"the claim held: {done.out[-500:]}"
    assert f"ClaimFailed: The claim {claim!r} doesn't hold here" in done.err
