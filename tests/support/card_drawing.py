"""What a painter draws, as a PDF of its own: the page in millimetres, nothing below."""

import pymupdf

from makeready.cards.drawing import Drawn, Painter
from makeready.cards.geometry import MM_PER_POINT


def paper(painter: Painter, drawn: Drawn, width: float = 105, height: float = 148) -> bytes:
    """The pages that were drawn on, each as large as said, in mm."""
    objects: list[bytes] = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    groups: dict[str, list[str]] = {}
    for resource in painter.resources:
        first = len(objects) + 1
        names = [f"{first + number} 0 R" for number in range(len(resource.parts))]
        groups.setdefault(resource.category, []).append(f"/{resource.name} {names[0]}")
        objects += [_object(part.head.format(*names), part.data) for part in resource.parts]
    named = " ".join(f"/{group} << {' '.join(each)} >>" for group, each in groups.items())
    unit = 1 / MM_PER_POINT
    kids = []
    for page in painter.pages:
        matrix = f"{unit} 0 0 {-unit} 0 {height * unit} cm\n".encode()
        objects.append(_object("<< >>", matrix + drawn.operators[page]))
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width * unit} {height * unit}]"
            f" /Contents {len(objects)} 0 R /Resources << {named} >> >>".encode()
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Count {len(kids)} /Kids [{' '.join(kids)}] >>".encode()
    return _file(objects)


def seen(pdf: bytes, page: int = 0, dpi: int = 150) -> pymupdf.Pixmap:
    """The page in RGB."""
    with pymupdf.open(stream=pdf) as document:
        picture: pymupdf.Pixmap = document[page].get_pixmap(dpi=dpi)
        return picture


def read(pdf: bytes, page: int = 0) -> str:
    """The page's text."""
    with pymupdf.open(stream=pdf) as document:
        return str(document[page].get_text())


def _object(head: str, data: bytes | None) -> bytes:
    if data is None:
        return head.encode()
    length = f"<< /Length {len(data)}".encode()
    return head.encode().replace(b"<<", length, 1) + b"\nstream\n" + data + b"\nendstream"


def _file(objects: list[bytes]) -> bytes:
    made = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, each in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    start = len(made)
    made += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    made += b"".join(b"%010d 00000 n \n" % place for place in places)
    made += b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n" % (len(objects) + 1)
    return bytes(made + b"%d\n%%%%EOF\n" % start)
