from __future__ import annotations

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
from mmer.reporting.figures import evaluation_figures, label_colours, learning_curves
from mmer.reporting.report import ReportInput, render_report
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
def make_input(noisy_scores, evaluated):
    def made(**info: object) -> ReportInput:
        scores = noisy_scores(60, **info)
        told = {"title": "other", "model": "digest-of-other", **info}
        other = noisy_scores(seed=1, truth=scores.truth, **told)
        return input_of(evaluated(scores, other))

    return made


def input_of(found) -> ReportInput:
    figures = evaluation_figures(
        found.scores, found.calibration, found.comparison, found.failures, found.robustness
    )
    return ReportInput(
        corpus="Toy Corpus",
        alignment="word",
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
        self.feed(html)
        self.words = re.sub(r"\s+", " ", self.shown)

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
    assert sum("Plotly.newPlot(" in script[:2000] for script in page.scripts) == 8


def test_text_from_the_data_is_shown_not_run(page):
    assert not any("alert('x')" in script for script in page.scripts)
    assert page.shown.count(HOSTILE) == 3 + 1  # in each emotion's line of words, and among facts


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
        "60 samples in 15 groups",
        "Nothing was chosen on this split.",
    ):
        assert text in page.words, text


def test_the_guarantee_says_what_is_bounded_and_what_is_not(make_input, page):
    for text in (
        "a sample without true labels counts 0",
        "the expected loss of the new group is at most alpha",
        "It is no bound on the share of all true labels that are missed",
    ):
        assert text in page.words
    assert "epoch was chosen on them" not in page.words
    trained = Page(render_report(make_input(kept_epoch=3)))
    assert "here the kept epoch was chosen on them too" in trained.words


def test_unknown_groups_are_said_with_intervals_and_guarantee(make_input, page):
    said = "does not say which samples belong together"
    assert said not in page.words
    unknown = Page(render_report(make_input(groups_known=False)))
    assert unknown.words.count(said) == 2
    assert "the guarantee does not hold as stated" in unknown.words
    assert "intervals are narrower than they should be" in unknown.words


def test_a_p_value_at_its_floor_is_said_to_be_no_more_than_that(noisy_scores, evaluated):
    scores = noisy_scores(200, signal=0.9)
    told = {"truth": scores.truth, "title": "guess", "model": "digest-of-guess"}
    guess = noisy_scores(seed=1, signal=0.0, **told)
    worse = Page(render_report(input_of(evaluated(scores, guess))))
    assert "Toy is better than guess" in worse.words
    assert "p ≤ 0.039" in worse.words  # 2 / 51
    twin = noisy_scores(seed=1, signal=0.9, **told)
    alike = Page(render_report(input_of(evaluated(scores, twin))))
    assert re.search(r"Toy and guess do not differ significantly .* p = \d\.\d{4}", alike.words)


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
    assert "it is the correct prediction with the highest score" in page.words
    assert f"most confident correct prediction of {example.chosen_for[0]}" in page.words
    colour = label_colours(source.explanations.labels)["happy"]
    assert f'background:{colour}c8" title="0.800">so<' in html
    assert f'background:{colour}32" title="0.200">' in html


def test_steps_without_words_are_named_by_number_and_only_the_heaviest(source, page):
    assert source.explanations.examples[0].modalities[1].words is None
    assert "step 4 step 5 step 6 step 7 step 8" in page.words
    assert "step 3" not in page.words


def test_a_system_that_does_not_tell_what_it_looks_at_is_said_not_to(source):
    silent = Explanations(
        model=source.explanations.model, labels=source.explanations.labels, examples=()
    )
    shown = Page(render_report(replace(source, explanations=silent))).words
    assert "This system does not tell what it looks at" in shown


def test_the_same_input_gives_the_same_page(source):
    assert render_report(source) == render_report(source)


def test_a_system_with_nothing_to_calibrate_has_a_whole_page(noisy_scores, evaluated):
    found = evaluated(noisy_scores(fixed_threshold=0.5))
    valid = replace(found.scores, info=found.scores.info.model_copy(update={"split": "valid"}))
    calibration = calibrate(valid, CalibrationSettings())
    settings = EvaluationSettings(resamples=50)
    assessment = assess(found.scores, calibration, settings)
    comparison = compare_systems([(found.scores, calibration, assessment)], settings)
    bare = replace(found, calibration=calibration, comparison=comparison)
    shown = Page(render_report(input_of(bare))).words
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
