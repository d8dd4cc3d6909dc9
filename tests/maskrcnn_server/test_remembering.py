"""What is read of files while several plugins look at them."""

import os
import threading
from pathlib import Path

from maskrcnn_server.remembering import read_once, remembering


def test_a_file_is_read_once_while_it_is_remembered(tmp_path: Path) -> None:
    read: list[Path] = []

    def reader(path: Path) -> str:
        read.append(path)
        return path.read_text()

    path = tmp_path / "a"
    path.write_text("one")
    with remembering():
        assert [read_once(reader, path) for _ in range(3)] == ["one"] * 3
        assert len(read) == 1
        path.write_text("other")
        assert read_once(reader, path) == "other"
        os.utime(path, ns=(0, 0))
        read_once(reader, path)
        assert len(read) == 3
        other = threading.Thread(target=read_once, args=(reader, path))
        other.start()
        other.join()
        assert len(read) == 4
    for _ in range(2):
        read_once(reader, path)
    assert len(read) == 6
