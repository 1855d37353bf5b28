import pytest
from pydantic import TypeAdapter, ValidationError

from mmer.calibration.settings import CalibrationSettings
from mmer.errors import InputError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("target", "f2"),
        ("minimum_precision", 0.0),
        ("method", "best"),
        ("fixed", 1.0),
        ("fixed", float("nan")),
        ("minimum_positives", 0),
        ("folds", 1),
        ("alphas", (0.1, 1.0)),
        ("alphas", (0.1, 0.1)),
    ],
)
def test_values_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(InputError, match=name):
        CalibrationSettings(**{name: value})


def test_parameters_are_read_strictly():
    adapter = TypeAdapter(CalibrationSettings)
    read = adapter.validate_python({"target": "macro_f1", "alphas": [0.05, 0.1]})
    assert read == CalibrationSettings(target="macro_f1", alphas=(0.05, 0.1))
    with pytest.raises(ValidationError, match="alpha"):
        adapter.validate_python({"alpha": 0.1})
