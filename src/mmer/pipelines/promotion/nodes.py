"""Promotion: the candidate beside the champion, by scores that are stored; and the way back."""

from __future__ import annotations

import logging
import shutil

import pandas as pd

from mmer.evaluation.assessment import EvaluationSettings
from mmer.evaluation.champions import Champions, Move
from mmer.evaluation.promotion import Contenders, Decision, PromotionSettings, decide
from mmer.reporting.promotion import champions_frame, champions_text, promotion_page, promotion_text

logger = logging.getLogger(__name__)


def decide_promotion(
    contenders: Contenders, settings: PromotionSettings, evaluation: EvaluationSettings
) -> tuple[Decision, Decision]:
    """Whether the candidate becomes champion: to be kept, and to be done."""
    decision = decide(contenders, settings, evaluation)
    return decision, decision


def report_promotion(decision: Decision, champions: Champions) -> tuple[str, pd.DataFrame]:
    """The page of what was decided and done, and the table of champions as it is now."""
    width = shutil.get_terminal_size().columns
    _say(f"{promotion_text(decision, champions)}\n\n{champions_text(champions, width)}")
    return promotion_page(decision, champions), champions_frame(champions)


def take_champion_back(champions: Champions) -> Move:
    """The champion before this one is to return."""
    return champions.back()


def list_champions(champions: Champions) -> pd.DataFrame:
    """The table of champions as it is now."""
    _say(champions_text(champions, shutil.get_terminal_size().columns))
    return champions_frame(champions)


def _say(text: str) -> None:
    logger.info("%s", text, extra={"markup": False})
