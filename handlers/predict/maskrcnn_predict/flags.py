"""Flags of `predict`, by what they are about: results, tiles, shards, a cluster, a clip."""

from pathlib import Path
from typing import Annotated

import typer

from maskrcnn_predict.by_ray import MAX_WORKERS

RESULTS, TILES, SHARDS, CLUSTER, CLIP = "Results", "Tiles", "Shards", "Ray cluster", "Clip"

Out = Annotated[
    Path | None,
    typer.Option(help="Folder for a drawing of each result (PNG).", rich_help_panel=RESULTS),
]
JsonFile = Annotated[
    str | None,
    typer.Option(
        "--json",
        help="File or s3:// address for all results, in COCO's format.",
        rich_help_panel=RESULTS,
    ),
]
GeoJson = Annotated[
    Path | None,
    typer.Option(
        help="File for the instances in georeferenced rasters, in degrees (GeoJSON).",
        rich_help_panel=RESULTS,
    ),
]
ShardFlag = Annotated[
    str | None,
    typer.Option(
        metavar="I/N",
        help="Do only the I-th (from 0) of N shares of the images. auto: the array job's.",
        rich_help_panel=SHARDS,
    ),
]
Join = Annotated[
    bool,
    typer.Option(
        "--join",
        help="Predict nothing; join the results of all shards.",
        rich_help_panel=SHARDS,
    ),
]
TileFlag = Annotated[
    str | None,
    typer.Option(
        metavar="WxH",
        help="Cut images into tiles of this size, such as 512x512.",
        rich_help_panel=TILES,
    ),
]
Overlap = Annotated[
    float | None,
    typer.Option(
        help="Share of a tile that its neighbours have, too: 0 to 0.8 (0.25).",
        rich_help_panel=TILES,
    ),
]
Overview = Annotated[
    bool,
    typer.Option(
        help="Look at the whole image, too, for what is larger than a tile.", rich_help_panel=TILES
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Predict on a Ray cluster. auto: this machine's, or one that is started on it.",
        rich_help_panel=CLUSTER,
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        min=1, max=MAX_WORKERS, help="Number of workers on the cluster.", rich_help_panel=CLUSTER
    ),
]
Gpus = Annotated[
    float, typer.Option(min=0, help="Number of GPUs of each worker.", rich_help_panel=CLUSTER)
]
Cpus = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        help="Number of CPUs of each worker (default: its share of all).",
        rich_help_panel=CLUSTER,
    ),
]
Parquet = Annotated[
    str | None,
    typer.Option(
        help="With --ray: folder or s3:// prefix for results as Parquet files.",
        rich_help_panel=CLUSTER,
    ),
]
Track = Annotated[
    bool,
    typer.Option(
        "--track",
        help="Follow the instances of a clip; --out is a clip, too.",
        rich_help_panel=CLIP,
    ),
]
Fps = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=1000,
        help="Frames a second of the clip to look at (all).",
        rich_help_panel=CLIP,
    ),
]
Mots = Annotated[
    Path | None,
    typer.Option(help="File for the tracks as MOTS' text, with --track.", rich_help_panel=CLIP),
]
