"""`maskrcnn-server export`"""

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from maskrcnn_handlers.cli.options import BackendName
from maskrcnn_handlers.cli.showing import downloading
from maskrcnn_predict.progress import counting, working
from maskrcnn_server import settings as environment
from maskrcnn_server.backend import Backend, Exports, ModelConfig, ModelMetadata, Quantizes
from maskrcnn_server.errors import InvalidModel, InvalidSetting
from maskrcnn_server.hosting.located import choose_backend, locate
from maskrcnn_server.plugins import Plugins, installed
from maskrcnn_study.annotations import coco_set
from maskrcnn_study.changes import agreement, change_in_ap
from maskrcnn_study.evaluation import classes_of
from maskrcnn_study.outputs import check_form, check_target
from maskrcnn_study.samples import Everything, KeepAbove, report_change, samples

ONNX = "onnx"


def export(
    model: Annotated[str, typer.Argument(help="Folder, archive, address or zoo name.")],
    out: Annotated[Path, typer.Argument(help="What to write; it must not be there yet.")],
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="saved_model (TensorFlow Serving) or onnx (for backend onnx, ONNX Runtime, ...).",
        ),
    ] = "saved_model",
    int8: Annotated[
        bool, typer.Option("--int8", help="Of onnx: in 8-bit integers, with --calibrate.")
    ] = False,
    calibrate: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures like those to come; a few dozen are enough."),
    ] = None,
    keep_above: KeepAbove = 0.25,
    everything: Everything = False,
    annotations: Annotated[
        Path | None,
        typer.Option("--coco", help="Annotations in COCO's format, to measure what int8 costs."),
    ] = None,
    pictures: Annotated[
        Path | None, typer.Option("--images", help="Folder of the annotated pictures.")
    ] = None,
    backend: BackendName = None,
) -> None:
    """Export a model for another program, such as TensorFlow Serving.

    With --int8, the effect of each part of the network is measured and printed, and parts with too
    large an effect stay in float32. Models in ONNX can be quantised, too.
    """
    console = Console(soft_wrap=True)
    plugins, settings = installed(), environment.read(model=model, backend=backend)
    check_target(out)
    backends = plugins.backends().values()
    check_form(
        "--format",
        form,
        (name for b in backends if isinstance(b, Exports) for name in b.exporters()),
    )
    if int8 != (calibrate is not None) or (int8 and form != ONNX):
        raise InvalidSetting("--int8 and --calibrate go together, with --format onnx")
    if (annotations is None) != (pictures is None) or (annotations and not int8):
        raise InvalidSetting("--coco and --images go together, with --int8")
    truth = coco_set(annotations, pictures) if annotations and pictures else None
    calibrated_on = list(samples(calibrate, settings.max_image_pixels)) if calibrate else []
    with downloading(console) as progress:
        located = locate(plugins, settings.model, settings, progress)
    chosen = choose_backend(plugins, located)
    config, folder_name = located.config(chosen.name), escape(str(located.folder))
    out.parent.mkdir(parents=True, exist_ok=True)
    if not int8:
        _export(console, chosen, config, form, out)
        console.print(f"{folder_name} written to {escape(str(out))} as {form}")
        return
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(chosen, Quantizes):
            quantizer: Quantizes = chosen
        else:
            quantizer = _quantizer(plugins)
            target = Path(folder) / "float32"
            _export(console, chosen, config, form, target)
            config = ModelConfig(model_dir=target, threads=config.threads)
        if truth:
            for note in (*truth.notes, *classes_of(_metadata(quantizer, config), truth).notes):
                console.print(f"[yellow]{escape(note)}[/]")
        if not everything:
            console.print("part of the network: share of what is found that changes with it alone")
        max_change = None if everything else keep_above
        report = partial(report_change, console)
        with working(console, "measuring and quantising"):
            quantizer.quantize(config, calibrated_on, out, max_change, report)
        console.print(f"{folder_name} written to {escape(str(out))} as {form}, int8")
        if out.is_dir():
            before, after = (
                quantizer.load(replace(config, model_dir=d)) for d in (config.model_dir, out)
            )
            limit = settings.max_image_pixels
            total = 2 * len(truth.paths) if truth else len(calibrated_on)
            with counting(console, "comparing both models", total) as count:
                changed = change_in_ap(before, after, truth, limit, count) if truth else None
                said = changed or agreement(before, after, calibrated_on, count)
            console.print(said)


def _metadata(backend: Backend, config: ModelConfig) -> ModelMetadata:
    model = backend.load(config)
    model.close()
    return model.metadata


def _export(console: Console, chosen: Backend, config: ModelConfig, form: str, out: Path) -> None:
    exporters = chosen.exporters() if isinstance(chosen, Exports) else {}
    if form not in exporters:
        known = ", ".join(exporters) or "nothing: take the backend of what trained the model"
        raise InvalidModel(f"backend {chosen.name} does not write {form}; it writes {known}")
    with working(console, f"writing {out}"):
        exporters[form](config, out)


def _quantizer(plugins: Plugins) -> Quantizes:
    found = next((b for b in plugins.backends().values() if isinstance(b, Quantizes)), None)
    if found is None:
        raise InvalidSetting("no backend that quantises is installed: pip install ./backends/onnx")
    return found
