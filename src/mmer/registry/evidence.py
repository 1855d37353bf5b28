"""What a version is judged by, kept among the artefacts of the run that registered it.

A list of digests stands beside it, of these files and of the model's own; the digest of the list is
a tag of the version. So files that were damaged, mixed up or replaced are known by what they hold.
Who may change tags may forge all of it: against this, the registry itself must be guarded.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from mmer.calibration.calibration import Calibration
from mmer.errors import InputError
from mmer.evaluation.assessment import Comparison
from mmer.evaluation.promotion import Evidence
from mmer.evaluation.robustness import Robustness
from mmer.metrics.scores import Scores
from mmer.provenance import file_digest
from mmer.registry import tracking
from mmer.schema import Record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

TAG = "evidence"
_LIST, _SCORES = "files.json", "test_scores.parquet"
_RECORDS: dict[str, type[Record]] = {
    "calibration": Calibration,
    "robustness": Robustness,
    "comparison": Comparison,
}
# MLflow puts it beside a model that it has fetched.
_NOT_OURS = "registered_model_meta"


class KeptFiles(Record):
    """Path -> SHA-256: of the evidence, and of the files in the model's folder."""

    evidence: dict[str, str]
    model: dict[str, str]


def keep(
    evidence: Evidence | None, model: Path, client: MlflowClient, run_id: str, folder: str
) -> str:
    """Put evidence and the digests of the model's files among the run's artefacts.

    Returns:
        The digest of the list of digests.
    """
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch, "evidence")
        kept.mkdir()
        if evidence:
            pq.write_table(evidence.scores.to_arrow(), kept / _SCORES)
            for name in _RECORDS:
                record = getattr(evidence, name)
                (kept / f"{name}.json").write_text(record.to_json(), encoding="utf-8")
        files = KeptFiles(evidence=_digests(kept), model=_digests(model)).to_json()
        (kept / _LIST).write_text(files, encoding="utf-8")
        client.log_artifacts(run_id, str(kept), folder)
    return hashlib.sha256(files.encode()).hexdigest()


def read(client: MlflowClient, uri: str, version: ModelVersion, folder: str) -> Evidence:
    """The evidence of a version, once all its files have been found to be what was registered.

    Raises:
        InputError: There is none; or a file of it, or of the model, is gone, damaged or new.
    """
    with _found_whole(client, uri, version, folder) as (kept, where):
        if not (kept / _SCORES).is_file():
            raise InputError(where, TAG, "what it is judged by", "nothing was kept with it")
        scores = Scores.from_arrow(pq.read_table(kept / _SCORES), where)
        records: dict[str, Any] = {
            name: kind.read(kept / f"{name}.json") for name, kind in _RECORDS.items()
        }
        return Evidence(scores=scores, **records)


def check(client: MlflowClient, uri: str, version: ModelVersion, folder: str) -> None:
    """See that all files of a version, what it is judged by among them, are what was registered.

    Raises:
        InputError: A file is gone, damaged or new; or there is no list to tell.
    """
    with _found_whole(client, uri, version, folder):
        pass


@contextmanager
def _found_whole(
    client: MlflowClient, uri: str, version: ModelVersion, folder: str
) -> Iterator[tuple[Path, str]]:
    """The folder of the evidence, checked like the model's files; and the version, in words."""
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    where = f"{version.name}, version {version.version}"
    if TAG not in version.tags or not version.run_id:
        raise InputError(where, TAG, "what it is judged by", "nothing was kept with it")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            kept = Path(client.download_artifacts(version.run_id, folder, scratch))
            model = Path(scratch, "model")
            model.mkdir()
            source = client.get_model_version_download_uri(version.name, version.version)
            fetched = Path(
                download_artifacts(source, dst_path=str(model), tracking_uri=uri, registry_uri=uri)
            )
        except (MlflowException, OSError) as error:
            raise InputError(where, "files", "its files", tracking.first_line(error)) from error
        files = _list_of(kept / _LIST, version.tags[TAG], where)
        _check(files.evidence, kept, {_LIST}, where)
        _check(files.model, fetched, {_NOT_OURS}, where)
        yield kept, where


def check_model(client: MlflowClient, version: ModelVersion, folder: str, model: Path) -> None:
    """See that a model's folder, which was fetched, is what was registered.

    Args:
        folder: Of the list of digests, among the artefacts of the version's run.

    Raises:
        InputError: A file of it is gone, damaged or new; or there is no list to tell.
    """
    from mlflow.exceptions import MlflowException

    where = f"{version.name}, version {version.version}"
    if TAG not in version.tags or not version.run_id:
        raise InputError(where, TAG, "digests of its files", "nothing was kept with it")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            kept = client.download_artifacts(version.run_id, f"{folder}/{_LIST}", scratch)
        except (MlflowException, OSError) as error:
            raise InputError(where, _LIST, "its digests", tracking.first_line(error)) from error
        files = _list_of(Path(kept), version.tags[TAG], where)
    _check(files.model, model, {_NOT_OURS}, where)


def _list_of(path: Path, expected: str, where: str) -> KeptFiles:
    found = file_digest(path) if path.is_file() else "nothing"
    if found != expected:
        raise InputError(where, _LIST, f"the list of digest {expected}", found)
    return KeptFiles.read(path)


def _check(expected: dict[str, str], folder: Path, beside: set[str], where: str) -> None:
    found = _digests(folder)
    for name in sorted({*expected, *found} - beside):
        if expected.get(name) != found.get(name):
            what = "gone" if name not in found else "new" if name not in expected else "another"
            raise InputError(where, name, "the file that was registered", what)


def _digests(folder: Path) -> dict[str, str]:
    """Path in the folder -> SHA-256 of the file."""
    return {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
