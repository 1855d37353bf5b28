import pytest
from pydantic import ValidationError

from mmer.calibration.settings import CalibrationSettings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target", "f2"),
        ("minimum_precision", 0.0),
        ("minimum_precision", 1.1),
        ("minimum_precision", float("nan")),
        ("method", "best"),
        ("fixed", 1.0),
        ("fixed", float("nan")),
        ("minimum_positives", 0),
        ("folds", 1),
        ("alphas", (0.1, 1.0)),
        ("alphas", (0.1, 0.1)),
        ("alpha", 0.1),
    ],
)
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(ValidationError, match=name):
        CalibrationSettings(**{name: value})


def test_parameters_are_read_as_yaml_gives_them():
    read = CalibrationSettings.model_validate({"target": "macro_f1", "alphas": [0.05, 0.1]})
    assert read == CalibrationSettings(target="macro_f1", alphas=(0.05, 0.1))
