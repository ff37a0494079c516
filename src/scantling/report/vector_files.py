"""Drawings as files of vectors: SVG that any program opens, and PDF with its font inside, as journals ask for."""

from __future__ import annotations

import io
from typing import Any

from markupsafe import escape

from scantling.report.drawing import COLUMN, Disc, Drawing, Line, Words

POINT = 72 / 25.4
"""Points of a millimetre."""
NO_PDF = "no PDF was written, which needs reportlab: pip install 'scantling[figures]'"


def svg_text(drawing: Drawing, *, wide: float = COLUMN) -> str:
    """A standalone SVG file, `wide` millimetres; colours and widths stand at each shape, so that no style is needed."""
    high = wide * drawing.height / drawing.width
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:g}mm" height="{high:.2f}mm" viewBox="{drawing.left:.1f}'
        f' {drawing.top:.1f} {drawing.width:.1f} {drawing.height:.1f}" font-family="Arial, Helvetica, sans-serif"'
        ' role="img">',
        f"<title>{escape(drawing.title)}</title>",
        f"<desc>{escape(drawing.label)}</desc>",
    ]
    for shape in drawing.shapes:
        if isinstance(shape, Words):
            turned = f' transform="rotate(-90 {shape.x:.1f} {shape.y:.1f})"' if shape.upright else ""
            parts.append(
                f'<text x="{shape.x:.1f}" y="{shape.y:.1f}" font-size="{shape.size:g}" fill="{shape.fill}"'
                f' text-anchor="{shape.anchor}"{turned}>{escape(shape.text)}</text>'
            )
        elif isinstance(shape, Disc):
            parts.append(
                f'<circle cx="{shape.x:.1f}" cy="{shape.y:.1f}" r="{shape.radius:g}" fill="{shape.fill}"'
                f' fill-opacity="{shape.opacity:g}"/>'
            )
        else:
            path = "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in part) for part in shape.parts)
            dash = f' stroke-dasharray="{" ".join(f"{one:g}" for one in shape.dash)}"' if shape.dash else ""
            parts.append(
                f'<path d="{path}{"Z" if shape.closed else ""}" fill="{shape.fill or "none"}"'
                f' fill-opacity="{shape.opacity:g}" stroke="{shape.stroke or "none"}" stroke-width="{shape.width:g}"'
                f' stroke-opacity="{shape.opacity:g}" stroke-linejoin="round"{dash}/>'
            )
    return "\n".join([*parts, "</svg>\n"])


def can_write_pdf() -> bool:
    """Whether reportlab is installed."""
    try:
        import reportlab.pdfgen.canvas  # noqa: F401
    except ImportError:
        return False
    return True


def pdf_bytes(drawing: Drawing, *, wide: float = COLUMN) -> bytes:
    """A PDF of one page, `wide` millimetres, with the letters of Bitstream Vera that it uses; "?" for those it lacks.

    The same drawing gives the same bytes.
    """
    from reportlab.lib.colors import HexColor
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont
    from reportlab.pdfgen.canvas import Canvas

    font = TTFont("Vera", "Vera.ttf")
    pdfmetrics.registerFont(font)
    scale = wide * POINT / drawing.width
    size = (drawing.width * scale, drawing.height * scale)
    file = io.BytesIO()
    canvas: Any = Canvas(file, pagesize=size, invariant=1)
    canvas.setTitle(drawing.title)
    canvas.setSubject(drawing.label)
    canvas.setCreator("Scantling")
    canvas.scale(scale, scale)

    def at(x: float, y: float) -> tuple[float, float]:
        return x - drawing.left, drawing.top + drawing.height - y

    for shape in drawing.shapes:
        if isinstance(shape, Words):
            text = "".join(letter if ord(letter) in font.face.charToGlyph else "?" for letter in shape.text)
            canvas.setFillColor(HexColor(shape.fill), alpha=1)
            canvas.setFont("Vera", shape.size * 0.9)  # as wide as Arial
            draw = {"start": canvas.drawString, "middle": canvas.drawCentredString, "end": canvas.drawRightString}
            canvas.saveState()
            canvas.translate(*at(shape.x, shape.y))
            canvas.rotate(90 if shape.upright else 0)
            draw[shape.anchor](0, 0, text)
            canvas.restoreState()
        elif isinstance(shape, Disc):
            canvas.setFillColor(HexColor(shape.fill), alpha=shape.opacity)
            canvas.circle(*at(shape.x, shape.y), shape.radius, stroke=0, fill=1)
        else:
            _line(canvas, shape, at, HexColor)
    canvas.showPage()
    canvas.save()
    return file.getvalue()


def _line(canvas: Any, shape: Line, at: Any, colour: Any) -> None:
    path = canvas.beginPath()
    for part in shape.parts:
        path.moveTo(*at(*part[0]))
        for point in part[1:]:
            path.lineTo(*at(*point))
        if shape.closed:
            path.close()
    if shape.fill:
        canvas.setFillColor(colour(shape.fill), alpha=shape.opacity)
    if shape.stroke:
        canvas.setStrokeColor(colour(shape.stroke), alpha=shape.opacity)
    canvas.setLineWidth(shape.width)
    canvas.setLineJoin(1)
    canvas.setDash(list(shape.dash))
    canvas.drawPath(path, stroke=int(bool(shape.stroke)), fill=int(bool(shape.fill)))
