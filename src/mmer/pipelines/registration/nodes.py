"""Registration: what a run has trained and evaluated becomes a version that may be nominated."""

from __future__ import annotations

from mmer.calibration.calibration import Calibration
from mmer.evaluation.assessment import Assessment, Comparison, EvaluationSettings
from mmer.evaluation.drift import reference
from mmer.evaluation.promotion import Evidence, PromotionSettings
from mmer.evaluation.robustness import Robustness
from mmer.metrics.scores import Scores
from mmer.registry.servable import ServableModel
from mmer.registry.versions import Nominee
from mmer.samples.table import SampleTable
from mmer.systems.contract import FittedSystem


def bundle_model(
    fitted: FittedSystem,
    calibration: Calibration,
    assessment: Assessment,
    scores: Scores,
    robustness: Robustness,
    comparison: Comparison,
    valid_scores: Scores,
    train: SampleTable,
    settings: PromotionSettings,
    evaluation: EvaluationSettings,
    report: str,
) -> Nominee:
    """What the registry takes. The `report` comes last of all, so nothing else is left to fail."""
    made_with = reference(train, valid_scores, calibration)
    servable = ServableModel(fitted, calibration, assessment, made_with)
    evidence = Evidence(scores, calibration, robustness, comparison)
    return Nominee(servable, evidence, settings, evaluation)
