"""JSON and TOML of any shape are parsed, or end in a sentence: no recursion, no huge numbers."""

import pytest

from proxmtl.documents import parse_json, parse_toml

BAD = {
    "deep lists": (parse_json, "[" * 100_000, "nested more than 64 deep"),
    "deep tables": (parse_json, '{"a":' * 100_000, "nested more than 64 deep"),
    "just too deep": (parse_json, "[" * 66 + "]" * 66, "PROXMTL_MAX_DOCUMENT_DEPTH=128"),
    "long number": (parse_json, "1" * 400, "some 399 digits"),
    "longer number": (parse_json, "[" + "1" * 5000 + "]", "not readable as JSON"),
    "infinite": (parse_json, "[1e999]", "the number inf"),
    "not a number": (parse_json, '{"a": NaN}', "NaN is no number of JSON"),
    "twice": (parse_json, '{"a": 1, "a": 2}', "'a' is there twice"),
    "cut": (parse_json, '{"a": 1', "not readable as JSON"),
    "empty": (parse_json, "", "not readable as JSON"),
    "no text": (parse_json, b"\xff\xfe[", "not text in UTF-16"),
    "Windows": (
        parse_toml,
        "a=1\nb='ü'".encode("cp1252"),
        "in line 2, not text in UTF-8; in Windows-1252 .*ü",
    ),
    "deep arrays": (parse_toml, "a=" + "[" * 100_000, "nested more than 64 deep"),
    "deep inline": (parse_toml, "a=" + "{a=" * 5000, "nested more than 64 deep"),
    "dotted": (parse_toml, "a." * 100_000 + "a=1", "nested more than 64 deep"),
    "dotted header": (parse_toml, "[" + "'a' . \"b\" ." * 5000 + "a]", "nested more than 64 deep"),
    "long weight": (parse_toml, "a=" + "9" * 400, "some 400 digits"),
    "infinite weight": (parse_toml, "a=inf", "the number inf"),
    "twice in TOML": (parse_toml, "a=1\na=2", "not readable as TOML"),
}


@pytest.mark.parametrize("case", BAD)
def test_odd_documents_end_in_a_sentence(case):
    parse, text, message = BAD[case]
    with pytest.raises(ValueError, match=message) as caught:
        parse(text)
    assert len(str(caught.value)) < 400


def test_what_is_usual_is_read():
    text = '{"a": [1, -2.5e-300, "ü", null, true], "b": {}}'
    expected = {"a": [1, -2.5e-300, "ü", None, True], "b": {}}
    assert parse_json(text) == parse_json(b"\xef\xbb\xbf" + text.encode()) == expected
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):  # what Windows calls Unicode has a mark
        assert parse_json(text.encode(encoding)) == expected
        assert parse_toml("a = 'ü'".encode(encoding)) == {"a": "ü"}
    assert parse_json("[" * 64 + "]" * 64)
    names = ", ".join(f'"v{i}.0.1"' for i in range(300))
    assert len(parse_toml(f"a = [{names}]\n[b.c]\nd = 1")["a"]) == 300


def test_limits_are_raised_by_the_environment(monkeypatch):
    deep = "[" * 80 + "]" * 80
    monkeypatch.setenv("PROXMTL_MAX_DOCUMENT_DEPTH", "128")
    assert parse_json(deep)
    monkeypatch.setenv("PROXMTL_MAX_DOCUMENT_BYTES", "100")
    with pytest.raises(ValueError, match="160 bytes; the limit is 100"):
        parse_json(deep)
    for wrong in ("-1", "many", "0", "9" * 30):
        monkeypatch.setenv("PROXMTL_MAX_DOCUMENT_DEPTH", wrong)
        with pytest.raises(ValueError, match="PROXMTL_MAX_DOCUMENT_DEPTH: got"):
            parse_json("[]")
