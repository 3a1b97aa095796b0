"""The head is applied only where a loss falls: the same loss and gradients as the model's own."""

import pytest
import torch
from peft import LoraConfig, get_peft_model

from course_lib.models.loading import WREN, load_model
from course_lib.training.losses import NO_LOSS, answer_loss, head_where_loss_falls, without_idle_mask


def a_batch(share: float) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(5, 400, (3, 20), generator=generator)
    labels = ids.masked_fill(torch.rand(ids.shape, generator=generator) >= share, NO_LOSS)
    mask = torch.ones_like(ids)
    mask[0, 15:], labels[0, 15:] = 0, NO_LOSS
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def a_model(adapter: bool):
    torch.manual_seed(0)
    model = load_model(WREN)
    if not adapter:
        return model.train()
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "down_proj", "lm_head"], init_lora_weights=False)
    return get_peft_model(model, config).train()


def gradients(model, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("adapter", [True, False])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_loss_and_gradients_are_the_models_own(adapter, share):
    model, batch = a_model(adapter), a_batch(share)
    own = model(**batch, use_cache=False).loss
    expected = gradients(model, own)
    labels = batch.pop("labels")
    count = (labels[:, 1:] != NO_LOSS).sum()
    with head_where_loss_falls(model, labels):
        outputs = model(**batch, use_cache=False)
        loss = answer_loss(outputs, labels, count)
    assert outputs.logits.shape == (count, model.config.vocab_size), "nothing is computed that carries no loss"
    assert torch.allclose(loss, own, rtol=1e-5)
    assert torch.allclose(answer_loss(outputs, labels), own, rtol=1e-5)
    found = gradients(model, loss)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(gradient, found[name], rtol=1e-3, atol=1e-6), name


def test_the_head_is_as_before_when_the_block_ends():
    model, batch = a_model(True), a_batch(0.3)
    labels = batch.pop("labels")
    with pytest.raises(ZeroDivisionError), head_where_loss_falls(model, labels):
        raise ZeroDivisionError
    assert model(**batch).logits.shape == (*labels.shape, model.config.vocab_size)


def test_a_batch_without_labels_has_no_loss():
    model, batch = a_model(True), a_batch(0.0)
    labels = batch.pop("labels")
    with head_where_loss_falls(model, labels):
        loss = answer_loss(model(**batch, use_cache=False), labels)
    assert loss.item() == 0
    assert all(not gradient.any() for gradient in gradients(model, loss).values())


def test_padding_on_the_right_needs_no_mask():
    model, batch = a_model(True), a_batch(0.3)
    labels = batch["labels"]
    assert not batch["attention_mask"].all()
    spared = without_idle_mask(batch)
    assert spared.keys() == batch.keys() - {"attention_mask"}
    seen = labels != NO_LOSS
    logits = [model(**inputs, use_cache=False).logits[seen] for inputs in (batch, spared)]
    assert torch.allclose(*logits, atol=1e-4)


def test_any_other_mask_stays():
    batch = a_batch(0.3)
    for hidden in (slice(0, 4), slice(5, 9)):
        mask = torch.ones_like(batch["input_ids"])
        mask[1, hidden] = 0
        kept = without_idle_mask(batch | {"attention_mask": mask})
        assert kept["attention_mask"] is mask
    assert without_idle_mask({"input_ids": batch["input_ids"]}).keys() == {"input_ids"}
