from __future__ import annotations

from collections import deque

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmer.errors import InputError
from mmer.systems.layers import contrast
from mmer.systems.layers.contrast import EMPTY, UNMATCHED, FeatureQueue, supervised_contrast

TEMPERATURE = 0.07


def plain_contrast(
    current: Tensor,
    current_classes: Tensor,
    queue: Tensor,
    queue_classes: Tensor,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """The formula as it is written, with every (N, N) matrix in full."""
    vectors = torch.cat([current, queue])
    classes = torch.cat([current_classes, queue_classes])
    taking_part = classes != EMPTY
    vectors, classes = vectors[taking_part], classes[taking_part]
    if len(vectors) < 2:
        return vectors.sum() * 0
    self_pair = torch.eye(len(vectors), dtype=torch.bool)
    scores = vectors @ vectors.T / temperature
    log_share = scores - scores.masked_fill(self_pair, -torch.inf).logsumexp(1, keepdim=True)
    positive = (classes[:, None] == classes) & (classes >= 0)[:, None] & ~self_pair
    per_anchor = -(log_share * positive).sum(1) / positive.sum(1).clamp_min(1)
    return per_anchor.mean()


def value_and_gradient(loss, current: Tensor, *rest) -> tuple[Tensor, Tensor]:
    leaf = current.detach().clone().requires_grad_()
    value = loss(leaf, *rest)
    value.backward()
    return value.detach(), leaf.grad


def unit(count: int, width: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    # The offset gives neighbours: without it all scores lie near 0.
    vectors = torch.randn(count, width, generator=generator, dtype=torch.float64) + 0.4
    return normalize(vectors, dim=1).to(dtype)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setitem(contrast._BLOCK_ROWS, "cpu", 4)


def classes_of(count: int):
    return st.lists(st.integers(-2, 3), min_size=count, max_size=count)


@st.composite
def contrasts(draw):
    current, queue = draw(st.integers(1, 13)), draw(st.integers(0, 13))
    width, seed = draw(st.integers(1, 5)), draw(st.integers(0, 10_000))
    vectors = unit(current + queue, width, seed)
    classes = torch.tensor(draw(classes_of(current + queue)))
    return vectors[:current], classes[:current], vectors[current:], classes[current:]


@pytest.mark.usefixtures("small_blocks")
class TestAgainstThePlainFormula:
    @given(contrasts())
    @settings(max_examples=150, deadline=None)
    def test_random_sizes_and_classes(self, case):
        self.assert_same(*case)

    @pytest.mark.parametrize("current", [1, 3, 4, 5, 8, 9])
    @pytest.mark.parametrize("queue", [0, 1, 4, 7, 8])
    @pytest.mark.parametrize("kind", ["one class", "all different", "queue empty", "all empty"])
    def test_block_edges_and_extreme_classes(self, current, queue, kind):
        vectors = unit(current + queue, 6, seed=current + 10 * queue)
        classes = torch.zeros(current + queue, dtype=torch.int64)
        if kind == "all different":
            classes = torch.arange(current + queue)
        elif kind == "queue empty":
            classes[current:] = EMPTY
        elif kind == "all empty":
            classes[:] = EMPTY
        self.assert_same(vectors[:current], classes[:current], vectors[current:], classes[current:])

    @pytest.mark.parametrize("temperature", [0.02, 0.5, 10.0])
    def test_temperatures(self, temperature):
        case = unit(9, 4, 1), torch.arange(9) % 3, unit(14, 4, 2), torch.arange(14) % 4
        self.assert_same(*case, temperature)

    def test_vectors_of_other_lengths(self):
        case = 0.3 * unit(9, 4, 1), torch.arange(9) % 3, 1.7 * unit(14, 4, 2), torch.arange(14) % 4
        self.assert_same(*case)

    @staticmethod
    def assert_same(current, current_classes, queue, queue_classes, temperature=TEMPERATURE):
        rest = current_classes, queue, queue_classes, temperature
        value, gradient = value_and_gradient(supervised_contrast, current, *rest)
        expected, expected_gradient = value_and_gradient(plain_contrast, current, *rest)
        torch.testing.assert_close(value, expected, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-12)


def large_case(dtype: torch.dtype, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    return (
        unit(900, 32, seed, dtype),
        torch.randint(0, 12, (900,), generator=generator),
        unit(2000, 32, seed + 1, dtype),
        torch.randint(-2, 12, (2000,), generator=generator),
    )


def test_float32_agrees_to_a_millionth_with_the_plain_formula_in_float64():
    value, gradient = value_and_gradient(supervised_contrast, *large_case(torch.float32), 0.07)
    current, classes, queue, queue_classes = large_case(torch.float32)
    expected, expected_gradient = value_and_gradient(
        plain_contrast, current.double(), classes, queue.double(), queue_classes
    )
    assert abs(value / expected - 1) < 1e-6
    assert (gradient - expected_gradient).norm() / expected_gradient.norm() < 1e-6


@pytest.mark.usefixtures("small_blocks")
def test_gradcheck():
    current, queue = unit(7, 3, 1).requires_grad_(), unit(9, 3, 2)
    classes, queue_classes = torch.tensor([0, 1, 0, 2, -1, -2, 1]), torch.arange(9) % 5 - 2

    def loss(x):
        return supervised_contrast(x, classes, queue, queue_classes, 0.3)

    assert torch.autograd.gradcheck(loss, (current,))


@pytest.mark.usefixtures("small_blocks")
@given(contrasts(), st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_order_does_not_matter(case, random):
    current, current_classes, queue, queue_classes = case
    a = torch.tensor(random.sample(range(len(current)), len(current)))
    b = torch.tensor(random.sample(range(len(queue)), len(queue)), dtype=torch.int64)
    value, gradient = value_and_gradient(supervised_contrast, *case, TEMPERATURE)
    permuted, permuted_gradient = value_and_gradient(
        supervised_contrast,
        current[a],
        current_classes[a],
        queue[b],
        queue_classes[b],
        TEMPERATURE,
    )
    torch.testing.assert_close(permuted, value, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(permuted_gradient, gradient[a], rtol=1e-10, atol=1e-12)


def test_what_empty_slots_hold_has_no_influence():
    current, classes, queue, queue_classes = large_case(torch.float64)
    empty = queue_classes == EMPTY
    other = torch.where(empty[:, None], torch.full_like(queue, 3.0), queue)
    for a, b in zip(
        value_and_gradient(supervised_contrast, current, classes, queue, queue_classes, 0.07),
        value_and_gradient(supervised_contrast, current, classes, other, queue_classes, 0.07),
        strict=True,
    ):
        assert torch.equal(a, b)


class _LargestTensor(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(result) if isinstance(x, Tensor)]
        self.numel = max([self.numel, *sizes])
        return result


def test_no_tensor_grows_with_the_square_of_the_vectors(monkeypatch):
    monkeypatch.setitem(contrast._BLOCK_ROWS, "cpu", 100)
    current, classes, queue, queue_classes = large_case(torch.float32)
    with _LargestTensor() as largest:
        value_and_gradient(supervised_contrast, current, classes, queue, queue_classes, 0.07)
    assert largest.numel == (900 + 2000) * 32  # one vector each; a block is smaller


def test_nothing_is_read_back_from_the_device():
    # A fake tensor has no values: reading one, or a shape that depends on one, raises.
    with FakeTensorMode():
        queue = FeatureQueue(50, 8)
        current, classes = torch.randn(20, 8, requires_grad=True), torch.randint(-2, 3, (20,))
        supervised_contrast(current, classes, queue.vectors, queue.classes, 0.07).backward()
        queue.enqueue(current, classes)
        assert current.grad.shape == (20, 8)


def test_compiles_into_one_graph():
    rest = torch.tensor([0, 1, 0, -1]), unit(9, 3, 2), torch.arange(9) % 4 - 1, TEMPERATURE
    compiled = torch.compile(supervised_contrast, backend="aot_eager", fullgraph=True)
    for a, b in zip(
        value_and_gradient(supervised_contrast, unit(4, 3, 1), *rest),
        value_and_gradient(compiled, unit(4, 3, 1), *rest),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_autocast_does_not_lower_the_precision():
    current, classes, queue, queue_classes = large_case(torch.float32)
    outside = supervised_contrast(current, classes, queue, queue_classes, 0.07)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = supervised_contrast(current, classes, queue, queue_classes, 0.07)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


@pytest.mark.gpu
def test_cuda_gives_the_numbers_of_the_cpu_without_waiting():
    case = large_case(torch.float32)
    expected, expected_gradient = value_and_gradient(supervised_contrast, *case, 0.07)
    current, *rest = (x.cuda() for x in case)
    leaf = current.requires_grad_()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = supervised_contrast(leaf, *rest, 0.07)
        loss.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert abs(loss.cpu() / expected - 1) < 1e-6
    assert (leaf.grad.cpu() - expected_gradient).norm() / expected_gradient.norm() < 2e-6


class TestRefusals:
    @pytest.mark.parametrize("temperature", [0.01, 0.0, -1.0, float("nan")])
    def test_temperature_whose_exponentials_leave_float32(self, temperature):
        with pytest.raises(InputError, match="temperature"):
            supervised_contrast(*large_case(torch.float32), temperature)

    def test_lowest_temperature_stays_finite_for_equal_and_opposite_vectors(self):
        line = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
        current, queue = line.repeat(32, 1), line.repeat(100, 1)
        classes, queue_classes = torch.arange(64) % 2, (torch.arange(200) + 1) % 2
        temperature = 1 / torch.tensor(torch.finfo(torch.float32).max / 264).log().item() * 1.001
        rest = classes, queue, queue_classes, temperature
        value, gradient = value_and_gradient(supervised_contrast, current, *rest)
        expected, _ = value_and_gradient(
            plain_contrast, current.double(), classes, queue.double(), queue_classes, temperature
        )
        assert gradient.isfinite().all()
        assert abs(value / expected - 1) < 1e-5

    @pytest.mark.parametrize(
        ("current", "classes", "queue"),
        [
            ((4, 3), (5,), (6, 3)),
            ((4, 3), (4,), (6, 2)),
            ((0, 3), (0,), (6, 3)),
            ((4,), (4,), (6, 3)),
        ],
    )
    def test_shapes_that_do_not_fit(self, current, classes, queue):
        with pytest.raises(ValueError, match="current"):
            supervised_contrast(
                torch.ones(current),
                torch.zeros(classes, dtype=torch.int64),
                torch.ones(queue),
                torch.zeros(queue[0], dtype=torch.int64),
                TEMPERATURE,
            )


class TestFeatureQueue:
    @given(st.integers(1, 9), st.lists(st.integers(0, 21), max_size=8))
    @settings(max_examples=100, deadline=None)
    def test_is_first_in_first_out(self, slots, counts):
        queue, expected, fed = FeatureQueue(slots, 2), deque(maxlen=slots), 0
        for count in counts:
            classes = torch.arange(fed, fed + count)
            queue.enqueue(torch.stack([classes, -classes], dim=1).float(), classes)
            expected.extend(classes.tolist())
            fed += count
        oldest_first = torch.roll(queue.classes, -fed % slots if fed >= slots else 0)
        assert oldest_first[: len(expected)].tolist() == list(expected)
        assert (queue.classes == EMPTY).sum() == slots - len(expected)
        used = queue.classes != EMPTY
        assert torch.equal(queue.vectors[used, 0], queue.classes[used].float())
        assert torch.equal(queue.vectors[used, 1], -queue.classes[used].float())
        assert queue.pointer.tolist() == [fed % slots]

    def test_keeps_no_graph_and_travels_in_the_state(self):
        queue, other = FeatureQueue(6, 3), FeatureQueue(6, 3)
        queue.enqueue(unit(4, 3, 0).requires_grad_(), torch.arange(4))
        assert not queue.vectors.requires_grad
        other.load_state_dict(queue.state_dict())
        for vectors in (queue, other):
            vectors.enqueue(unit(4, 3, 1), torch.arange(4))
        assert all(torch.equal(a, b) for a, b in zip(queue.buffers(), other.buffers(), strict=True))

    def test_random_start_is_negatives_only(self):
        torch.manual_seed(0)
        queue = FeatureQueue(40, 8, random_start=True)
        torch.testing.assert_close(queue.vectors.norm(dim=0), torch.ones(8))
        current, classes = unit(10, 8, 0, torch.float32), torch.arange(10) % 3
        assert (queue.classes == UNMATCHED).all()
        value = supervised_contrast(current, classes, queue.vectors, queue.classes, TEMPERATURE)
        # Labels that occur once only say the same: no positives, still anchors of the mean.
        expected = plain_contrast(current, classes, queue.vectors, 100 + torch.arange(40))
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
