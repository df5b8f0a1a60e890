"""Every limit is documented, with its default and the variable that raises it."""

import re
from pathlib import Path

import pytest

from proxmtl.limits import LIMITS, advice, limit, variable

SECURITY = Path(__file__).parents[1] / "SECURITY.md"


def test_the_table_of_limits_is_that_of_the_code():
    rows = re.findall(r"^\| `(PROXMTL_MAX_\w+)` \| ([\d,]+)", SECURITY.read_text(), re.MULTILINE)
    documented = {name: int(value.replace(",", "")) for name, value in rows}
    assert documented == {variable(name): default for name, (default, _) in LIMITS.items()}


def test_a_limit_is_the_environments(monkeypatch):
    for name, (default, _) in LIMITS.items():
        assert limit(name) == default
        monkeypatch.setenv(variable(name), f" {default + 1} ")
        assert limit(name) == default + 1
        assert f"{variable(name)}={default + 2}" in advice(name, default + 2)
        for wrong in ("a lot", "0", "-1", "1" * 20):  # a number that 64 bits have no room for
            monkeypatch.setenv(variable(name), wrong)
            with pytest.raises(
                ValueError, match=f"{variable(name)}: got '{wrong}'; set a positive"
            ):
                limit(name)
