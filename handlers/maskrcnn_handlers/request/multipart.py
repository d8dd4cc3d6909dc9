"""Bodies of forms: `multipart/form-data` (RFC 7578)."""

from dataclasses import dataclass, field

from python_multipart import FormParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, parse_options_header

from maskrcnn_server.errors import RequestError

MOST_PARTS = 64


@dataclass
class Form:
    """What was sent: fields by name, and files as pairs of file name and contents."""

    fields: dict[str, str] = field(default_factory=dict)
    files: list[tuple[str, bytes]] = field(default_factory=list)


def parse(body: bytes, content_type: str) -> Form:
    """The form in `body`. Nothing of it is written to a disk.

    Raises RequestError for what is no form, or has too many parts, or one field twice.
    """
    boundary = parse_options_header(content_type.encode("utf-8", "replace"))[1].get(b"boundary")
    if not boundary:
        raise RequestError("body: a form's content type has a boundary", field="body")
    form = Form()

    def make_room() -> None:
        if len(form.fields) + len(form.files) == MOST_PARTS:
            raise RequestError(f"body: a form of more than {MOST_PARTS} parts", field="body")

    def on_field(part: Field) -> None:
        make_room()
        name = _text(part.field_name)
        if name in form.fields:
            raise RequestError(f"{name[:80]}: there are two of it", field=name[:80])
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
        raise RequestError(f"body: no form ({error})", field="body") from None
    return form


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")
