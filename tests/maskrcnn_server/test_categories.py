import pytest

from maskrcnn_server.categories import Category, coco, named, numbered


def test_names_are_numbered_from_one() -> None:
    assert named(["cat", "dog"]) == (Category(1, "cat", 1), Category(2, "dog", 2))


def test_unknown_names_are_made_of_their_numbers() -> None:
    assert [category.name for category in numbered(3)] == ["class_1", "class_2", "class_3"]


def test_there_may_be_no_categories() -> None:
    assert named([]) == numbered(0) == ()


def test_coco_has_80_categories_with_ids_to_90() -> None:
    categories = coco()
    assert [category.id for category in categories] == list(range(1, 81))
    assert len({category.name for category in categories}) == 80
    dataset_ids = [category.dataset_id for category in categories]
    assert dataset_ids == sorted(set(dataset_ids))
    assert dataset_ids[-1] == 90


@pytest.mark.parametrize(
    "category",
    [
        Category(1, "person", 1),
        Category(11, "fire hydrant", 11),
        Category(12, "stop sign", 13),
        Category(26, "umbrella", 28),
        Category(61, "dining table", 67),
        Category(62, "toilet", 70),
        Category(80, "toothbrush", 90),
    ],
    ids=lambda category: category.name,
)
def test_coco_categories_have_the_data_sets_ids(category: Category) -> None:
    """As in `instances_val2017.json`."""
    assert coco()[category.id - 1] == category
