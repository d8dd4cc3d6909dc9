"""YAML as strangers write it."""

from pathlib import Path

import pytest

from maskrcnn_server.yaml_file import MAX_NODES, NotYaml, parse, read


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("", None),
        ("a: [1, 2.5, true, null, x]", {"a": [1, 2.5, True, None, "x"]}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}", {"a": {"b": 1, "c": 2}, "d": {"b": 3, "c": 2}}),
        (
            "a: &x {b: 1}\nc: &y {b: 2}\nd: {<<: [*x, *y]}",
            {"a": {"b": 1}, "c": {"b": 2}, "d": {"b": 1}},
        ),
    ],
)
def test_plain_values_are_read_and_aliases_stand_for_what_they_name(
    text: str, content: object
) -> None:
    assert parse(text) == content


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [1, 2]"]
    lines += [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, levels)]
    return "\n".join(lines)


def test_aliases_that_stand_for_many_values_are_refused() -> None:
    parse(bomb(10))
    for levels in (20, 500):
        with pytest.raises(NotYaml, match=f"more than {MAX_NODES} values"):
            parse(bomb(levels))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: 1\nb: {c: 1, c: 2}", "the key c comes twice .*line 2"),
        ("a: &x [1, *x]", "more than"),
        ("a: [1]\nb: {<<: [1]}", "<< names no mapping"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: 2001-99-99", "month"),
        ("a: \0", "special characters"),
        ("{" * 5000, "more than 64 lists and mappings in one another"),
        ("[" * 5000 + "]" * 5000, "more than 64 lists"),
        ("a: [", "line 1"),
        ("a: 1" + ":1" * 100, "a number of more than 64 characters"),
        ("a: 1" + ":1" * 100 + ".5", "a number of more than 64 characters"),
        ("a: 9" + "9" * 5000, "a number of more than 64 characters"),
        ("? [1, 2]\n: 3", "a key is a list or a mapping"),
    ],
)
def test_what_is_not_read_is_said(text: str, reason: str) -> None:
    with pytest.raises(NotYaml, match=reason):
        parse(text)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"a: \xff\xfe")
    with pytest.raises(NotYaml):
        read(tmp_path / "a.yaml")


def test_a_large_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(NotYaml, match="larger than 1 MiB"):
        read(tmp_path / "a.yaml")
