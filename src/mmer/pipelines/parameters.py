"""What all stages' parameters have in common: a typo or a wrong type stops the run at once."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Parameters(BaseModel):
    """Base of the parameters of a stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
