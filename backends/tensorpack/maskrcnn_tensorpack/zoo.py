"""TensorPack's published Mask R-CNN models.

Source: the table of results in examples/FasterRCNN/README.md; AP as given there. All were trained
on COCO train2017, evaluated on val2017, and need no configuration but the framework's defaults.
"""

from collections.abc import Iterator

from maskrcnn_server.backend import ZooModel

BASE_URL = "http://models.tensorpack.com/FasterRCNN"

_TABLE = (
    ("R50C41x", 36.2, 31.8, "ResNet-50, C4"),
    ("R50FPN2x", 38.9, 35.4, "ResNet-50, FPN, trained twice as long"),
    ("R50FPN2xGN", 40.4, 36.3, "ResNet-50, FPN, group normalisation"),
    ("R50FPN1xCas", 41.7, 36.2, "ResNet-50, FPN, Cascade"),
    ("R50FPN4xGNCasAug", 46.1, 40.1, "ResNet-50, FPN, group normalisation, Cascade"),
    ("R101C41x", 40.1, 34.6, "ResNet-101, C4"),
    ("R101FPN1x", 40.7, 36.8, "ResNet-101, FPN"),
    ("R101FPN3xCasAug", 46.6, 40.3, "ResNet-101, FPN, Cascade"),
    ("R101FPN9xGNCasAugScratch", 47.7, 41.7, "ResNet-101, FPN, group normalisation, Cascade"),
)


def models() -> Iterator[ZooModel]:
    """Every model of the table that can be downloaded."""
    for name, box_ap, mask_ap, description in _TABLE:
        yield ZooModel(
            name=f"tensorpack:{name}",
            base_url=BASE_URL,
            file=f"COCO-MaskRCNN-{name}.npz",
            box_ap=box_ap,
            mask_ap=mask_ap,
            description=description,
        )
