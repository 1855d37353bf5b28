from kedro.pipeline import Pipeline

from mmer.pipelines.binding import in_namespace

from .nodes import decide_promotion, list_champions, report_promotion, take_champion_back


def create_pipeline(corpus: str) -> Pipeline:
    """Candidate and champion -> a decision, the alias `champion` where it belongs, a page."""
    own, node = f"{corpus}.promotion", in_namespace("promotion")
    settings = [f"params:{corpus}.promotion", f"params:{corpus}.evaluation"]
    decision, champion = f"{own}.decision", f"{own}.champion"
    return Pipeline(
        [
            node(decide_promotion, [f"{own}.contenders", *settings], [decision, champion]),
            node(report_promotion, [decision, champion], [f"{own}.report", f"{own}.champions"]),
        ]
    )


def create_rollback(corpus: str) -> Pipeline:
    """The table of champions -> the champion before the last one again."""
    own, node = f"{corpus}.promotion", in_namespace("promotion")
    back = f"{own}.returned_champion"
    return Pipeline(
        [
            node(take_champion_back, f"{own}.past_champions", back),
            node(list_champions, back, f"{own}.champions"),
        ]
    )
