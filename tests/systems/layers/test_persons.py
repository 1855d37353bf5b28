"""The target's context among others' steps: what it depends on, and what it does not."""

from __future__ import annotations

import pytest
import torch

from mmer.samples.batches import StepPersons
from mmer.samples.table import Persons
from mmer.systems.layers.persons import PersonContext, PersonSteps, Traits

KNOWN = Persons(names=("a", "b", "c"), traits=((1.0, 7.0), (2.0, 7.0), (6.0, 7.0)))
# Sample 0: the target, 0, has a step in segment 0 and none in segment 1; person 2 is in both.
PERSONS = torch.tensor([[0, 1, 2, 1, 2], [1, 1, 0, 0, 0]])
SEGMENTS = torch.tensor([[0, 0, 0, 1, 1], [0, 2, 0, 0, 0]])
MASK = torch.tensor([[True] * 5, [True, True, False, False, False]])
TARGET = torch.tensor([0, 1])


@pytest.fixture
def context():
    torch.manual_seed(0)
    return PersonContext(4, 2, 8, 0.1).eval()


@pytest.fixture
def steps():
    return torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1))


def whose(persons=PERSONS, segments=SEGMENTS, target=TARGET, mask=MASK) -> PersonSteps:
    told = StepPersons(target, {"voice": persons}, {"voice": segments})
    return PersonSteps(told, "voice", mask, Traits(KNOWN))


def changed_rows(context, before, after, mask=MASK, told=None):
    """Of each sample, the segments whose context differs."""
    told = told or whose(mask=mask)
    first, there, _ = context(before, mask, told)
    second, _, _ = context(after, mask, told)
    differs = there & ((first - second).abs().amax(dim=-1) > 1e-6)
    return [told.segments[b][differs[b]].tolist() for b in range(len(mask))]


def test_traits_are_normalised_by_column_and_nothing_is_known_of_a_stranger():
    vectors = Traits(KNOWN).vectors
    torch.testing.assert_close(vectors[:3].mean(dim=0), torch.zeros(2))
    torch.testing.assert_close(vectors[:3, 0].std(correction=0), torch.tensor(1.0))
    assert (vectors[:, 1] == 0).all()  # all are alike there
    assert (vectors[3] == 0).all()


def test_a_segment_without_the_target_is_part_of_its_context(context, steps):
    _, there, shares = context(steps, MASK, whose())
    assert there.tolist() == [[True, False, False, True, False], [True, True] + [False] * 3]
    torch.testing.assert_close(shares[0, 0], torch.tensor([1.0, 0, 0, 0, 0]))
    torch.testing.assert_close(shares[0, 3], torch.tensor([0, 0, 0, 0.5, 0.5]))
    assert (shares[~there] == 0).all()


def test_across_persons_only_what_is_in_the_segment_counts(context, steps):
    torch.nn.init.zeros_(context.across_segments.value.weight)
    other = steps.clone()
    other[0, 2] += 1  # person 2 in segment 0
    assert changed_rows(context, steps, other) == [[0], []]
    other = steps.clone()
    other[0, 4] += 1  # person 2 in segment 1, where the target is silent
    assert changed_rows(context, steps, other) == [[1], []]


def test_across_segments_it_reaches_the_whole_context(context, steps):
    other = steps.clone()
    other[0, 4] += 1
    assert changed_rows(context, steps, other) == [[0, 1], []]


def test_what_is_masked_counts_nowhere(context, steps):
    expected, there, _ = context(steps, MASK, whose())
    noise = torch.where(MASK[..., None], steps, 9.0)
    persons, segments = PERSONS.clone(), SEGMENTS.clone()
    persons[1, 2:], segments[1, 2:] = 1, 0
    found, still, _ = context(noise, MASK, whose(persons, segments))
    assert torch.equal(there, still)
    torch.testing.assert_close(found[there], expected[there])


def test_the_order_of_steps_does_not_count(context, steps):
    order = torch.tensor([4, 2, 0, 3, 1])
    told, moved = whose(), whose(PERSONS[:, order], SEGMENTS[:, order], mask=MASK[:, order])
    expected, there, _ = context(steps, MASK, told)
    found, still, shares = context(steps[:, order], MASK[:, order], moved)
    for b in range(2):
        first = {int(told.segments[b, t]): expected[b, t] for t in there[b].nonzero()}
        second = {int(moved.segments[b, t]): found[b, t] for t in still[b].nonzero()}
        assert first.keys() == second.keys()
        for segment, vector in first.items():
            torch.testing.assert_close(second[segment], vector)
    torch.testing.assert_close(shares.sum(dim=(1, 2)), torch.tensor([2.0, 2.0]))


def test_without_persons_every_step_is_its_own_context(context, steps):
    told = PersonSteps(None, "voice", MASK, Traits(KNOWN))
    _, there, shares = context(steps, MASK, told)
    assert torch.equal(there, MASK)
    torch.testing.assert_close(shares[0], torch.eye(5))
    torch.testing.assert_close(told.traits, torch.zeros(2, 5, 2))


def test_who_it_is_counts_by_traits_alone(context, steps):
    alike = Persons(names=KNOWN.names, traits=((1.0, 7.0), (2.0, 7.0), (2.0, 7.0)))
    told = StepPersons(TARGET, {"voice": PERSONS}, {"voice": SEGMENTS})
    swapped = PERSONS.clone()
    swapped[0] = torch.tensor([0, 2, 1, 2, 1])
    again = StepPersons(TARGET, {"voice": swapped}, {"voice": SEGMENTS})
    for known, same in ((alike, True), (KNOWN, False)):
        first, second = (
            context(steps, MASK, PersonSteps(one, "voice", MASK, Traits(known)))[0]
            for one in (told, again)
        )
        assert torch.allclose(first[0, 0], second[0, 0], atol=1e-6) == same
