"""Prediction from Python: the champion of a corpus, or another version, in a notebook.

from mmer.predict import champion

model = champion(CORPUS)
model.predict(samples, alpha=0.1)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmer.errors import InputError
from mmer.evaluation.deletion import only_steps
from mmer.registry import tracking
from mmer.registry.loading import RegisteredVersion, load_version
from mmer.registry.requests import check_info, requested_samples
from mmer.registry.table import answer_table, choice_of
from mmer.registry.versions import CHAMPION, current_uri
from mmer.samples.batches import Samples, pack
from mmer.samples.table import SampleTable

_SQLITE = "sqlite:///"


class Model:
    """A registered version that predicts and tells what it looks at.

    Attributes:
        registered: Name and number of the version, and what it was made with.
    """

    def __init__(self, registered: RegisteredVersion) -> None:
        self.registered = registered
        self._predictor = registered.predictor

    @property
    def labels(self) -> tuple[str, ...]:
        return self._predictor.labels

    @property
    def widths(self) -> dict[str, int]:
        """Numbers per step of each modality."""
        return self._predictor.widths

    def predict(self, samples: object, **choice: Any) -> pd.DataFrame:
        """One row of probabilities and labels per sample, as the server gives it.

        Args:
            samples: A `SampleTable` or `Samples`; a data frame with a column per modality; a sample
                (modality -> T steps of D numbers), or a list of samples.
            choice: `target`, `alpha`, `unit`; see `mmer.registry.predictor.Choice`.

        Raises:
            InputError: A sample cannot be used (the message names row and modality), or what is
                chosen is not there to choose.
        """
        chosen, taken = choice_of(choice), self.samples(samples)
        answer = answer_table(self._predictor, self._predictor.predict(taken, chosen))
        answer.index = pd.Index(taken.sample_ids, name="sample")
        return answer

    def attention(self, samples: object, sample: int = 0) -> dict[str, pd.DataFrame]:
        """Modality -> how much each label looks at each step of one sample; columns sum to 1.

        Empty for systems that do not tell.
        """
        taken = self.samples(samples)
        looks = self._predictor.attention(taken, np.array([sample])) if len(taken) else []
        return {
            modality: pd.DataFrame(weights, columns=list(self.labels))
            for modality, weights in (looks[0] if looks else {}).items()
            if len(weights)
        }

    def without_steps(self, samples: object, sample: int, steps: Sequence[int]) -> pd.DataFrame:
        """What is predicted of one sample, and of it without some steps of every modality.

        Raises:
            InputError: No step is left.
        """
        taken = self.samples(samples)
        every = {m: np.arange(lengths[sample]) for m, lengths in taken.host_lengths.items()}
        left = {m: [x, np.delete(x, [s for s in steps if s < len(x)])] for m, x in every.items()}
        answer = self.predict(only_steps(taken, np.array([sample, sample]), left))
        answer.index = pd.Index(["whole", "without"], name="sample")
        return answer

    def samples(self, samples: object) -> Samples:
        """What `predict` takes, checked."""
        if not isinstance(samples, Samples | SampleTable):
            return requested_samples(self._predictor, samples)
        whose = samples.path if isinstance(samples, SampleTable) else "samples"
        check_info(self._predictor, samples.info, whose)
        packed = pack(samples) if isinstance(samples, SampleTable) else samples
        for row, refusal in self._predictor.refusals(packed).items():
            raise refusal.error(f"sample {packed.sample_ids[row]}")
        return packed


def champion(corpus: str, version: str | int = CHAMPION) -> Model:
    """The champion of a corpus, or the version of another alias or number.

    Args:
        corpus: Name of the registered model: that of the corpus, with "-" and the environment
            unless that is "base".
        version: An alias, such as "candidate", or a number.

    Raises:
        InputError: There is none.
    """
    return Model(registered(corpus, str(version)))


def registered(name: str, which: str) -> RegisteredVersion:
    """A version of a registered model; where there is no database, none is made.

    Raises:
        InputError: There is none, or nothing that answers where MLflow should be.
    """
    uri = current_uri()
    database = Path(uri.removeprefix(_SQLITE).partition("?")[0])
    remedy = "Go to the project's folder, or set MLFLOW_TRACKING_URI; or train a model first."
    if uri.startswith(_SQLITE) and not database.is_file():
        raise InputError(database, f"{name}@{which}", "MLflow's database", "no file", remedy)
    try:
        tracking.connect(uri).search_registered_models(max_results=1)
    except Exception as error:
        where, found = tracking.without_password(uri), tracking.first_line(error)
        raise InputError(where, name, "a registry that answers", found, remedy) from error
    return load_version(name, which)
