from kedro.pipeline import Pipeline

from mmer.corpora import CORPORA
from mmer.pipelines.binding import bound, in_namespace
from mmer.registry.predictor import Choice

from .nodes import measure_drift, open_new_files, predict_samples, render_drift


def create_pipeline(corpus: str) -> Pipeline:
    """New files -> predictions of a registered model, and how the files differ from training."""
    own, node = f"{corpus}.prediction", in_namespace("prediction")
    model, samples, scored = f"{own}.model", f"{own}.samples", f"{own}.predictions"
    open_files = bound(open_new_files, {"settings": CORPORA[corpus].ingestion}, corpus=corpus)
    settings = f"params:{corpus}.ingestion"
    inputs = [f"{own}.files", model, settings, f"{own}.workspace"]
    predict = bound(predict_samples, {"choice": Choice})
    return Pipeline(
        [
            node(open_files, inputs, samples),
            node(predict, [model, samples, f"params:{own}"], scored),
            node(measure_drift, [model, samples, scored], f"{own}.drift"),
            node(render_drift, f"{own}.drift", f"{own}.page"),
        ]
    )
