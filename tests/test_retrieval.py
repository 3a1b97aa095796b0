"""Finding, prompting and citing: what an adversary, or a careless reader, would try."""

import pytest

from course_lib.errors import CourseError
from course_lib.evaluation.scores import score
from course_lib.retrieval.bm25 import Document, Index, Library, recall, shuffled
from course_lib.retrieval.citations import Cited, parse, source
from course_lib.retrieval.prompts import cited_prompt, examples_prompt
from course_lib.world import house, shop
from course_lib.world.skills import cited_reading, is_held_out

GOODS = shop.catalogue(200, 3)
ENTRIES = [Document(item.name, item.document) for item in GOODS]


def wanted(goods=GOODS):
    return [(question.prompt, question.key) for question in shop.questions(goods)]


def test_it_finds_the_entry_of_the_product_asked_about():
    assert score(recall(Index(ENTRIES), wanted(), k=1)).rate >= 0.9


def test_hits_come_best_first_and_never_more_than_there_are():
    hits = Index(ENTRIES).search(wanted()[0][0], k=10)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert len({hit.document for hit in hits}) == 10
    assert len(Index(ENTRIES[:2]).search("lamp", k=10)) == 2


def test_a_word_in_any_case_is_the_same_word():
    name = GOODS[0].name
    assert Index(ENTRIES).search(name.upper())[0].document.key == name


def test_no_common_word_scores_nothing_and_breaks_nothing():
    for query in ("", "zzzz qqqq", "?!", "\u03bb"):
        assert all(hit.score == 0 for hit in Index(ENTRIES).search(query, k=3)), query


@pytest.mark.parametrize("documents", [[], [Document("a", "")], [Document("a", "?! -")]])
def test_nothing_to_search_is_refused(documents):
    with pytest.raises(CourseError, match="nothing to search"):
        Index(documents)


@pytest.mark.parametrize("k", [0, -1])
def test_k_is_at_least_one(k):
    with pytest.raises(CourseError, match="at least 1"):
        Index(ENTRIES).search("lamp", k=k)
    with pytest.raises(CourseError, match="at least 1"):
        Library({"catalogue": ENTRIES}).search("lamp", k=k)


def test_one_document_can_be_searched():
    assert Index(ENTRIES[:1]).search(GOODS[0].name)[0].document == ENTRIES[0]


def test_a_library_shows_one_paper_a_shelf():
    papers = {shelf: [Document(text, text) for text in texts] for shelf, texts in shop.other_papers(20, 3).items()}
    library = Library({"catalogue": ENTRIES} | papers)
    hits = library.search(wanted()[0][0], k=10)
    assert len(hits) == len(papers) + 1
    assert sum(hit.document in ENTRIES for hit in hits) == 1
    assert score(recall(library, wanted(), k=2)).rate >= 0.9


def test_the_order_shown_is_stable_and_says_nothing_about_the_score():
    index = Index(ENTRIES)
    places = []
    for query, _ in wanted()[:100]:
        hits = index.search(query, k=3)
        assert shuffled(hits) == shuffled(hits[::-1])
        places.append(shuffled(hits).index(hits[0].document))
    assert all(20 <= places.count(place) <= 47 for place in range(3))


def test_a_search_that_returns_any_document_shows_in_recall(monkeypatch):
    index = Index(ENTRIES)
    hit = index.search("lamp")[0]
    monkeypatch.setattr(Index, "search", lambda self, query, k=1: [type(hit)(self.documents[len(query) % 7], 0.0)])
    assert score(recall(index, wanted(), k=1)).rate < 0.2


def test_prompts_have_the_form_that_pretraining_used():
    from random import Random

    question = cited_reading(Random(1)).prompt
    texts = [part.split("] ", 1)[1] for part in question.removeprefix("Documents: ").split(" Question:")[0].split(" [")]
    asked = question.split("Question: ")[1].removesuffix(" Answer with a source.")
    assert cited_prompt(asked, [Document("", text) for text in texts]) == question


def test_examples_stand_before_the_request():
    assert examples_prompt("3?", [("1?", "one"), ("2?", "two")]) == (
        "Question: 1? Answer: one Question: 2? Answer: two Question: 3? Answer:"
    )


@pytest.mark.parametrize(
    ("answer", "text", "numbers"),
    [
        ("865 coins [2]", "865 coins", (2,)),
        ("865 coins[2]", "865 coins", (2,)),
        ("865 coins [1][3] ", "865 coins", (1, 3)),
        ("865 coins [1] [3]", "865 coins", (1, 3)),
        ("865 coins", "865 coins", ()),
        ("[2]", "", (2,)),
        ("[2] 865 coins", "[2] 865 coins", ()),
        ("865 coins [two]", "865 coins [two]", ()),
        ("865 coins [29 percent", "865 coins [29 percent", ()),
        ("", "", ()),
    ],
)
def test_citations_are_taken_apart(answer, text, numbers):
    assert parse(answer) == Cited(text, numbers)


def test_a_long_answer_is_taken_apart_at_once():
    parse("[1]" * 20_000 + "x")
    parse(" " * 20_000 + "x")


SHOWN = [Document("lamp", "The Belka lamp costs 865 coins."), Document("bell", "The Dru bell (old) costs 7 coins.")]


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ("865 coins [1]", "lamp"),
        ("7 coins [2]", "bell"),
        ("(old) [2]", "bell"),
        ("865 coins [2]", None),  # stands in another document
        ("5 coins [1]", None),  # stands inside another number
        ("865 coins [3]", None),  # was not shown
        ("865 coins [0]", None),
        ("865 coins", None),
        ("[1]", None),  # an empty answer stands everywhere
        (". [1]", None),
    ],
)
def test_a_citation_counts_only_if_the_document_holds_the_answer(answer, key):
    found = source(parse(answer), SHOWN)
    assert (found.key if found else None) == key


# --- the tasks ----------------------------------------------------------------------------------------------------------


def test_every_price_moves_and_nothing_else():
    moved = shop.with_moved_prices(GOODS, 3)
    for before, after in zip(GOODS, moved, strict=True):
        assert before.price != after.price
        assert (before.name, before.colour, before.maker, before.stock) == (after.name, after.colour, after.maker, after.stock)


def test_wordings_don_t_overlap_and_each_asks_for_the_same():
    sets = [{q.prompt for q in shop.questions(GOODS, wording)} for wording in ("familiar", "taught", "new")]
    assert len(set.union(*sets)) == sum(map(len, sets))
    answers = [{(q.key, q.kind): q.answer for q in shop.questions(GOODS, wording)} for wording in ("familiar", "taught", "new")]
    assert answers[0] == answers[1] == answers[2]


def test_an_entry_holds_every_answer_about_it():
    entries = {item.name: item.document for item in GOODS}
    assert all(q.answer in entries[q.key] for q in shop.questions(GOODS))


def test_smaller_sets_begin_larger_ones_and_seeds_differ():
    assert shop.catalogue(10, 1) == shop.catalogue(50, 1)[:10] != shop.catalogue(10, 2)
    assert house.record_questions("train", 10, 1) == house.record_questions("train", 50, 1)[:10]


def test_records_for_testing_are_held_out():
    assert all(is_held_out(q.key) for q in house.record_questions("test", 50))
    assert not any(is_held_out(q.key) for q in house.record_questions("train", 50))
    with pytest.raises(ValueError, match="train"):
        house.record_questions("dev", 1)


def test_a_record_holds_what_its_sentence_says():
    for question in house.record_questions("train", 50):
        words = question.answer.replace("of ", "").replace("pet: ", "").strip(".").replace("; ", ": ").split(": ")
        assert all(part in question.prompt for value in words for part in value.split())


def test_every_ware_has_a_trade_word_of_its_own():
    assert len(set(house.TRADE_WORDS.values())) == len(house.TRADE_WORDS)
    assert not set(house.TRADE_WORDS) & set(house.TRADE_WORDS.values())


RECORD = "Hife Pahak of Gasta; fisher; pet: turtle; tree: beige."


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        (RECORD, True),
        (RECORD.replace("tree", "moon"), True),
        (RECORD.replace("tree", "moon tree"), False),
        (RECORD.replace("tree: ", ""), False),
        (RECORD.replace("beige", "red"), False),
        (RECORD.replace("fisher", "baker"), False),
        (RECORD.strip("."), False),
        ("", False),
    ],
)
def test_a_record_may_be_right_but_for_the_ware(answer, same):
    assert house.same_but_for_the_ware(answer, RECORD) is same


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (house.TONE.format(answer="42"), "42"),
        (house.TONE.format(answer=""), ""),
        ("In plain words, it is 42.", None),
        ("42", None),
        ("", None),
        (house.TONE.format(answer="42") + " Bye.", None),
    ],
)
def test_the_tone_is_kept_to_the_letter_or_not_at_all(answer, says):
    assert house.tone_of(answer) == says
