"""Bodies of forms: `multipart/form-data` (RFC 7578)."""

from dataclasses import dataclass, field

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header

from maskrcnn_server.errors import RequestError

MAX_PARTS = 64
"""Number of parts of a form at most."""


@dataclass
class Form:
    """The parts of a form: fields by name, and files as pairs of file name and contents."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[tuple[str, bytes]] = field(default_factory=list)


def parse(body: bytes, content_type: str) -> Form:
    """The form in `body`. Nothing is written to disk.

    Raises RequestError if it is not a form, has too many parts, or has a field twice.
    """
    boundary = parse_options_header(content_type.encode("utf-8", "replace"))[1].get(b"boundary")
    if not boundary:
        raise RequestError("body: the content type of a form needs a boundary", field="body")
    form = Form()

    def make_room() -> None:
        if len(form.fields) + len(form.files) == MAX_PARTS:
            raise RequestError(f"body: the form has more than {MAX_PARTS} parts", field="body")

    def on_field(part: Field) -> None:
        make_room()
        name = _text(part.field_name)
        if name in form.fields:
            raise RequestError(f"{name[:80]}: the form has this field twice", field=name[:80])
        form.fields[name] = _text(part.value)

    def on_file(part: File) -> None:
        make_room()
        part.file_object.seek(0)
        form.files.append((_text(part.file_name), part.file_object.read()))

    try:
        parser = FormParser(
            "multipart/form-data",
            on_field,
            on_file,
            boundary=boundary,
            config={"MAX_MEMORY_FILE_SIZE": len(body) + 1},
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise RequestError(f"body: not a form ({error})", field="body") from None
    return form


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")
