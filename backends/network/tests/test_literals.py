"""Python is read as text, within limits."""

import pytest

from maskrcnn_network.literals import COMPUTED, MAX_SOURCE_BYTES, assigned
from maskrcnn_server.errors import InvalidModel


def test_literals_dictionaries_and_names_are_read() -> None:
    source = """\
side = 8 * 4
norm = dict(type='GN', **{'num-groups': 32})
model = dict(neck=dict(norm=norm, sizes=[side, -side / 2, (1, None)]), train={'a': [1e-3, True]})
"""
    norm = {"type": "GN", "num-groups": 32}
    assert assigned(source, "config.py")["model"] == {
        "neck": {"norm": norm, "sizes": [32, -16, [1, None]]},
        "train": {"a": [0.001, True]},
    }


def test_what_only_running_would_show_is_left_open() -> None:
    source = (
        "a = open('/etc/passwd').read()\nb = dict(x=a, y=1, z=[2, len('b')])\nc = 9 ** 9 ** 9\n"
    )
    found = assigned(source, "config.py")
    assert found == {"a": COMPUTED, "b": {"x": COMPUTED, "y": 1, "z": COMPUTED}, "c": COMPUTED}


@pytest.mark.parametrize(
    "source",
    [
        "x0 = [1, 1]\n" + "".join(f"x{i + 1} = [x{i}, x{i}]\n" for i in range(60)),
        "x0 = dict(a=1)\n" + "".join(f"x{i + 1} = dict(a=x{i}, b=x{i})\n" for i in range(60)),
        "x = " + "[" * 5000,
        "x = " + "-" * 50_000 + "1",
        "x = '" + "a" * MAX_SOURCE_BYTES + "'",
        "x = \0",
        "x ==",
    ],
    ids=["lists", "dictionaries", "brackets", "signs", "length", "zero byte", "syntax"],
)
def test_hostile_text_is_refused(source: str) -> None:
    with pytest.raises(InvalidModel, match=r"config\.py: "):
        assigned(source, "config.py")
