"""Classes of one side that are those of the other, by their names."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from maskrcnn_handlers.formats.coco_results import CocoResult
from maskrcnn_server.errors import InvalidSetting

SHOWN = 10
"""Number of names that a sentence lists."""


@dataclass(frozen=True)
class Matching:
    """Which class of the annotations each class of a model is."""

    ids: Mapping[int, int]
    """The annotations' category ids, by the model's."""
    notes: Sequence[str]
    """Sentences about classes that are not plainly the same."""

    def renumbered(self, results: Iterable[CocoResult]) -> Iterator[CocoResult]:
        """Results with the annotations' ids, without those of classes that they do not have."""
        for result in results:
            ours = self.ids.get(result["category_id"])
            if ours is not None:
                yield {**result, "category_id": ours}


def same_class(name: str) -> str:
    """What names of one class have in common: letters of either case, without spaces and dashes."""
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name).casefold()) or name


def matched(
    model: Mapping[int, str], annotated: Mapping[int, str | None], *, complete: bool = True
) -> Matching:
    """Classes of a model in annotations; both are names by ids, None for a class without a name.

    Equal names win, then those that differ in case, spaces, dashes or underscores. A class without
    a name on either side is matched by its id. `complete` says that these are all of the model's
    classes, not only those that it detected.

    Raises InvalidSetting if no class is in common, or a name fits two.
    """
    found = _found(model, annotated)
    if found.unclear:
        raise InvalidSetting(
            f"{_listed(found.unclear)} of the model and of the annotations are spelt too much "
            "alike: give a class the same name in both"
        )
    ids, alike, nameless = found.ids, found.alike, found.nameless
    if nameless and 0 in annotated:
        raise InvalidSetting(
            f"the classes {_listed(model[i] for i in nameless)} of the model have no names, and "
            "the ids of the annotations begin with 0, those of models with 1: put a classes.txt "
            "next to the checkpoint"
        )
    if model and not ids:
        raise InvalidSetting(
            f"the model and the annotations have no class in common: {_listed(model.values())}; "
            f"{_listed(name or str(i) for i, name in annotated.items())}"
        )
    notes = [
        f"{annotated[ids[i]]!r} of the annotations is taken for the model's {model[i]!r}"
        for i in alike
    ]
    notes += [
        f"{model[theirs]}: category {theirs} of the model, {ours} of the annotations"
        for theirs, ours in ids.items()
        if theirs != ours
    ]
    absent = [name or str(i) for i, name in annotated.items() if i not in ids.values()]
    said = "the model does not have" if complete else "the model detected no"
    sentences = {
        "matched by id, for want of names: {}": [model[i] for i in nameless],
        "the annotations do not have {}: detections are left out": [
            name for i, name in model.items() if i not in ids
        ],
        said + " {}: the AP is 0 where it is annotated": absent,
    }
    notes += [text.format(_listed(names)) for text, names in sentences.items() if names]
    return Matching(ids, notes)


def pairs_of_names(a: Mapping[int, str], b: Mapping[int, str]) -> dict[str, str]:
    """Names of B by the names of A that mean the same class; both sides are names by ids.

    Classes are matched as `matched` does, and none where a name fits two.
    """
    found = _found(a, b)
    return {a[i]: b[other] for i, other in found.ids.items()}


@dataclass(frozen=True)
class _Found:
    ids: dict[int, int]
    """Ids of the other side, by ids of one."""
    alike: list[int]
    """Ids whose names are almost equal."""
    nameless: list[int]
    """Ids that are matched by themselves, for want of names."""
    unclear: list[str]
    """Names that fit two."""


def _found(ours: Mapping[int, str], theirs: Mapping[int, str | None]) -> _Found:
    by_name = {name: i for i, name in theirs.items() if name is not None}
    ids = {i: by_name[name] for i, name in ours.items() if name in by_name}
    # Of two sides without names, equal names are found above.
    nameless = [
        i
        for i, name in ours.items()
        if i not in ids and i in theirs and (_is_number(name, i) or _is_number(theirs[i], i))
    ]
    ids |= {i: i for i in nameless}
    taken = set(ids.values())
    free, wanted = _by_class(by_name, taken), _by_class({n: i for i, n in ours.items()}, ids)
    shared = free.keys() & wanted.keys()
    clear = [key for key in shared if len(free[key]) == len(wanted[key]) == 1]
    alike = {wanted[key][0]: free[key][0] for key in clear}
    unclear = [
        name
        for key in shared - set(clear)
        for name in (*(ours[i] for i in wanted[key]), *(theirs[i] for i in free[key]))
        if name is not None
    ]
    ordered = [i for i in ours if i in alike]
    return _Found(ids | {i: alike[i] for i in ordered}, ordered, nameless, unclear)


def _is_number(name: str | None, i: int) -> bool:
    """Whether a class is called by its number, because nobody knows its name."""
    return name is None or name == f"class_{i}"


def _by_class(names: Mapping[str, int], taken: Collection[int]) -> dict[str, list[int]]:
    """Ids that are not taken, by what their names have in common."""
    found: dict[str, list[int]] = {}
    for name, i in names.items():
        if i not in taken:
            found.setdefault(same_class(name), []).append(i)
    return found


def _listed(names: Iterable[str]) -> str:
    listed = [repr(name) for name in names]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more
