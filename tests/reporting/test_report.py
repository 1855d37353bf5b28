from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from mmer.calibration.calibration import calibrate
from mmer.calibration.settings import CalibrationSettings
from mmer.corpora.corpus import PublishedScore
from mmer.errors import InputError
from mmer.evaluation.assessment import EvaluationSettings, assess, compare_systems
from mmer.evaluation.attention import Explanations
from mmer.evaluation.deletion import Deletion
from mmer.metrics.intervals import Interval
from mmer.reporting.figures import evaluation_figures, label_colours, learning_curves
from mmer.reporting.report import ReportInput, render_report
from mmer.samples.table import Persons
from mmer.training.history import History

HOSTILE = "<script>alert('x')</script>"
PUBLISHED = (
    PublishedScore(
        system="Published",
        setting="aligned",
        micro_f1=(0.565, 0.568),
        accuracy=(0.475, 0.484),
        source="three reproductions",
    ),
    PublishedScore(system="Older", setting="unaligned", micro_f1=(0.544, 0.544), source="a paper"),
)


@pytest.fixture(scope="session")
def make_input(noisy_scores, evaluated, make_data):
    def made(**info: object) -> ReportInput:
        scores = noisy_scores(60, **info)
        told = {"title": "other", "model": "digest-of-other", **info}
        other = noisy_scores(noise=1, truth=scores.truth, **told)
        told = {k: info[k] for k in ("labels", "groups_known", "synthetic") if k in info}
        return input_of(evaluated(scores, other), make_data(**told))

    return made


def input_of(found, data) -> ReportInput:
    figures = evaluation_figures(
        found.scores, found.calibration, found.comparison, found.failures, found.robustness
    )
    return ReportInput(
        corpus="Toy Corpus",
        data=data,
        comparison=found.comparison,
        calibration=found.calibration,
        failures=found.failures,
        explanations=found.explanations,
        figures=figures,
        learning_curves=learning_curves(History(), "Toy", found.scores.info.synthetic),
        published_scores=PUBLISHED,
        caveats=("precision and recall are swapped",),
        facts={"git commit": HOSTILE},
    )


class Page(HTMLParser):
    """What a browser would load or run, and what it would show."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.scripts: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.shown = ""
        self.pieces: list[str] = []
        self.feed(html)
        self.words = re.sub(r"\s+", " ", self.shown)
        self.cells = re.sub(r"\s+", " ", " ".join(self.pieces))

    def handle_starttag(self, tag, attrs):
        self.open = [tag]
        values = dict(attrs)
        self.loads += [values[name] for name in ("src", "srcset", "data") if name in values]
        self.loads += [v for k, v in attrs if k == "href" and not v.startswith("#")]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.open = []

    def handle_data(self, data):
        if self.open == ["script"]:
            self.scripts[-1] += data
        elif self.open != ["style"]:
            self.shown += data
            self.pieces.append(data)


@pytest.fixture(scope="session")
def source(make_input) -> ReportInput:
    return make_input()


@pytest.fixture(scope="session")
def page(source) -> Page:
    return Page(render_report(source))


def test_the_page_needs_no_network_and_holds_plotly_once(page):
    assert page.loads == []
    libraries = [script for script in page.scripts if "plotly.js v" in script[:200]]
    assert len(libraries) == 1
    assert sum(len(script) > 1_000_000 for script in page.scripts) == 1
    figures = [json.loads(script) for script in page.scripts if script.startswith('{"data"')]
    assert [set(figure) for figure in figures] == [{"data", "wide", "small"}] * (7 + 3)


def test_text_from_the_data_is_shown_not_run(page):
    assert not any("alert('x')" in script for script in page.scripts)
    # in lines of words, in what is said in four errors, among facts, in an explanation of the data
    assert page.shown.count(HOSTILE) == 2 + 4 + 1 + 1


def test_labels_reach_the_page_and_its_figures_escaped(make_input):
    labels = ("</script><script>alert(1)</script>", "sad", "anger")
    html = render_report(make_input(labels=labels))
    assert not any(script.startswith("alert(1)") for script in Page(html).scripts)


def test_synthetic_is_written_across_the_page(make_input, page):
    assert page.shown.count("SYNTHETIC") >= 2
    real = Page(render_report(make_input(synthetic=False)))
    assert "synthetic" not in real.shown.lower()


def test_every_section_says_what_was_given(source, page):
    first = source.comparison.assessments[0]
    threshold, seen = source.calibration.conformal[1], first.coverage[1]
    for text in (
        f"{first.metrics.micro_f1:.3f}",
        f"{first.metrics.macro_auroc:.3f}",
        f"{first.metrics.balanced_accuracy:.3f}",
        source.calibration.reason,
        f"{source.calibration.candidates[0].value:.4f}",
        f"{source.calibration.probabilities[0].log_losses['identity']:.4f}",
        f"{threshold.threshold:.3f}",
        f"{seen.loss:.3f}",
        f"{seen.missed:.3f}",
        f"{seen.missed_by_label[2]:.3f}",
        f"{seen.covered:.3f}",
        source.failures.most_confident_errors[0].sample_id,
        first.info.model,
        first.info.fingerprint,
        "so <script>alert('x')</script>",  # what is said in an error's sample
        ", ".join(source.failures.most_confident_errors[0].true),
        "Nothing was chosen on this split.",
    ):
        assert text in page.words, text


def test_the_guarantee_says_what_is_bounded_and_what_is_not(make_input, page):
    for text in (
        "of a new group from the same source in which some sample has a true label",
        "the expected loss of the new group is at most alpha",
        "It is no bound for a single draw, for a single emotion",
    ):
        assert text in page.words
    assert "epoch was chosen on them" not in page.words
    trained = Page(render_report(make_input(kept_epoch=3)))
    assert "here the kept epoch was chosen on them too" in trained.words


def test_unknown_groups_are_said_with_intervals_and_guarantee(make_input, page):
    said = "does not say which samples belong together"
    assert said not in page.words
    assert "groups unknown" not in page.words
    unknown = Page(render_report(make_input(groups_known=False))).words
    assert unknown.count(said) == 2
    for text in (
        "test split of SYNTHETIC Toy Corpus: 60 samples, groups unknown",
        "chosen on validation (60 samples, groups unknown)",
        "as if samples were independent",
        "the guarantee does not hold as stated",
        "intervals are narrower than they should be",
        "percentile bootstrap over samples, as if independent",
        "conformal thresholds treat samples as independent",
    ):
        assert text.casefold() in unknown.casefold(), text
    assert "in 15 groups" not in unknown
    data = Page(render_report(make_input(groups_known=False))).cells
    assert "groups unknown unknown unknown labels per sample" in data


def test_the_data_stand_beside_the_results(make_input, page):
    for text in (
        "test : no sample has the label sad.",
        "all: every sample lacks face.",
        "samples 20 20 20",
        "groups 7 7 7",
        "words: steps 4 (1 to 8)",
        "face: steps unknown",
        "face: absent 20 (100.0 %)",
        "face: zero throughout 5 (25.0 %)",
        "happy 8 (40.0 %)",
        f"samples train 20 25 -5 5 were left out by {HOSTILE}",
        "groups train 7 9 -2 nothing in tables and notes",
        "is taken as absent",
    ):
        assert text in page.cells, text
    assert "words: absent" not in page.words
    assert "most frequent of" not in page.words
    assert "persons" not in page.words


def test_data_of_many_labels_and_of_persons_fit_the_page(source, make_data):
    people = Persons(names=("Ann", "Ben"), traits=((), ()))
    many = make_data(tuple(f"label {i}" for i in range(90)), persons=people)
    shown = Page(render_report(replace(source, data=many))).cells
    assert "Shown are the 30 most frequent of 90 emotions." in shown
    assert "persons 3 3 3" in shown
    assert "label 29" in shown
    assert "label 30" not in shown


def test_data_of_other_tables_are_refused(source, make_data):
    with pytest.raises(InputError, match=r"data report.*fingerprint"):
        render_report(replace(source, data=make_data(fingerprint="other")))


def test_a_p_value_at_its_floor_is_said_to_be_no_more_than_that(noisy_scores, evaluated, make_data):
    scores = noisy_scores(200, signal=0.9)
    told = {"truth": scores.truth, "title": "guess", "model": "digest-of-guess"}
    guess = noisy_scores(noise=1, signal=0.0, **told)
    worse = Page(render_report(input_of(evaluated(scores, guess), make_data())))
    assert "Toy is better than guess" in worse.words
    assert re.search(r"p ≤ 0\.0[0-4]", worse.words)
    twin = noisy_scores(noise=1, signal=0.9, **told)
    alike = Page(render_report(input_of(evaluated(scores, twin), make_data())))
    assert re.search(
        r"Toy does not differ significantly from guess \(.*\), in micro-F1\.", alike.words
    )
    assert re.search(r"p = \d\.\d{3}", alike.words)


def test_the_page_begins_with_what_was_asked_and_the_answer_in_a_sentence(source, page):
    one = source.comparison.differences[0].metrics["micro_f1"]
    asked, answer = (
        "Asked was how Toy does against other, on the test split of SYNTHETIC Toy Corpus: "
        "60 samples in 15 groups.",
        f"Toy does not differ significantly from other ({one.difference:+.3f} "
        f"[{one.low:+.3f}, {one.high:+.3f}]), in micro-F1.",
    )
    chosen = "Chosen were the thresholds for each of micro-F1, macro-F1 and accuracy"
    told = [page.words.index(text) for text in (asked, chosen, answer, "All systems are scored")]
    assert told == sorted(told)
    assert "are each under thresholds that were chosen for it on validation" in page.words


def test_one_training_seed_is_said_with_the_headline_figures(make_input, page):
    assert "training seed (" not in page.words
    seeded = Page(render_report(make_input(seed=7))).words
    assert seeded.count("one training seed (7)") == 3 + 1  # tiles, beside published figures
    assert "One training seed (7): what the figures of Toy and other owe to chance" in seeded
    assert "kedro run --pipelines=compare_toy" in seeded


def test_optimism_is_what_validation_promised_less_what_the_test_split_gave(make_input):
    source = make_input()
    calibration, first = source.calibration, source.comparison.assessments[0]
    chosen = calibration.candidates[0].model_copy(update={"value": 0.9, "difference": 0.0})
    reached = Interval(value=0.8, low=0.75, high=0.84, undefined=0)
    metrics = {**first.intervals.metrics, "micro_f1": reached}
    intervals = first.intervals.model_copy(update={"metrics": metrics})

    def shown(**info: object) -> str:
        told = first.info.model_copy(update=info)
        one = first.model_copy(update={"info": told, "intervals": intervals})
        comparison = source.comparison.model_copy(update={"assessments": (one,), "differences": ()})
        changed = calibration.model_copy(update={"candidates": (chosen,)})
        return Page(
            render_report(replace(source, comparison=comparison, calibration=changed))
        ).words

    said = shown()
    assert "micro-F1 is 0.900 on validation groups that the thresholds were not fitted on" in said
    assert "and 0.800 [0.750, 0.840] on test" in said
    assert "the optimism of validation is +0.100 [+0.060, +0.150]" in said
    assert "where the epoch was chosen on the same groups, is +0.100" in shown(kept_epoch=2)
    apart = shown(kept_epoch=2, epoch_groups=4)
    assert "where the epoch was chosen on 4 other groups, is +0.100" in apart
    assert "the kept epoch was chosen on them too" not in apart


def test_published_figures_stand_beside_ours_with_their_caveats(source, page):
    for text in ("0.565 to 0.568", "0.475 to 0.484", "0.544", "precision and recall are swapped"):
        assert text in page.shown
    assert "on a SYNTHETIC corpus: not comparable" in page.shown
    other = Page(render_report(replace(source, published_scores=(), caveats=())))
    assert "No published figures are at hand" in other.shown
    assert "0.544" not in other.shown


def test_attention_says_which_samples_it_shows_and_shades_words_by_weight(source):
    html = render_report(source)
    (example,) = source.explanations.examples
    page = Page(html)
    assert "the correct and the wrong prediction with the highest score" in page.words
    assert f"most confident correct prediction of {example.correct_for[0]}" in page.words
    colour = label_colours(source.explanations.labels)["happy"]
    # of two words one has 1.6 times what it would have if both weighed alike
    assert f'background:{colour}28" title="1.6 times uniform">so<' in html
    assert f'background:{colour}00" title="0.4 times uniform">' in html


def test_whether_attention_matters_is_said_by_a_deletion_test(source, page):
    row, _ = source.explanations.deletion.labels
    assert "20 % of the steps are taken away" in page.words
    for text in (row.label, "17", "0.213", "0.054", "0.159 [0.071, 0.248]"):
        assert text in page.words


def test_steps_without_words_are_named_by_number_and_only_the_heaviest(source, page):
    assert source.explanations.examples[0].modalities[1].words is None
    assert "step 4 step 5 step 6 step 7 step 8" in page.words
    assert "step 3" not in page.words


def test_a_system_that_does_not_tell_what_it_looks_at_is_said_not_to(source):
    silent = Explanations(
        model=source.explanations.model,
        labels=source.explanations.labels,
        examples=(),
        deletion=Deletion(),
    )
    shown = Page(render_report(replace(source, explanations=silent))).words
    assert "This system does not tell what it looks at" in shown


def test_the_same_input_gives_the_same_page(source):
    assert render_report(source) == render_report(source)


def test_a_system_with_nothing_to_calibrate_has_a_whole_page(noisy_scores, evaluated, make_data):
    found = evaluated(noisy_scores(fixed_threshold=0.5))
    valid = replace(found.scores, info=found.scores.info.model_copy(update={"split": "valid"}))
    calibration = calibrate(valid, CalibrationSettings())
    settings = EvaluationSettings(resamples=50)
    assessment = assess(found.scores, calibration, settings)
    comparison = compare_systems([(found.scores, calibration, assessment)], settings)
    bare = replace(found, calibration=calibration, comparison=comparison)
    shown = Page(render_report(input_of(bare, make_data()))).words
    assert "No conformal sets were asked for." in shown
    assert "Toy has nothing to calibrate." in shown
    assert "were chosen on validation" not in shown


def test_what_belongs_to_something_else_is_refused(source):
    calibration, failures = source.calibration, source.failures
    for changed in (
        {"calibration": calibration.model_copy(update={"model": "others"})},
        {"calibration": calibration.model_copy(update={"thresholds": (0.5, 0.5, 0.6)})},
        {"calibration": calibration.model_copy(update={"conformal": ()})},
        {"failures": failures.model_copy(update={"model": "others"})},
        {"explanations": source.explanations.model_copy(update={"model": "others"})},
    ):
        with pytest.raises(InputError, match=r"report|calibration|failures|explanations"):
            render_report(replace(source, **changed))
