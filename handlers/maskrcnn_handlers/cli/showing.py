"""What several commands print."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maskrcnn_handlers.formats.sagemaker import Annotation
from maskrcnn_server.plugins import Plugins


def report_broken(console: Console, plugins: Plugins) -> None:
    """Say which plugins are broken, and why."""
    for broken in plugins.broken:
        console.print(f"[red]broken:[/] {escape(str(broken))}")


def listed(annotations: Sequence[Annotation]) -> Table:
    """The annotations, one a line."""
    table = Table()
    for column in ("category", "score", "bbox (x, y, width, height)", "mask pixels"):
        table.add_column(column, justify="left" if column == "category" else "right")
    for annotation in annotations:
        masked = "segmentation" in annotation
        area = sum(annotation["segmentation"]["counts"][1::2]) if masked else "none"
        table.add_row(
            annotation["category_name"],
            f"{annotation['score']:.3f}",
            str(annotation["bbox"]),
            str(area),
        )
    return table
