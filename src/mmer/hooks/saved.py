"""What a run saves, as its files tell: any process may write them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import click
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from mmer import provenance
from mmer.errors import InputError
from mmer.registry.tracking import UsedTable

if TYPE_CHECKING:
    from mmer.datasets.places import Address, Disk
    from mmer.samples.table import SampleTable

_KINDS = ("artifact", "metrics", "history", "cell", "cell_cost", "compared")


class Saved:
    """What a run saves of its pipeline's outputs, as the files tell: any process may write them.

    Attributes:
        kinds: Output -> what of it goes to MLflow, and as what.
        subject: Whose run it is, "corpus.system"; empty if it is no one system's.
    """

    def __init__(self, pipeline: Pipeline, catalog: Any) -> None:
        self._catalog = catalog
        outputs = [name for node in pipeline.nodes for name in node.outputs]
        self.kinds = {name: _kind(name, catalog) for name in outputs}
        files = [name for name in outputs if hasattr(catalog.get(name), "_filepath")]
        self._refuse_what_cannot_be_written(files)
        self.subject = _subject(outputs, self.kinds)
        self._before = {name: self._state(name) for name in files}
        self._fetched: dict[str, Path] = {}
        self._copies = ExitStack()

    def now(self) -> list[str]:
        """The outputs that have been written since this object was made, in pipeline order."""
        return [name for name in self._before if self.has(name)]

    def has(self, name: str) -> bool:
        """Whether this output has been written since this object was made."""
        return name in self._before and self._state(name) not in (None, self._before[name])

    def file(self, name: str) -> Path:
        """The file that the run writes; if it is at an address, a copy that stays until `close`."""
        if name not in self._fetched:
            copy = self._place(name).fetched(self._path(name))
            self._fetched[name] = self._copies.enter_context(copy)
        return self._fetched[name]

    def read(self, name: str) -> Any:
        """What the run has written, and not what another has written since."""
        return self._catalog.get(name).read(self.file(name))

    def close(self) -> None:
        """Remove the copies."""
        self._fetched.clear()
        self._copies.close()

    def tell(self) -> None:
        """Say how the system stands beside the others, and where the report is."""
        from mmer.reporting.ablations import ablations_text
        from mmer.reporting.corpora import corpora_text
        from mmer.reporting.costs import costs_text
        from mmer.reporting.seeds import seeds_text
        from mmer.reporting.summary import summary_text

        texts: dict[str, Callable[..., str]] = {
            "comparison": summary_text,
            "compared_systems": seeds_text,
            "compared_costs": costs_text,
            "compared_corpora": corpora_text,
            "ablated_systems": ablations_text,
        }
        names = {name: name.rpartition(".")[2] for name in self.now()}
        if "compared_corpora" in names.values():
            del texts["compared_systems"], texts["compared_costs"]  # those of single corpora
        for name, kind in names.items():
            if kind in texts:
                width = shutil.get_terminal_size().columns
                click.echo(f"\n{texts[kind](self.read(name), width)}")
            if name.endswith(".prediction.predictions"):
                click.echo(f"\nThe predictions:       {self._shown(name)}")
            if name.endswith(".prediction.page"):
                click.echo(f"How the files differ:  {self._shown(name)}")
            if kind in ("report", "compared_page", "ablated_page"):
                click.echo(f"\nThe report:            {self._shown(name)}")
                click.echo("The run in MLflow:     make ui")
                click.echo("The pipelines:         make viz")

    def report_address(self) -> str:
        """Where the report of this run will be; empty if it will make none."""
        pages = [name for name, kind in self.kinds.items() if kind == "page"]
        return self._shown(pages[0]) if pages else ""

    def note(self) -> str:
        """What came out, in Markdown: the scores side by side, and where the report is."""
        from mmer.reporting.markdown import scores_note

        parts: list[str] = []
        for name in self.now():
            if name.rpartition(".")[2] in ("comparison", "compared_systems"):
                parts.append(scores_note(self.read(name)))
            if self.kinds[name] == "page":
                page = self._path(name).name
                parts.append(
                    f"Report: `{page}` among the artefacts, `{self._shown(name)}` on disk."
                )
        return "\n\n".join(parts)

    def tables(self, names: set[str]) -> list[UsedTable]:
        """The tables of samples among these entries, as MLflow lists them."""
        from mmer.datasets.sample_tables import SampleTableFile

        found = []
        for name in sorted(names):
            dataset = self._catalog.get(name)
            if isinstance(dataset, SampleTableFile) and dataset.exists():
                found.append(_used(name, dataset.load(), self._source(name)))
        return found

    def _source(self, name: str) -> str:
        """Where the files are that a table was made from; of unknown ones, the table itself."""
        manifest = self._catalog.get(f"{name.partition('.')[0]}.manifest")
        if manifest is not None and manifest.exists():
            return os.path.relpath(manifest.load().raw.path)
        return self._shown(name)

    def provenance(self, names: set[str]) -> dict[str, object]:
        """Tags that name the data: fingerprint of each sample table, digest of each manifest."""
        from mmer.datasets.sample_tables import SampleTableFile

        tags: dict[str, object] = {}
        synthetic = set()
        for name in sorted(names):
            dataset = self._catalog.get(name)
            if isinstance(dataset, SampleTableFile) and dataset.exists():
                info = dataset.load().info
                tags[f"data.{name}.fingerprint"] = info.fingerprint
                synthetic.add(info.synthetic)
            elif name.endswith(".manifest") and dataset is not None and dataset.exists():
                manifest = dataset.load()
                files = {file.name: file.sha256 for file in manifest.files}
                tags[f"data.{name}.sha256"] = provenance.digest(files)
                synthetic.add(manifest.raw.synthetic)
        return {**tags, "synthetic": str(any(synthetic)).lower()} if synthetic else tags

    def _place(self, name: str) -> Disk | Address:
        from mmer.datasets.places import Disk

        dataset = self._catalog.get(name)
        return getattr(dataset, "place", None) or Disk(dataset._filepath)

    def _path(self, name: str) -> PurePath:
        dataset = self._catalog.get(name)
        version = getattr(dataset, "resolve_save_version", lambda: None)()
        return dataset._get_versioned_path(version) if version else dataset._filepath

    def _shown(self, name: str) -> str:
        from mmer.datasets.places import Address

        place, path = self._place(name), self._path(name)
        return place.name(path) if isinstance(place, Address) else os.path.relpath(path)

    def _state(self, name: str) -> object:
        return self._place(name).state(self._path(name))

    def _refuse_what_cannot_be_written(self, names: list[str]) -> None:
        from mmer.datasets.places import Address

        addresses = [place for name in names if isinstance(place := self._place(name), Address)]
        for folder in {tuple(one.url.split("/")[:4]): one for one in addresses}.values():
            folder.check()


def _used(name: str, table: SampleTable, source: str) -> UsedTable:
    info = table.info
    features = [
        {"name": modality, "type": f"float32, steps x {width}"}
        for modality, width in info.widths.items()
    ]
    return UsedTable(
        name=name,
        digest=info.fingerprint,
        split=info.split,
        source=source,
        columns=[*features, *({"name": label, "type": "boolean"} for label in info.labels)],
        profile={"samples": len(table), "synthetic": info.synthetic, "corpus": info.corpus},
    )


def _subject(outputs: Iterable[str], kinds: Mapping[str, str | None]) -> str:
    """The system that is examined; the only one, if nothing says which."""
    owners = {name.rpartition(".")[0] for name in outputs if kinds[name] in ("metrics", "history")}
    examined = {
        one for one in owners if {f"{one}.comparison", f"{one}.explanations"} & set(outputs)
    }
    return next(iter(examined or owners)) if len(examined or owners) == 1 else ""


def _kind(name: str, catalog: CatalogProtocol) -> str | None:
    """What of an entry goes to MLflow, and as what."""
    from mmer.datasets.files import FigureFile

    dataset = catalog.get(name)
    kind = (getattr(dataset, "metadata", None) or {}).get("mlflow")
    where = f"catalog entry {name}", "metadata.mlflow"
    if kind not in (None, *_KINDS):
        raise InputError(*where, f"one of {', '.join(_KINDS)}", repr(kind))
    if kind is not None and not hasattr(dataset, "_filepath"):
        raise InputError(*where, "an entry that keeps a file", type(dataset).__name__)
    if kind == "artifact" and isinstance(dataset, FigureFile):
        return "figure"
    return "page" if kind == "artifact" and _suffix(dataset) == ".html" else kind


def _suffix(dataset: Any) -> str:
    return PurePath(dataset._filepath).suffix
