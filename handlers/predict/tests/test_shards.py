"""The share of the images that each process takes."""

from collections import Counter
from pathlib import Path

import boto3
import pytest

from maskrcnn_predict import shards
from maskrcnn_predict.shards import Shard
from maskrcnn_predict.sources import sources
from maskrcnn_server.errors import InvalidSetting

SLURM = {
    "SLURM_ARRAY_TASK_ID": "14",
    "SLURM_ARRAY_TASK_COUNT": "4",
    "SLURM_ARRAY_TASK_MIN": "10",
    "SLURM_ARRAY_TASK_STEP": "2",
}
BATCH = {"AWS_BATCH_JOB_ARRAY_INDEX": "3", "AWS_BATCH_JOB_ARRAY_SIZE": "8"}


@pytest.mark.parametrize(
    ("text", "variables", "shard"),
    [
        ("0/1", {}, Shard(0, 1)),
        ("7/8", BATCH, Shard(7, 8)),
        ("auto", BATCH, Shard(3, 8)),
        ("auto/16", BATCH, Shard(3, 16)),
        ("auto/5", {"JOB_COMPLETION_INDEX": "4"}, Shard(4, 5)),
        ("auto", SLURM, Shard(2, 4)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "2"}, Shard(1, 2)),
    ],
)
def test_a_shard_is_named_by_numbers_or_by_the_array_job(
    text: str, variables: dict[str, str], shard: Shard
) -> None:
    assert shards.named(text, variables) == shard


@pytest.mark.parametrize(
    ("text", "variables", "reason"),
    [
        ("8/8", {}, "0 to N - 1"),
        ("0/0", {}, "0 to N - 1"),
        ("0/200000", {}, "at most 100000"),
        ("-1/8", {}, "I/N is meant"),
        ("3", {}, "I/N is meant"),
        ("1/x", {}, "I/N is meant"),
        ("auto", {}, "no array job"),
        ("auto", {"JOB_COMPLETION_INDEX": "4"}, "use auto/N"),
        ("auto/4", {"JOB_COMPLETION_INDEX": "4"}, "0 to N - 1"),
        ("auto", {**BATCH, "AWS_BATCH_JOB_ARRAY_INDEX": "three"}, "not a number"),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_ID": "18"}, "0 to N - 1"),
    ],
)
def test_what_names_no_shard_is_refused(text: str, variables: dict[str, str], reason: str) -> None:
    with pytest.raises(InvalidSetting, match=reason):
        shards.named(text, variables)


@pytest.mark.parametrize("count", [1, 3, 64])
def test_each_image_is_in_one_shard_and_they_are_about_equal(count: int) -> None:
    names = [f"s3://bucket/photos/{i:07}.jpg" for i in range(6400)]
    sizes = Counter(
        index for name in names for index in range(count) if Shard(index, count).has(name)
    )
    assert sizes.total() == len(names)
    assert len(sizes) == count
    assert max(sizes.values()) < 1.5 * len(names) / count


def test_a_folder_is_split_without_rest(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i}.jpg").touch()
    split = [list(sources([str(tmp_path)], Shard(index, 3).has)) for index in range(3)]
    names = [source.name for share in split for source in share]
    assert sorted(names) == sorted(source.name for source in sources([str(tmp_path)]))
    assert len(set(names)) == 40


def test_a_manifest_lists_images_and_others_shards_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "1.png").touch()
    lines = [f"{tmp_path}/a.png", "", f"{tmp_path}/deep", "  s3://absent/b.jpg  "]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    found = sources([f"@{tmp_path}/list.txt"], lambda name: not name.startswith("s3:"))
    assert [(source.name, source.image_id) for source in found] == [
        (f"{tmp_path}/a.png", "a.png"),
        (f"{tmp_path}/deep/1.png", 1),
    ]


@pytest.mark.usefixtures("aws")
def test_a_manifest_in_s3_is_read_to_its_end() -> None:
    s3 = boto3.client("s3")
    for i in range(3):
        s3.put_object(Bucket="models", Key=f"in/{i}.jpg", Body=b"")
    listed = "".join(f"s3://models/in/{i}.jpg\r\n" for i in range(3))
    s3.put_object(Bucket="models", Key="list", Body=listed.encode())
    found = list(sources(["@s3://models/list"]))
    assert [source.image_id for source in found] == [0, 1, 2]
    assert all(source.version for source in found)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"a" * 5000, "more than 4096 bytes"), (b"a.png\n\xff.png", "line 2: .*not UTF-8")],
)
@pytest.mark.parametrize("is_remote", [False, True])
@pytest.mark.usefixtures("aws")
def test_what_is_no_manifest_is_refused(
    tmp_path: Path, content: bytes, reason: str, is_remote: bool
) -> None:
    (tmp_path / "list").write_bytes(content)
    boto3.client("s3").put_object(Bucket="models", Key="list", Body=content)
    place = "@s3://models/list" if is_remote else f"@{tmp_path}/list"
    with pytest.raises(InvalidSetting, match=reason):
        list(sources([place]))


def test_a_manifest_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidSetting, match="No such file"):
        list(sources([f"@{tmp_path}/absent"]))
