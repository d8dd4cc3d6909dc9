"""The page about the client: its examples of streams and frames run."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

PAGE = (Path(__file__).parents[3] / "docs/client.md").read_text()
EXAMPLES = {
    title: re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    for title, section in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
}
ADDRESS = "http://127.0.0.1:8080"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("title", "number", "printed"),
    [
        ("Tiles and images as they are done", 0, "1 of 9"),
        ("Tiles and images as they are done", 1, "7.png"),
        ("Frames", 0, "0 1"),
        ("Frames", 1, "frame 7: red 1"),
        ("Frames", 2, "0\n1\n1\n1\n"),
    ],
)
def test_an_example_runs(
    title: str,
    number: int,
    printed: str,
    streaming: str,
    encode: Callable[..., bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    example = EXAMPLES[title][number]
    if "maskrcnn_video" in example:
        pytest.importorskip("trackers")
    monkeypatch.chdir(tmp_path)
    pixels = np.zeros((1200, 1200, 3), np.uint8)
    pixels[20:40, 30:60, 0] = 255
    Path("field.png").write_bytes(encode(pixels))
    Path("frames").mkdir()
    shown = [np.roll(pixels[:80, :160], 2 * frame, axis=1) for frame in range(8)]
    for frame, small in enumerate(shown):
        Path(f"frames/{frame}.png").write_bytes(encode(small))
    first, *others = map(PIL.Image.fromarray, shown)
    first.save("clip.gif", save_all=True, append_images=others, duration=100)
    assert ADDRESS in example
    code = compile(example.replace(ADDRESS, streaming), f"docs/client.md, {title}", "exec")
    exec(code, {})  # noqa: S102 (ours)
    assert printed in capsys.readouterr().out
