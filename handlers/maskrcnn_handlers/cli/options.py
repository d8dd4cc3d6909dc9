"""Options that several commands share."""

from typing import Annotated

import typer

ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="Folder, archive, address or zoo name (default: SM_MODEL_DIR)."),
]
BackendName = Annotated[
    str | None, typer.Option("--backend", help="Backend (default: MASKRCNN_BACKEND).")
]
