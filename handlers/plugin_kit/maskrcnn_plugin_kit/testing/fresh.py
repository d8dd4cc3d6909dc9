"""A plugin in a new interpreter, in which nothing has been imported."""

import functools
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROGRAM = """
import json, sys
from pathlib import Path
module, name, model_dir, sys.path[:] = json.loads(sys.argv[1])
from maskrcnn_server.backend import ModelConfig
from maskrcnn_server.plugins import Plugins
from importlib.metadata import EntryPoint
entry = EntryPoint("plugin", module, "maskrcnn_server")
plugins = Plugins([entry])
backends = plugins.backends()
broken = [plugin.reason for plugin in plugins.broken]
if name in backends:
    backends[name].probe(ModelConfig(model_dir=Path(model_dir)))
answer = {
    "broken": broken,
    "api_version": None if broken else getattr(entry.load(), "api_version", None),
    "imported": sorted({name.partition(".")[0] for name in sys.modules}),
}
print()
print(json.dumps(answer))
"""


@dataclass(frozen=True)
class Fresh:
    """Observations of a plugin that was imported, asked for its backends, and probed."""

    broken: list[str]
    """Reasons why it did not load."""
    api_version: str | None
    """The plugin's `api_version`."""
    imported: list[str]
    """Top-level modules that were imported by anyone."""


@functools.cache
def fresh(plugin: str, backend: str, model_dir: Path) -> Fresh:
    """Import the plugin's module and let its backend probe a folder."""
    question = json.dumps([plugin, backend, str(model_dir), sys.path])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, question], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{plugin} failed in an interpreter of its own:\n{done.stderr}")
    return Fresh(**json.loads(done.stdout.splitlines()[-1]))
