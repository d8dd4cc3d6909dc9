"""Pages that need no other file: their style, and images inside them."""

import base64
import io

import PIL.Image

WIDTH = 480
"""Width and height of an image in a page at most."""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; }
td, th { border-bottom: 1px solid #8884; padding: 0.2rem 0.8rem 0.2rem 0; text-align: left;
  vertical-align: top; }
.same { color: #137333; } .differs { color: #b3261e; font-weight: 600; }
figure { display: inline-block; width: calc(50% - 1rem); margin: 0 0.8rem 1rem 0; }
figure img { width: 100%; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
@media (prefers-color-scheme: dark) { body { background: #161616; color: #ddd; }
  .same { color: #81c995; } .differs { color: #f2b8b5; } }
"""


def thumbnail(image: PIL.Image.Image) -> str:
    """A small copy of the image as a data URI."""
    small = image.copy()
    small.thumbnail((WIDTH, WIDTH), PIL.Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
