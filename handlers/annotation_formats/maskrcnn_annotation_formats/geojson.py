"""GeoJSON in pixels, for QuPath, QGIS, geopandas and shapely."""

from maskrcnn_annotation_formats.outlines import Part, Ring, parts
from maskrcnn_handlers.formats.writing import Instance, as_json, instances
from maskrcnn_server.formats import Prediction


class GeoJSON:
    """A FeatureCollection (RFC 7946) of polygons in pixel coordinates, y downwards.

    The standard has degrees; imaging programs use pixels. `objectType` and `classification` are
    QuPath's. The geometry of an empty mask is null.
    """

    name = "geojson"
    media_type = "application/geo+json"

    def render(self, prediction: Prediction, /) -> bytes:
        features = [_feature(instance) for instance in instances(prediction)]
        return as_json(
            {"type": "FeatureCollection", "img_id": prediction.image_id, "features": features}
        )


def _feature(instance: Instance) -> dict[str, object]:
    properties: dict[str, object] = {
        "objectType": "annotation",
        "classification": {"name": instance.category.name},
        "category_id": instance.category.id,
        "score": instance.score,
    }
    if instance.mask is not None:
        properties["area"] = instance.mask.area
    box = [round(v, 4) for v in instance.box.tolist()]
    return {
        "type": "Feature",
        "bbox": box,
        "geometry": _geometry(instance, box),
        "properties": properties,
    }


def _geometry(instance: Instance, box: list[float]) -> dict[str, object] | None:
    if instance.mask is None:
        x1, y1, x2, y2 = box
        corners = [[x1, y1], [x2, y1], [x2, y2], [x1, y2], [x1, y1]]
        return {"type": "Polygon", "coordinates": [corners]}
    polygons = [_rings(part) for part in parts(instance.mask)]
    if not polygons:
        return None
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _rings(part: Part) -> list[list[list[float]]]:
    return [_closed(part.exterior), *map(_closed, part.holes)]


def _closed(ring: Ring) -> list[list[float]]:
    points: list[list[float]] = ring.tolist()
    return [*points, points[0]]
