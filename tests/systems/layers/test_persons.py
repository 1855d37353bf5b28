"""Steps among other persons' steps: what their context depends on, and what it does not."""

from __future__ import annotations

import pytest
import torch

from mmer.samples.batches import StepPersons
from mmer.samples.table import Persons
from mmer.systems.layers.persons import PersonContext, PersonSteps, Traits, starts_at_nothing

KNOWN = Persons(names=("a", "b", "c"), traits=((1.0, 7.0), (2.0, 7.0), (6.0, 7.0)))
# Sample 0: the target, 0, has a step in segment 0 and none in segment 1; person 2 is in both.
PERSONS = torch.tensor([[0, 1, 2, 1, 2], [1, 1, 0, 0, 0]])
SEGMENTS = torch.tensor([[0, 0, 0, 1, 1], [0, 2, 0, 0, 0]])
MASK = torch.tensor([[True] * 5, [True, True, False, False, False]])
TARGET = torch.tensor([0, 1])


@pytest.fixture
def context():
    """Trained a little: what starts at nothing is something."""
    torch.manual_seed(0)
    made = PersonContext(4, 2, 8, 0.1, 0.3).eval()
    for started in (made.join, made.across_persons.value, made.across_segments.value):
        torch.nn.init.normal_(started.weight)
    torch.nn.init.normal_(made.roles)
    return made


@pytest.fixture
def steps():
    return torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(1))


def whose(persons=PERSONS, segments=SEGMENTS, target=TARGET, mask=MASK, known=KNOWN) -> PersonSteps:
    told = StepPersons(target, {"voice": persons}, {"voice": segments})
    return PersonSteps(told, "voice", mask, Traits(known))


def changed(first, second):
    """Of each sample, the steps whose vectors differ."""
    differs = MASK & ((first - second).abs().amax(dim=-1) > 1e-6)
    return [row.nonzero().flatten().tolist() for row in differs]


def moved_step(context, steps, number):
    """The steps of sample 0 that notice that this one shows something else."""
    other = steps.clone()
    other[0, number] += torch.tensor([1.0, 0, 0, -1])
    first, second = changed(context(steps, MASK, whose()), context(other, MASK, whose()))
    assert second == []
    return first


def test_traits_are_normalised_by_column_and_nothing_is_known_of_a_stranger():
    vectors = Traits(KNOWN).vectors
    torch.testing.assert_close(vectors[:3].mean(dim=0), torch.zeros(2))
    torch.testing.assert_close(vectors[:3, 0].std(correction=0), torch.tensor(1.0))
    assert (vectors[:, 1] == 0).all()  # all are alike there
    assert (vectors[3] == 0).all()


def test_across_persons_only_what_is_in_the_segment_counts(context, steps):
    starts_at_nothing(context.across_segments.value)
    for together in ([0, 1, 2], [3, 4]):
        for number in together:
            assert moved_step(context, steps, number) == together


def test_across_segments_only_what_is_of_the_person_counts(context, steps):
    starts_at_nothing(context.across_persons.value)
    for of_one in ([0], [1, 3], [2, 4]):
        for number in of_one:
            assert moved_step(context, steps, number) == of_one


def test_both_together_reach_persons_of_a_segment_elsewhere_too(context, steps):
    assert moved_step(context, steps, 3) == [1, 2, 3, 4]  # of segment 1, and those persons' others
    assert moved_step(context, steps, 0) == [0, 1, 2, 3, 4]


def test_a_new_context_takes_all_steps_alike(steps):
    """So that training begins where a network that knows no persons does."""
    torch.manual_seed(0)
    context = PersonContext(4, 2, 8, 0.1, 0.3).eval()
    found = context(steps, MASK, whose())
    torch.testing.assert_close(found, context.norm(context.features(steps)))
    torch.testing.assert_close(context(steps, MASK, whose(target=TARGET + 1)), found)


def test_a_step_has_a_role(context, steps):
    """The target's; beside the target's, in its segment; where the target has none."""
    for attention in (context.across_persons, context.across_segments):
        starts_at_nothing(attention.value)
    torch.nn.init.zeros_(context.roles)
    before = context(steps, MASK, whose())
    for role, those in enumerate(([[0], [0, 1]], [[1, 2], []], [[3, 4], []])):
        with torch.no_grad():
            context.roles.zero_()[role] += 1
        assert changed(before, context(steps, MASK, whose())) == those


def test_what_is_masked_counts_nowhere(context, steps):
    expected = context(steps, MASK, whose())
    noise = torch.where(MASK[..., None], steps, 9.0)
    persons, segments = PERSONS.clone(), SEGMENTS.clone()
    persons[1, 2:], segments[1, 2:] = 1, 2
    found = context(noise, MASK, whose(persons, segments))
    torch.testing.assert_close(found[MASK], expected[MASK])
    assert found.isfinite().all()
    assert context(noise, MASK & False, whose(mask=MASK & False)).isfinite().all()


def test_the_order_of_steps_does_not_count(context, steps):
    order = torch.tensor([4, 2, 0, 3, 1])
    moved = whose(PERSONS[:, order], SEGMENTS[:, order], mask=MASK[:, order])
    expected = context(steps, MASK, whose())[:, order]
    found = context(steps[:, order], MASK[:, order], moved)
    torch.testing.assert_close(found[MASK[:, order]], expected[MASK[:, order]])


def test_where_persons_are_not_told_all_steps_are_alike(context, steps):
    told = PersonSteps(None, "voice", MASK, Traits(KNOWN))
    assert told.segments.tolist() == [[0, 1, 2, 3, 4]] * 2
    expected = context.norm(context.features(steps))
    torch.testing.assert_close(context(steps, MASK, told), expected)


def test_in_training_so_are_those_of_some_samples(context, steps):
    context.train()
    context.dropout, many = 0, 500
    torch.manual_seed(1)
    rows = [one.repeat(many, *[1] * (one.dim() - 1)) for one in (steps, MASK, PERSONS, SEGMENTS)]
    told = whose(*rows[2:], target=TARGET.repeat(many), mask=rows[1])
    found = context(*rows[:2], told)
    alike = (found == context.norm(context.features(rows[0]))).flatten(1).all(dim=1)
    assert 0.25 < alike.double().mean() < 0.35
    context.eval()
    torch.testing.assert_close(found[~alike], context(*rows[:2], told)[~alike])


def test_who_it_is_counts_by_traits_alone(context, steps):
    alike = Persons(names=KNOWN.names, traits=((1.0, 7.0), (2.0, 7.0), (2.0, 7.0)))
    swapped = PERSONS.clone()
    swapped[0] = torch.tensor([0, 2, 1, 2, 1])
    for known, same in ((alike, True), (KNOWN, False)):
        first, second = (
            context(steps, MASK, whose(persons, known=known)) for persons in (PERSONS, swapped)
        )
        assert torch.allclose(first[0], second[0], atol=1e-6) == same
