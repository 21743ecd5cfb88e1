"""study.html: a study on one page that opens anywhere, without a network."""

from collections.abc import Mapping
from pathlib import Path

from sslkit.ablation.page_curves import curves, styles
from sslkit.ablation.page_forest import forest
from sslkit.ablation.page_grid import heat_map
from sslkit.ablation.page_views import crops, whole_images
from sslkit.ablation.page_words import opening, record
from sslkit.ablation.result import StudyResult
from sslkit.ablation.tables import cost, differences, minded
from sslkit.report.rendering import Missing, rendered, write_html

TEMPLATES = Path(__file__).parent / "templates"
FEW = 5
"""Arms whose bands can all be told apart; of more only the one that is chosen has it."""


def write_page(result: StudyResult) -> Path:
    """Write the study's `study.html` from what is there; whatever is not is told on the page."""
    return write_html(result.places.page, _page(result))


def _page(result: StudyResult) -> str:
    missing = list[Missing]()
    data = {"arms": styles(result.study), "curves": curves(result), "all_bands": len(result.arms) <= FEW}
    parts = {
        "forest": forest(result),
        "heat": heat_map(result),
        "numbers": [
            *(differences(result, i) for i in range(len(result.study.metrics))),
            cost(result),
        ],
        "crops": crops(result, missing),
        "images": whole_images(result, missing),
        "mind": list(minded(result)),
    }
    return rendered(
        "study",
        TEMPLATES,
        result=result,
        study=result.study,
        data=data,
        has_charts=bool(data["curves"]),
        missing=missing,
        sections=[section for section, is_there in _sections(parts, bool(data["curves"])) if is_there],
        **parts,
        **opening(result),
        **record(result),
    )


def _sections(parts: Mapping[str, object], has_curves: bool) -> list[tuple[tuple[str, str], object]]:
    """In their order: (id, title), and whether the page has it."""
    return [
        (("verdicts", "Verdicts"), True),
        (("curves", "Curves"), has_curves),
        (("grid", "Grid"), parts["heat"]),
        (("numbers", "Numbers"), True),
        (("crops", "Crops"), parts["crops"]),
        (("images", "Images"), parts["images"]),
        (("changes", "Arms"), True),
        (("mind", "Mind"), parts["mind"]),
        (("record", "Record"), True),
    ]
