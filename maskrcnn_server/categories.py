"""Categories: a network's contiguous class indices, and the ids its data set uses."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Category:
    """A class of objects."""

    id: int
    """The network's class index, from 1: what `Detections.category_ids` holds."""
    name: str
    dataset_id: int
    """Id in the data set's annotations; equal to `id` unless the data set's ids have gaps."""


def named(names: Sequence[str]) -> tuple[Category, ...]:
    """Categories 1, 2, ... with these names, without the background."""
    return tuple(Category(i, name, i) for i, name in enumerate(names, start=1))


def numbered(count: int) -> tuple[Category, ...]:
    """`count` categories with unknown names."""
    return named([f"class_{i}" for i in range(1, count + 1)])


def coco() -> tuple[Category, ...]:
    """The 80 categories of COCO 2014 and 2017 (Lin et al. 2014), whose ids run to 90 with gaps."""
    ids = [i for i in range(1, 91) if i not in _COCO_GAPS]
    return tuple(
        Category(index, name, dataset_id)
        for index, (name, dataset_id) in enumerate(zip(_COCO_NAMES, ids, strict=True), start=1)
    )


def coco_with_gaps() -> tuple[Category, ...]:
    """The 90 classes of networks, such as torchvision's, that number COCO's categories by their
    ids.

    Ids without a category are named N/A.
    """
    names = {category.dataset_id: category.name for category in coco()}
    return named([names.get(i, "N/A") for i in range(1, 91)])


_COCO_GAPS = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})

_COCO_NAMES = (
    "person|bicycle|car|motorcycle|airplane|bus|train|truck|boat|traffic light|fire hydrant|"
    "stop sign|parking meter|bench|bird|cat|dog|horse|sheep|cow|elephant|bear|zebra|giraffe|"
    "backpack|umbrella|handbag|tie|suitcase|frisbee|skis|snowboard|sports ball|kite|baseball bat|"
    "baseball glove|skateboard|surfboard|tennis racket|bottle|wine glass|cup|fork|knife|spoon|"
    "bowl|banana|apple|sandwich|orange|broccoli|carrot|hot dog|pizza|donut|cake|chair|couch|"
    "potted plant|bed|dining table|toilet|tv|laptop|mouse|remote|keyboard|cell phone|microwave|"
    "oven|toaster|sink|refrigerator|book|clock|vase|scissors|teddy bear|hair drier|toothbrush"
).split("|")
