"""No default changes unnoticed: see defaults.py, which says how to renew the record."""

import json

import pytest
from defaults import RECORD, of_commands, of_python

FOUND = {**of_python(), **of_commands()}
RECORDED = json.loads(RECORD.read_text(encoding="utf-8"))


def test_the_record_is_of_the_same_names():
    assert sorted(FOUND) == sorted(RECORDED)


@pytest.mark.parametrize("name", sorted(set(FOUND) & set(RECORDED)))
def test_defaults_are_those_on_record(name):
    assert FOUND[name] == RECORDED[name]
