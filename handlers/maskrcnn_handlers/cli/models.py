"""`maskrcnn-server models`"""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from maskrcnn_server import settings as environment
from maskrcnn_server.hosting.located import model_store
from maskrcnn_server.plugins import installed


def models() -> None:
    """List the published models that can be served by name, and what the cache holds."""
    console = Console(soft_wrap=True)
    plugins, settings = installed(), environment.read()
    store = model_store(plugins, settings)
    table = Table(title="zoo", title_justify="left")
    for column in ("name", "box AP", "mask AP", "description"):
        table.add_column(column, justify="right" if column.endswith("AP") else "left")
    for model in store.zoo.values():
        mask_ap = "" if model.mask_ap is None else f"{model.mask_ap:.1f}"
        table.add_row(model.name, f"{model.box_ap:.1f}", mask_ap, model.description)
    console.print(table)
    console.print(f"cache: {escape(str(store.cache))}")
    for where, folder in store.entries():
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        console.print(f"  {escape(where)}: {size / 1e6:.1f} MB in {escape(str(folder))}")
