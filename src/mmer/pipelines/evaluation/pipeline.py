from kedro.pipeline import Pipeline

from mmer.pipelines.binding import in_namespace

from .nodes import assess_system, examine_system, score_test


def create_pipeline(corpus: str, system: str, *, examine: bool) -> Pipeline:
    """Test samples and everything chosen before -> what the system is worth.

    With `examine`, its failures, robustness and attention are looked into as well.
    """
    own, node = f"{corpus}.{system}", in_namespace(f"evaluation.{system}")
    given, scores = [f"{own}.model", f"{corpus}.test_samples"], f"{own}.test_scores"
    judged = [scores, f"{own}.calibration", f"params:{corpus}.evaluation"]
    nodes = [
        node(score_test, given, scores, tags="gpu"),
        node(assess_system, judged, f"{own}.assessment"),
    ]
    if examine:
        found = [f"{own}.failures", f"{own}.robustness", f"{own}.explanations"]
        nodes.append(node(examine_system, [*given, *judged], found, tags="gpu"))
    return Pipeline(nodes)
