"""Decoding of text files: UTF-8, or the encoding of a byte order mark."""

from __future__ import annotations

import codecs

__all__ = ["EncodingError", "decode_text"]

_MARKS = (
    # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class EncodingError(ValueError):
    """Bytes that cannot be decoded; `line` is the line, counted from 1, or None if not known."""

    def __init__(self, sentence: str, line: int | None = None) -> None:
        self.line = line
        super().__init__(sentence)


def decode_text(content: bytes, save: str) -> str:
    """Decode UTF-8, or UTF-8, UTF-16 or UTF-32 with a byte order mark, which is removed.

    Parameters
    ----------
    content
        The bytes.
    save
        Advice at the end of error messages: ``"save it in UTF-8"``.

    Raises
    ------
    EncodingError
        If the bytes are not valid in the encoding, or are UTF-8 with a NUL.
    """
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    if encoding.startswith("utf-8") and b"\0" in content:
        line = 1 + content[: content.index(b"\0")].count(b"\n")
        raise EncodingError(f"there is a NUL in it, as in UTF-16 without its mark; {save}.", line)
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = 1 + before.count(b"\n")
        seen = content[before.rfind(b"\n") + 1 :].splitlines()[0][:80]
        raise EncodingError(
            f"not text in {encoding.removesuffix('-sig').upper()}; in Windows-1252 this line would "
            f"be {seen.decode('cp1252', errors='replace')!r}: {save}.",
            line if encoding.startswith("utf-8") else None,
        ) from error
