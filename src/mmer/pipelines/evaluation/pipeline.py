from kedro.pipeline import Node, Pipeline

from .nodes import assess_system, examine_system, score_test


def create_pipeline(corpus: str, system: str, *, examine: bool) -> Pipeline:
    """Test samples and everything chosen before -> what the system is worth.

    Args:
        corpus: Name of the corpus.
        system: Name of the system.
        examine: Look into its failures, robustness and attention too.
    """
    own, namespace = f"{corpus}.{system}", f"evaluation.{system}"
    settings = f"params:{corpus}.evaluation"
    nodes = [
        Node(
            score_test,
            [f"{own}.model", f"{corpus}.test_samples"],
            f"{own}.test_scores",
            name="score_test",
            tags="gpu",
            namespace=namespace,
        ),
        Node(
            assess_system,
            [f"{own}.test_scores", f"{own}.calibration", settings],
            f"{own}.assessment",
            name="assess",
            namespace=namespace,
        ),
    ]
    if examine:
        scores = [f"{own}.test_scores", f"{own}.calibration"]
        nodes.append(
            Node(
                examine_system,
                [f"{own}.model", f"{corpus}.test_samples", *scores, settings],
                [f"{own}.failures", f"{own}.robustness", f"{own}.explanations"],
                name="examine",
                tags="gpu",
                namespace=namespace,
            )
        )
    return Pipeline(nodes)
