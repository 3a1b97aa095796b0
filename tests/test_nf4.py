"""NF4 from scratch against bitsandbytes, and against what quantisation has to keep."""

import logging

import pytest
import torch

logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

import bitsandbytes.functional as bnb  # noqa: E402

from course_lib.errors import CourseError  # noqa: E402
from course_lib.lora import nf4  # noqa: E402
from course_lib.models.loading import WREN, load_model  # noqa: E402

LEVELS = nf4.nf4_levels()


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- levels ------------------------------------------------------------------------------------------------------------


def test_the_levels_are_bitsandbytes_own():
    torch.testing.assert_close(LEVELS, bnb.get_4bit_type("nf4", device="cpu"), rtol=0, atol=1e-6)
    assert torch.equal(nf4.dynamic_levels(), bnb.create_dynamic_map())


@pytest.mark.parametrize("levels", [LEVELS, nf4.dynamic_levels(), nf4.uniform_levels()], ids=["nf4", "dynamic", "uniform"])
def test_levels_rise_and_end_at_one(levels):
    assert levels.dtype == torch.float32
    assert (levels[1:] > levels[:-1]).all()
    assert levels[-1] == 1
    assert levels[0] >= -1


def test_zero_is_a_level_of_nf4_with_seven_below_it():
    assert LEVELS[7] == 0
    assert len(LEVELS) == 16


# -- blocks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [32, 64, 256, 4096])
@pytest.mark.parametrize("shape", [(64, 64), (3, 128), (2, 4096), (1, 96), (7, 10)], ids=str)
def test_codes_scales_and_values_are_bitsandbytes_own(shape, block):
    weight = normal(*shape)
    codes, scales = nf4.quantise(weight, LEVELS, block)
    packed, state = bnb.quantize_4bit(weight, blocksize=block, quant_type="nf4")
    assert torch.equal(nf4.pack(codes), packed.flatten())
    assert torch.equal(scales, state.absmax)
    if shape[1] % block == 0:  # else bitsandbytes 0.50 restores wrong values on CPUs with AVX512: it takes blocks row by row
        torch.testing.assert_close(nf4.rounded(weight, LEVELS, block), bnb.dequantize_4bit(packed, state), rtol=0, atol=2e-6)


def test_every_matrix_of_wren_gets_bitsandbytes_bytes(wren):
    for name, weight in wren[0].named_parameters():
        if weight.ndim == 2 and ".layers." in name:
            packed, _ = bnb.quantize_4bit(weight.detach(), blocksize=64, quant_type="nf4")
            assert torch.equal(nf4.pack(nf4.quantise(weight, LEVELS)[0]), packed.flatten()), name


def test_uniform_levels_in_place_of_nf4_give_other_bytes():
    weight = normal(64, 64)
    packed, _ = bnb.quantize_4bit(weight, blocksize=64, quant_type="nf4")
    assert not torch.equal(nf4.pack(nf4.quantise(weight, nf4.uniform_levels())[0]), packed.flatten())


def test_each_code_is_the_nearest_level():
    weight = normal(512)
    codes, scales = nf4.quantise(weight, LEVELS)
    distance = (weight.reshape(-1, 64, 1) / scales[:, None, None] - LEVELS).abs().reshape(512, 16)
    assert torch.equal(distance.argmin(dim=1), codes.long())


def test_the_largest_of_a_block_stays_exact_whatever_its_sign():
    weight = normal(64)
    for sign in (1, -1):
        weight[5] = sign * 9.0
        assert nf4.rounded(weight, LEVELS)[5] == sign * 9


@pytest.mark.parametrize("value", [0.0, 1e-30, 1e30, -2.0])
def test_a_block_of_one_value_survives(value):
    weight = torch.full((64,), value)
    torch.testing.assert_close(nf4.rounded(weight, LEVELS), weight)


def test_zeros_among_others_stay_zero():
    weight = normal(64)
    weight[::3] = 0
    assert (nf4.rounded(weight, LEVELS)[::3] == 0).all()


def test_a_short_last_block_has_a_scale_of_its_own():
    weight = torch.cat([torch.full((64,), 100.0), torch.tensor([0.5, -1.0])])
    codes, scales = nf4.quantise(weight, LEVELS)
    assert len(codes) == 66
    assert scales.tolist() == [100, 1]


def test_16_bit_weights_are_taken_as_they_are():
    weight = normal(4, 64).bfloat16()
    assert torch.equal(nf4.rounded(weight, LEVELS), nf4.rounded(weight.float(), LEVELS))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_refused(bad):
    weight = normal(64)
    weight[3] = bad
    with pytest.raises(CourseError, match="finite"):
        nf4.quantise(weight, LEVELS)


@pytest.mark.parametrize("block", [0, -64])
def test_an_impossible_block_is_refused(block):
    with pytest.raises(CourseError, match="block"):
        nf4.quantise(normal(64), LEVELS, block)


def test_quantising_leaves_the_weight_alone():
    weight = torch.nn.Parameter(normal(2, 64))
    before = weight.detach().clone()
    assert not nf4.rounded(weight, LEVELS).requires_grad
    assert torch.equal(weight, before)


@pytest.mark.parametrize("count", [1, 2, 63, 64])
def test_packing_is_undone_by_unpacking(count):
    codes = torch.randint(0, 16, (count,), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    packed = nf4.pack(codes)
    assert len(packed) == -(-count // 2)
    assert torch.equal(nf4.unpack(packed, count), codes)


def test_the_first_code_lies_in_the_high_half():
    assert nf4.pack(torch.tensor([1, 2], dtype=torch.uint8)).tolist() == [0x12]


def test_the_error_is_a_share_and_scale_free():
    weight = normal(64, 64)
    error = nf4.relative_error(weight, LEVELS)
    assert 0.05 < error < 0.15
    assert nf4.relative_error(1000 * weight, LEVELS) == pytest.approx(error, rel=1e-4)


# -- double quantisation -----------------------------------------------------------------------------------------------


def test_scales_in_8_bits_are_bitsandbytes_own_but_for_near_ties():
    weight = normal(256, 256)
    scales = nf4.quantise_scales(nf4.quantise(weight, LEVELS)[1])
    _, state = bnb.quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=True)
    apart = (scales.codes.int() - state.absmax.int()).abs()
    assert (apart == 0).float().mean() > 0.99
    assert apart.max() <= 1
    torch.testing.assert_close(scales.scales, state.state2.absmax)
    torch.testing.assert_close(scales.mean, state.offset)


def test_restored_scales_are_near_and_equal_ones_exact():
    scales = nf4.quantise(normal(256, 256), LEVELS)[1]
    torch.testing.assert_close(nf4.quantise_scales(scales).restored(), scales, rtol=0.02, atol=0)
    equal = torch.full((300,), 0.25)
    torch.testing.assert_close(nf4.quantise_scales(equal).restored(), equal)


def test_a_model_loaded_in_4_bits_holds_the_values_built_here():
    loaded = dict(load_model(WREN, four_bit=True).named_parameters())
    plain = dict(load_model(WREN).named_parameters())
    name = next(name for name in loaded if name.endswith("q_proj.weight"))
    codes, scales = nf4.quantise(plain[name], LEVELS)
    restored = nf4.dequantise(codes, nf4.quantise_scales(scales).restored(), LEVELS).reshape(plain[name].shape)
    theirs = bnb.dequantize_4bit(loaded[name].data, loaded[name].quant_state)
    assert ((restored - theirs).norm() / theirs.norm()) < 1e-3


def test_bits_are_counted_as_the_paper_counts_them():
    assert nf4.bits_per_weight(double=False) == 4.5
    assert nf4.bits_per_weight() == pytest.approx(4.127, abs=5e-4)
    assert nf4.bits_per_weight(4096, double=False) < nf4.bits_per_weight()
