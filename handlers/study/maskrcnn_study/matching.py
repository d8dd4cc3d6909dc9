"""Classes of one side that are those of the other, by their names."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name).casefold())


def matched(
    model: Mapping[int, str], annotated: Mapping[int, str | None], *, complete: bool = True
) -> Matching:
    """Classes of a model in annotations; both are names by ids, None for a class without a name.

    Equal names win, then those that differ in case, spaces, dashes or underscores. A class without
    a name on either side is matched by its id. `complete` says that these are all of the model's
    classes, not only those that it detected.

    Raises InvalidSetting if no class is in common, or a name fits two.
    """
    by_name = {name: i for i, name in annotated.items() if name is not None}
    ids = {theirs: by_name[name] for theirs, name in model.items() if name in by_name}
    nameless = [
        i
        for i, name in model.items()
        if i not in ids and i in annotated and (annotated[i] is None or name == f"class_{i}")
    ]
    ids |= {i: i for i in nameless}
    alike = _alike(model, by_name, ids)
    ids |= {theirs: by_name[name] for theirs, name in alike.items()}
    if model and not ids:
        raise InvalidSetting(
            f"the model and the annotations have no class in common: {_listed(model.values())}; "
            f"{_listed(name or str(i) for i, name in annotated.items())}"
        )
    notes = [
        f"{name!r} of the annotations is taken for the model's {model[theirs]!r}"
        for theirs, name in alike.items()
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


def _alike(
    model: Mapping[int, str], by_name: Mapping[str, int], ids: Mapping[int, int]
) -> dict[int, str]:
    """Names of the annotations that are almost those of classes that are not in `ids`."""
    found: dict[int, str] = {}
    for theirs, name in model.items():
        if theirs in ids:
            continue
        free = [n for n, i in by_name.items() if i not in ids.values()]
        alike = [n for n in free if same_class(n) == same_class(name)]
        rivals = [other for i, other in model.items() if i not in ids and i != theirs]
        rivals = [other for other in rivals if same_class(other) == same_class(name)]
        if alike and (len(alike) > 1 or rivals):
            raise InvalidSetting(
                f"{_listed([name, *rivals])} of the model and {_listed(alike)} of the annotations "
                "are spelt too much alike: give a class the same name in both"
            )
        if alike:
            found[theirs] = alike[0]
    return found


def pairs_of_names(a: Sequence[str], b: Sequence[str]) -> NDArray[np.bool_]:
    """Whether each of N names is the class of each of M, bool (N, M).

    Names that differ in case or spaces are of one class, unless one side has several such names.
    """
    plain = [_unless_ambiguous(names) for names in (a, b)]
    equal: NDArray[np.bool_] = np.array(a, object)[:, None] == np.array(b, object)[None]
    if None in plain:
        return equal
    one, other = (np.array(names, object) for names in plain)
    alike: NDArray[np.bool_] = one[:, None] == other[None]
    return alike


def _unless_ambiguous(names: Sequence[str]) -> list[str] | None:
    plain = [same_class(name) for name in names]
    return plain if len(set(plain)) == len(set(names)) else None


def _listed(names: Iterable[str]) -> str:
    listed = [repr(name) for name in names]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more
