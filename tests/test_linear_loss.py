"""The fused head and loss against cross-entropy on all logits, forward and backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from weft.config.schema import LoraConfig
from weft.models.adapters import add_lora
from weft.models.parts import Head, split_model
from weft.objectives import cross_entropy, linear_loss
from weft.objectives.cross_entropy import head_loss

torch.set_num_threads(1)  # on tensors this small, threads only wait for each other

ROWS, HIDDEN, VOCABULARY = 50, 24, 83


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(linear_loss, "TARGETS_AT_ONCE", 16)


def reference(head: Head, hidden: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    logits = F.linear(hidden, head.module.weight, head.module.bias) * head.scale
    if head.soft_cap is not None:
        logits = head.soft_cap * torch.tanh(logits / head.soft_cap)
    return F.cross_entropy(logits.float(), labels, reduction="none") @ weights


def inputs(count: int = ROWS, *, bias: bool = False, seed: int = 0) -> tuple[nn.Linear, Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    hidden = torch.randn(count, HIDDEN, requires_grad=True)
    weights = torch.tensor([0.25, 1.0, 2.0])[torch.randint(3, (count,))]
    return nn.Linear(HIDDEN, VOCABULARY, bias=bias), hidden, torch.randint(VOCABULARY, (count,)), weights


def assert_same(head: Head, hidden: Tensor, labels: Tensor, weights: Tensor, tolerance: float = 1e-5) -> None:
    """Loss and gradients, relative to the largest; the loss is multiplied, as the loop does."""
    leaves = [leaf for leaf in (hidden, *head.module.parameters()) if leaf.requires_grad]
    expected = reference(head, hidden, labels, weights)
    wanted = torch.autograd.grad(expected * 0.3, leaves)
    actual = head_loss(head, hidden, labels, weights)
    found = torch.autograd.grad(actual * 0.3, leaves)
    assert actual.dtype == torch.float32
    assert actual.shape == ()
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert (one - other).norm() <= tolerance * other.norm()


@pytest.mark.parametrize("count", [1, 15, 16, 17, 32, 50])
def test_at_every_border_of_a_chunk(count):
    linear, *rest = inputs(count)
    assert_same(Head(module=linear), *rest)


@pytest.mark.parametrize(
    "transforms", [{"scale": 0.25}, {"soft_cap": 1.5}, {"scale": 3.0, "soft_cap": 2.0}], ids=["scale", "cap", "both"]
)
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
def test_bias_scale_and_soft_cap(bias, transforms):
    linear, *rest = inputs(bias=bias)
    assert_same(Head(module=linear, **transforms), *rest)


@pytest.mark.parametrize("share", [0.2, 0.8, 1.0])
def test_targets_among_context(share):
    """The states of the targets are selected from a row, whose other states get a zero gradient."""
    linear, _, labels, weights = inputs()
    row = torch.randn(ROWS, HIDDEN, requires_grad=True)
    targets = torch.randperm(ROWS)[: int(share * ROWS)].sort().values
    head = Head(module=linear)
    (expected,) = torch.autograd.grad(reference(head, row[targets], labels[targets], weights[targets]), row)
    (actual,) = torch.autograd.grad(
        head_loss(head, row.index_select(0, targets), labels[targets], weights[targets]), row
    )
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)


def test_without_targets_everything_is_zero_and_finite():
    linear, hidden, labels, weights = inputs(0, bias=True)
    loss = head_loss(Head(module=linear), hidden, labels, weights)
    loss.backward()
    assert loss.item() == 0
    assert hidden.grad.shape == (0, HIDDEN)
    assert linear.weight.grad.count_nonzero() == linear.bias.grad.count_nonzero() == 0


def test_tied_weights_get_both_gradients():
    linear, _, labels, weights = inputs()
    ids, head = torch.randint(VOCABULARY, (ROWS,)), Head(module=linear)

    def states() -> Tensor:
        return F.embedding(ids, linear.weight).tanh()

    (expected,) = torch.autograd.grad(reference(head, states(), labels, weights), linear.weight)
    (actual,) = torch.autograd.grad(head_loss(head, states(), labels, weights), linear.weight)
    assert (actual - expected).norm() <= 1e-5 * expected.norm()


@pytest.fixture
def products(monkeypatch) -> list[tuple[int, ...]]:
    """The shapes of all matrix products of the kernel."""
    shapes: list[tuple[int, ...]] = []
    multiply, add_product = torch.mm, linear_loss._add_product

    def counting(left, right, **options):
        shapes.append((*left.shape, right.shape[1]))
        return multiply(left, right, **options)

    def counting_sum(total, left, right):
        shapes.append((*left.shape, right.shape[1]))
        return add_product(total, left, right)

    monkeypatch.setattr(linear_loss.torch, "mm", counting)
    monkeypatch.setattr(linear_loss, "_add_product", counting_sum)
    return shapes


def test_a_frozen_head_costs_two_products_of_three(products):
    linear, *rest = inputs(10)
    head_loss(Head(module=linear), *rest)
    assert products == [(10, HIDDEN, VOCABULARY), (10, VOCABULARY, HIDDEN), (VOCABULARY, 10, HIDDEN)]
    products.clear()
    linear.requires_grad_(False)
    head_loss(Head(module=linear), *rest)
    assert products == [(10, HIDDEN, VOCABULARY), (10, VOCABULARY, HIDDEN)]


def test_without_gradients_only_logits_are_computed(products):
    linear, *rest = inputs(10)
    head = Head(module=linear, soft_cap=2.0)
    with torch.no_grad():
        loss = head_loss(head, *rest)
    assert products == [(10, HIDDEN, VOCABULARY)]
    assert loss.item() == pytest.approx(reference(head, *rest).item(), rel=1e-5)


def test_a_frozen_body_gets_no_gradient():
    linear, hidden, labels, weights = inputs()
    assert_same(Head(module=linear), hidden.detach(), labels, weights)


@pytest.mark.parametrize("soft_cap", [None, 2.0])
def test_half_precision_sums_in_single_precision(soft_cap):
    """Against the same half-precision inputs computed in double precision: only products are rounded."""
    linear, hidden, labels, weights = inputs()
    linear, hidden = linear.bfloat16(), hidden.detach().bfloat16().requires_grad_()
    exact = Head(module=nn.Linear(HIDDEN, VOCABULARY, bias=False).double(), soft_cap=soft_cap)
    exact.module.weight.data = linear.weight.data.double()
    wide = hidden.detach().double().requires_grad_()
    logits = exact(wide)
    expected = F.cross_entropy(logits, labels, reduction="none") @ weights.double()
    expected.backward()
    loss = head_loss(Head(module=linear, soft_cap=soft_cap), hidden, labels, weights)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=3e-3)
    assert hidden.grad.dtype == linear.weight.grad.dtype == torch.bfloat16
    assert (hidden.grad - wide.grad).norm() <= 1e-2 * wide.grad.norm()
    assert (linear.weight.grad - exact.module.weight.grad).norm() <= 1e-2 * exact.module.weight.grad.norm()


def test_under_autocast_weights_stay_single_precision():
    linear, hidden, labels, weights = inputs(bias=True)
    head = Head(module=linear)
    expected = torch.autograd.grad(reference(head, hidden, labels, weights), (hidden, linear.weight, linear.bias))
    with torch.autocast("cpu", torch.bfloat16):
        loss = head_loss(head, hidden, labels, weights)
        generic = F.cross_entropy(head(hidden).float(), labels, reduction="none").mul(weights).sum()
    found = torch.autograd.grad(loss, (hidden, linear.weight, linear.bias))
    assert loss.item() == pytest.approx(generic.item(), rel=1e-5)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() <= 1e-2 * other.norm()


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 40), chunk=st.integers(1, 41), cap=st.sampled_from([None, 0.7, 5.0]), seed=st.integers(0, 999)
)
def test_for_any_size_of_chunk(count, chunk, cap, seed):
    linear, *rest = inputs(count, bias=bool(seed % 2), seed=seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_loss, "TARGETS_AT_ONCE", chunk)
        assert_same(Head(module=linear, scale=1 + seed / 500, soft_cap=cap), *rest)


def tiny_llama(**lora) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            tie_word_embeddings=False,
        )
    )
    return add_lora(model, LoraConfig(r=4, dropout=0.0, **lora), seed=1)


def test_only_a_plain_linear_layer_is_taken_apart():
    plain = tiny_llama()
    assert split_model(plain).head.linear is plain.get_base_model().lm_head
    assert split_model(tiny_llama(target_modules=["lm_head"])).head.linear is None
    hooked = nn.Linear(2, 3)
    hooked.register_forward_pre_hook(lambda module, args: None)
    assert Head(module=hooked).linear is None
    assert Head(module=nn.Identity()).linear is None


def test_an_adapter_on_the_head_is_trained_chunk_by_chunk(monkeypatch):
    model = tiny_llama(target_modules=["lm_head", "q_proj"])
    head = split_model(model).head
    trained = [weight for weight in head.module.parameters() if weight.requires_grad]
    for weight in trained:
        nn.init.normal_(weight, std=0.3)
    _, hidden, labels, weights = inputs()
    leaves = [hidden, *trained]
    expected = F.cross_entropy(head(hidden), labels, reduction="none") @ weights
    wanted = torch.autograd.grad(expected, leaves)
    monkeypatch.setattr(cross_entropy, "TARGETS_AT_ONCE", 16)
    loss = head_loss(head, hidden, labels, weights)
    assert len(trained) == 2
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for one, other in zip(torch.autograd.grad(loss, leaves), wanted, strict=True):
        assert (one - other).norm() <= 1e-5 * other.norm()


def test_a_target_of_no_probability_has_a_finite_loss():
    """Its probability underflows to 0 in single precision; its logarithm is −200."""
    linear = nn.Linear(1, 2, bias=False)
    linear.weight.data = torch.tensor([[200.0], [0.0]])
    hidden = torch.ones(1, 1, requires_grad=True)
    loss = head_loss(Head(module=linear), hidden, torch.tensor([1]), torch.ones(1))
    loss.backward()
    assert loss.item() == 200
    assert hidden.grad.item() == 200
    assert linear.weight.grad.tolist() == [[1], [-1]]
