"""Look-alike files and hostile pickles of `tests/fuzz`; and a corpus that is added from outside."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mmer.corpora import CORPORA
from mmer.corpora.corpus import Manifest, RawCorpus
from mmer.corpora.ingestion import open_corpus

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))

OpenToy = Callable[..., Manifest]


@pytest.fixture(scope="module")
def toy() -> Iterator[ModuleType]:
    """The corpus of text files under a name of its own; other processes find it as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        module = importlib.import_module("text_corpus")
        patch.setitem(CORPORA, "toy", module.CORPUS)
        yield module


@pytest.fixture(scope="module")
def open_toy(toy: ModuleType) -> OpenToy:
    """Open it in a folder, with some settings of its ingestion."""

    def opened(folder: Path, *, synthetic: bool = False, **settings: object) -> Manifest:
        given = toy.TextIngestion.model_validate(settings)
        return open_corpus("toy", RawCorpus(path=folder, synthetic=synthetic), given)

    return opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Its files, without a validation split: two of one name, in two folders."""
    return write_toy_files(tmp_path / "raw")


@pytest.fixture(scope="module")
def write_toy() -> Callable[[Path], Path]:
    """Write such files into a new folder."""
    return write_toy_files


def write_toy_files(folder: Path) -> Path:
    for place, lines in {
        "some": [f"train g{i}" for i in range(12)],
        "more": [f"train h{i}" for i in range(8)] + ["test t0", "test t1"],
    }.items():
        (folder / place).mkdir(parents=True)
        (folder / place / "a.txt").write_text("\n".join(lines) + "\n")
    return folder
