"""Several adapters on one base: each is itself when it is switched on, and a combination is what its recipe says."""

import warnings

import pytest
import torch
from test_merge import make_adapter, make_base, merge_to
from transformers import AutoModelForCausalLM

from course_lib.errors import CourseError
from course_lib.lora.combine import METHODS, SPARSE, add_adapters, combine, ingredients, updates_of
from course_lib.lora.merge import probe_tokens


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A base with two adapters of one rank and a third of another."""
    shelf = tmp_path_factory.mktemp("two")
    base = make_base(shelf / "base")
    for seed, (name, rank) in enumerate({"one": 4, "two": 4, "wide": 6}.items(), 1):
        make_adapter(shelf / name, base, seed=seed, r=rank)
    return shelf


def load(shelf, *names):
    model = AutoModelForCausalLM.from_pretrained(shelf / "base", dtype=torch.float32)
    return add_adapters(model, shelf / "base", {name: shelf / name for name in names})


@pytest.fixture
def adapted(shelf):
    return load(shelf, "one", "two", "wide")


def logits(model):
    with torch.inference_mode():
        return model(input_ids=probe_tokens(model.get_input_embeddings().weight.shape[0])).logits


def layers(model):
    return [module for module in model.modules() if hasattr(module, "lora_A")]


def updates(model, name):
    return list(updates_of(model, name).values())


def distance(found, wanted):
    """Largest difference between two lists of matrices, as a share of the largest number wanted."""
    gaps = [(a - b).abs().max().item() for a, b in zip(found, wanted, strict=True)]
    return max(gaps) / max(matrix.abs().max().item() for matrix in wanted)


def test_switched_is_the_same_as_loaded_alone_and_the_first_is_on(shelf, adapted):
    alone = {name: logits(load(shelf, name)) for name in ("one", "two", "wide")}
    assert torch.equal(logits(adapted), alone["one"])
    for name in ("two", "wide", "one"):
        adapted.set_adapter(name)
        assert torch.equal(logits(adapted), alone[name])
    with adapted.disable_adapter():
        base = logits(AutoModelForCausalLM.from_pretrained(shelf / "base", dtype=torch.float32))
        assert torch.equal(logits(adapted), base)
    assert not adapted.training


def test_cat_is_the_weighted_sum_of_the_updates_also_of_different_ranks(adapted):
    combine(adapted, ["one", "two", "wide"], "cat", weights=[1, 0.5, -2])
    wanted = [a + 0.5 * b - 2 * c for a, b, c in zip(*(updates(adapted, n) for n in ("one", "two", "wide")), strict=True)]
    assert distance(updates(adapted, "combined"), wanted) < 1e-6
    assert adapted.peft_config["combined"].r == 4 + 4 + 6


def test_an_update_is_alpha_over_r_times_b_a(adapted):
    found = updates_of(adapted, "wide")
    assert len(found) == len(layers(adapted))
    for name, update in found.items():
        layer = adapted.get_submodule(name)
        assert torch.allclose(update, 16 / 6 * layer.lora_B["wide"].weight @ layer.lora_A["wide"].weight, atol=1e-6)
    with pytest.raises(CourseError, match="no adapter 'three'"):
        updates_of(adapted, "three")


def test_ingredients_of_a_sum_are_its_weights_and_nothing_foreign(adapted):
    combine(adapted, ["one", "two"], "cat", weights=[1, -0.5])
    found = ingredients(adapted, "combined", ["one", "two"])
    assert found.parts == pytest.approx({"one": 1, "two": -0.5}, abs=1e-5)
    assert found.foreign < 1e-9
    assert ingredients(adapted, "one", ["one", "two"]).parts == pytest.approx({"one": 1, "two": 0}, abs=1e-9)
    alone = ingredients(adapted, "wide", ["one", "two"])
    assert alone.foreign > 0.9  # of random updates, none is a mixture of the others
    assert all(abs(part) < 0.3 for part in alone.parts.values())


def test_ingredients_of_a_silent_adapter_are_none(shelf, tmp_path):
    make_adapter(tmp_path / "silent", shelf / "base", size=0)
    model = AutoModelForCausalLM.from_pretrained(shelf / "base", dtype=torch.float32)
    adapted = add_adapters(model, shelf / "base", {"one": shelf / "one", "silent": tmp_path / "silent"})
    found = ingredients(adapted, "silent", ["one"])
    assert found.parts == pytest.approx({"one": 0})
    assert found.foreign == 0
    assert ingredients(adapted, "one", ["silent"]).foreign == 1
    with pytest.raises(CourseError, match="no adapter 'gone'"):
        ingredients(adapted, "one", ["gone"])


def test_linear_holds_its_parts_and_something_foreign(adapted):
    combine(adapted, ["one", "two"], "linear")
    assert ingredients(adapted, "combined", ["one", "two"]).foreign > 0.1


def test_the_combination_is_switched_on_and_can_be_merged(adapted):
    combine(adapted, ["one", "two"], "cat")
    before = logits(adapted)
    assert (logits(adapted.merge_and_unload()) - before).abs().max() < 1e-4 * before.abs().max()


def test_cat_is_merging_one_after_the_other(shelf, adapted, tmp_path):
    from peft import PeftModel

    once = merge_to(shelf / "base", shelf / "one", tmp_path / "once")
    model = AutoModelForCausalLM.from_pretrained(once, dtype=torch.float32)
    combine(adapted, ["one", "two"], "cat")
    expected = logits(PeftModel.from_pretrained(model, shelf / "two").eval())
    assert (logits(adapted) - expected).abs().max() < 0.06 * expected.abs().max()  # `once` is rounded to bfloat16


def test_linear_mixes_factors_and_so_brings_in_cross_products(adapted):
    combine(adapted, ["one", "two"], "linear")
    total = [a + b for a, b in zip(updates(adapted, "one"), updates(adapted, "two"), strict=True)]
    cross = [
        layer.scaling["one"]
        * (layer.lora_B["one"].weight @ layer.lora_A["two"].weight + layer.lora_B["two"].weight @ layer.lora_A["one"].weight)
        for layer in layers(adapted)
    ]
    found = updates(adapted, "combined")
    assert distance(found, [a + b for a, b in zip(total, cross, strict=True)]) < 1e-5
    assert distance(found, total) > 0.1


def test_linear_of_a_part_with_weight_zero_is_the_other(adapted):
    combine(adapted, ["one", "two"], "linear", weights=[1, 0])
    assert distance(updates(adapted, "combined"), updates(adapted, "one")) < 1e-6


@pytest.mark.parametrize("method", SPARSE)
def test_density_one_drops_nothing_and_says_nothing(adapted, method):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        combine(adapted, ["one", "two"], method, density=1)
        whole = updates(adapted, "combined")
        combine(adapted, ["one", "two"], method, density=0.3)
    assert distance(updates(adapted, "combined"), whole) > 0.1


def test_a_combination_of_the_same_name_is_replaced(adapted):
    """PEFT itself would keep the first one, without a word."""
    combine(adapted, ["one", "two"], "cat")
    first = logits(adapted)
    combine(adapted, ["one", "two"], "cat", weights=[1, -1])
    assert not torch.equal(logits(adapted), first)


def test_dare_depends_on_its_seed_and_leaves_other_dice_alone(adapted):
    def thrown(seed):
        combine(adapted, ["one", "two"], "dare_linear", density=0.5, seed=seed)
        return logits(adapted)

    torch.manual_seed(7)
    wanted = torch.rand(3)
    torch.manual_seed(7)
    first = thrown(1)
    assert torch.equal(torch.rand(3), wanted)
    assert torch.equal(first, thrown(1))
    assert not torch.equal(first, thrown(2))


@pytest.mark.parametrize("method", METHODS)
def test_parts_stay_as_they_were(shelf, adapted, method):
    combine(adapted, ["one", "two"], method)
    for name in ("one", "two"):
        adapted.set_adapter(name)
        assert torch.equal(logits(adapted), logits(load(shelf, name)))


@pytest.mark.parametrize(
    ("arguments", "settings", "match"),
    [
        ((["one", "two"], "soup"), {}, "'soup'.*cat, linear"),
        ((["one", "three"], "cat"), {}, "no adapter 'three'.*one, two"),
        ((["one"], "cat"), {}, "at least two"),
        (([], "cat"), {}, "at least two"),
        ((["one", "one"], "cat"), {}, "different"),
        ((["one", "two"], "cat"), {"weights": [1]}, "2 weights, not 1"),
        ((["one", "two"], "cat"), {"name": "one"}, "like one of its parts"),
        ((["one", "two"], "ties"), {"density": 0}, "density"),
        ((["one", "two"], "dare_ties"), {"density": 1.5}, "density"),
        ((["one", "two"], "dare_linear"), {"density": float("nan")}, "density"),
        ((["one", "wide"], "linear"), {}, "4, 6: use cat"),
    ],
)
def test_what_cannot_be_combined_is_refused_and_nothing_changes(adapted, arguments, settings, match):
    before = logits(adapted)
    with pytest.raises(CourseError, match=match) as caught:
        combine(adapted, *arguments, **settings)
    assert "\n" not in str(caught.value)
    assert torch.equal(logits(adapted), before)
    assert set(adapted.peft_config) == {"one", "two", "wide"}


def test_an_adapter_of_another_base_is_refused(shelf, tmp_path):
    other = make_base(tmp_path / "other", seed=9)
    model = AutoModelForCausalLM.from_pretrained(other, dtype=torch.float32)
    with pytest.raises(CourseError, match="other weights"):
        add_adapters(model, other, {"one": shelf / "one"})
    assert not layers(model)
    with pytest.raises(CourseError, match="at least one"):
        add_adapters(model, other, {})
