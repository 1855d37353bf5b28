"""The model that is served: a fitted system, its thresholds and the code that runs them.

It is a version in MLflow's registry. Its folder holds safetensors, JSON and Python source, no
pickle. With its own copy of those modules that scoring needs it runs wherever the packages are
installed that its `requirements.txt` names. Nothing in it names the machine that it was made on.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmer.errors import InputError
from mmer.provenance import digest
from mmer.registry import own_files, travelling
from mmer.registry.predictor import (
    CALIBRATION,
    REFERENCE,
    REQUESTS,
    SYSTEM,
    Predictor,
    Requests,
)
from mmer.registry.requests import MOST_NUMBERS, MOST_PADDED, MOST_ROWS
from mmer.registry.table import DECISIONS, GUARANTEE, MODEL, SET
from mmer.registry.told_persons import TARGET, person_column, segment_column

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature

    from mmer.calibration.calibration import Calibration
    from mmer.evaluation.assessment import Assessment
    from mmer.evaluation.drift import Reference
    from mmer.systems.contract import FittedSystem

_CODE = Path(__file__).with_name("servable_code.py")
_README = "README.md"
_USED = ("MLmodel", _CODE.name, "artifacts", "code")  # in scoring; the rest may be edited
_EXAMPLE_STEPS = (5, 3)
_SERVERS = """\
`python -m mmer.serve` and `mlflow models serve` answer alike, and refuse what cannot be used with
400, row and field. Some things MLflow's server does before a request comes to the model:

- It ignores parameters that it does not know, and keys beside `inputs`; of a name that stands twice
  in an object, it takes the last.
- Its refusal of a parameter of another type, and of what is no JSON, repeats the whole request.
- It refuses CSV, and Parquet that cannot be read, with a stack trace.
- It answers 500 to an integer of more than 4,300 digits, to brackets nested a thousand deep, and to
  a request without `Content-Type`.
- It reads and parses a body of any size. Put something in front of it that limits bodies.
"""
_DRAWN = "drawn at random from the distribution of training features; no recording"


@dataclass(frozen=True)
class ServableModel:
    """A fitted system, the thresholds made for it, and what it is worth with these.

    Attributes:
        reference: What it was made with, for the sake of later samples; without it there is
            nothing that they could be compared with.

    Raises:
        InputError: Thresholds, figures or reference belong to another model, labels or thresholds.
    """

    fitted: FittedSystem
    calibration: Calibration
    assessment: Assessment
    reference: Reference | None = None

    def __post_init__(self) -> None:
        self.calibration.check(self.fitted.digest, self.fitted.info.fingerprint)
        told = self.reference.model if self.reference else self.fitted.digest
        for where, name, expected, found in (
            ("calibration", "labels", self.fitted.info.labels, self.calibration.labels),
            ("assessment", "model", self.fitted.digest, self.assessment.info.model),
            ("assessment", "thresholds", self.calibration.thresholds, self.assessment.thresholds),
            ("reference", "model", self.fitted.digest, told),
        ):
            if found != expected:
                remedy = "Evaluate again (--tags=evaluation, or the whole pipeline)."
                expected = f"those of the model to be registered ({expected})"
                raise InputError(where, name, expected, found, remedy)

    @property
    def synthetic(self) -> bool:
        """True if no real recording stands behind any of it."""
        return self.fitted.info.synthetic or self.assessment.info.synthetic

    @property
    def identity(self) -> dict[str, str]:
        """What tells it from every other one that may be registered under the same name."""
        calibration = digest(self.calibration.model_dump(mode="json"))
        return {"model": self.fitted.digest, "calibration": calibration}


def save(servable: ServableModel, folder: Path, metadata: Model | None = None) -> None:
    """Write a model, with what MLflow knows of it, for `mlflow.pyfunc.load_model` to open.

    The folder must not exist yet.
    """
    from mlflow.models import Model
    from mlflow.pyfunc import save_model

    predictor = Predictor(servable.fitted, servable.calibration, _requests(servable))
    needed = travelling.needed_by(_CODE)
    metadata = metadata or Model()
    metadata.metadata = {**(metadata.metadata or {}), **_described(predictor)}
    with tempfile.TemporaryDirectory() as scratch:
        parts = _write_parts(servable, Path(scratch))
        save_model(
            folder,
            python_model=str(_CODE),
            artifacts={path.stem: str(path) for path in parts},
            code_paths=[str(travelling.copy(needed, Path(scratch)))],
            signature=_signature(predictor),
            input_example=_example(servable),
            # Given, because MLflow finds them out by running the model in a process of its own.
            pip_requirements=list(needed.requirements),
            mlflow_model=metadata,
        )
    (folder / _README).write_text(_readme(predictor), encoding="utf-8")
    _settle(folder)
    for compiled in list(folder.rglob("__pycache__")):  # names this machine's folders
        shutil.rmtree(compiled)
    own_files.write_list(folder, _USED)


def _requests(servable: ServableModel) -> Requests:
    if servable.reference is None:
        return Requests()
    known = servable.reference.features
    return Requests(
        zeros_are_absent=known.zeros_are_absent, alignment=known.alignment, reading=known.reading
    )


def _write_parts(servable: ServableModel, folder: Path) -> list[Path]:
    from mmer.systems.storage import save_fitted

    save_fitted(servable.fitted, folder / SYSTEM)
    records = {CALIBRATION: servable.calibration, REQUESTS: _requests(servable)}
    if servable.reference:
        records[REFERENCE] = servable.reference
    for name, record in records.items():
        (folder / name).write_text(record.to_json(), encoding="utf-8")
    return [folder / name for name in (SYSTEM, *records)]


def _signature(predictor: Predictor) -> ModelSignature:
    """Sequences in; probabilities, labels and what is asked for by parameter out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import Array

    steps, names = Array(Array(DataType.double)), Array(DataType.string)
    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(steps, m, required=m not in predictor.may_lack) for m in predictor.widths
    ]
    if predictor.info.persons:
        inputs.append(ColSpec(DataType.string, TARGET))
        for m in predictor.widths:
            needed = m not in predictor.may_lack
            inputs.append(ColSpec(names, person_column(m), required=needed))
            inputs.append(ColSpec(Array(DataType.long), segment_column(m), required=needed))
    return ModelSignature(
        inputs=Schema(inputs),
        outputs=Schema(
            [
                *(ColSpec(DataType.double, label) for label in predictor.labels),
                ColSpec(names, DECISIONS),
                ColSpec(names, SET, required=False),
                ColSpec(DataType.string, GUARANTEE, required=False),
                ColSpec(DataType.string, MODEL),
            ]
        ),
        params=ParamSchema(
            [
                ParamSpec("target", DataType.string, predictor.targets[0]),
                ParamSpec("alpha", DataType.double, 0.0),
                ParamSpec("unit", DataType.string, ""),
            ]
        ),
    )


def _described(predictor: Predictor) -> dict[str, Any]:
    """What a client has to know beside the signature, in the metadata of the model."""
    persons = predictor.info.persons
    return {
        "labels": list(predictor.labels),
        "widths": dict(predictor.widths),
        "longest": dict(predictor.limits),
        "may_lack": sorted(predictor.may_lack),
        "targets": list(predictor.targets),
        **({"persons": list(persons.names)} if persons else {}),
        "guarantees": [
            {"alpha": one.alpha, "unit": one.unit} for one in predictor.calibration.conformal
        ],
        "input_example": _DRAWN,
    }


def _example(servable: ServableModel) -> list[dict[str, Any]]:
    """Two short samples with as many numbers per step as the model takes.

    Where it knows persons, the steps are theirs in turn, each in a segment of its own.
    """
    rng, known = np.random.default_rng(0), servable.reference
    drawn = []
    for steps in _EXAMPLE_STEPS:
        sample: dict[str, Any] = {}
        for modality, width in servable.fitted.info.widths.items():
            values = rng.normal(size=(steps, width))
            like = known.features.modalities[modality] if known else None
            if like and like.steps:
                values = values * like.deviation + like.mean
            sample[modality] = values.round(4).tolist()
        if persons := servable.fitted.info.persons:
            whose = [persons.names[step % len(persons.names)] for step in range(steps)]
            sample[TARGET] = whose[0]
            for modality in servable.fitted.info.widths:
                sample[person_column(modality)] = whose
                sample[segment_column(modality)] = list(range(steps))
        drawn.append(sample)
    return drawn


def _readme(predictor: Predictor) -> str:
    """What a version is and how it is asked, for who opens its folder."""
    info = predictor.info
    rows = [
        f"| {m} | {info.features[m].name} | {width} | {predictor.limits.get(m, 'any number')} | "
        f"{'yes' if m in predictor.may_lack else 'no'} |"
        for m, width in predictor.widths.items()
    ]
    sets = [f"{one.alpha:g} over {one.unit}" for one in predictor.calibration.conformal]
    synthetic = "**SYNTHETIC**: no real recording stands behind this model.\n\n"
    return f"""# {info.title}, fitted on {info.corpus}

{synthetic if info.synthetic else ""}Digest `{predictor.digest}`. Labels: {", ".join(info.labels)}.

| modality | features | numbers per step | most steps | may be absent |
|---|---|---|---|---|
{chr(10).join(rows)}

A sample maps each modality to its steps, of true length and not padded; one that is absent is left
out or null. `POST /invocations` takes `{{"inputs": [sample, ...], "params": {{...}}}}`, of at most
{MOST_ROWS:,} samples and {MOST_NUMBERS:,} numbers, and of {MOST_PADDED:,} if all were as long as
the longest; `serving_input_example.json` is such a request ({_DRAWN}).

{_persons_readme(predictor)}| parameter | what it chooses | values |
|---|---|---|
| `target` | the metric for which the thresholds were chosen | {", ".join(predictor.targets)} |
| `alpha`, `unit` | the prediction set and its bound; 0 for none | {"; ".join(sets) or "none"} |

The answer has a row per sample: a calibrated probability for each label; `{DECISIONS}`, the labels
whose score passes their threshold; `{SET}` and `{GUARANTEE}`, if asked for; `{MODEL}`, the digest.

{_SERVERS}
`{own_files.LIST}` has the digests of the files that scoring uses. Where one of them is another,
the model does not load: that is against accidents and careless edits, not against forgers.
"""


def _persons_readme(predictor: Predictor) -> str:
    """How a request tells of persons; nothing for a model that knows none."""
    persons = predictor.info.persons
    if not persons:
        return ""
    first = next(iter(predictor.widths))
    return f"""This model knows {", ".join(persons.names)}. Beside its modalities a sample has
`{TARGET}`, the name of whose labels are asked for, and for each of its modalities the name of whose
each step is and the number of its segment in the conversation, from 0 (`{person_column(first)}` and
`{segment_column(first)}` of `{first}`, and so on). Without these it is refused.

"""


def _settle(folder: Path) -> None:
    """Take out of MLflow's record what is of this machine, and have requests come in whole.

    MLflow drops columns that it does not know before a model sees them, so that a misspelt one
    would be an absent one. It hands a request on as it is where the model looks at it itself, which
    it takes for granted of models with type hints.
    """
    from mlflow.models import Model

    model = Model.load(str(folder))
    model.artifact_path = None
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = _CODE.name
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    model.signature._is_signature_from_type_hint = True
    model.save(str(folder / "MLmodel"))
