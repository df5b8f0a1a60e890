"""The tools of the numerical tests: tolerances that can fail, and the runner of `make test-isa`."""

import isa
import pytest
import torch
from arithmetic import LIKELY, assert_same_sums, gamma


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_in_any_order_agree_and_others_do_not(dtype):
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(dtype)
    sizes, forth = x.abs().sum(), torch.tensor(sum(x.tolist()), dtype=dtype)
    for n in (1, 30, 1000):
        assert_same_sums(x[:n].sum(), x[:n].flip(0).cumsum(0)[-1], sizes=sizes, length=n)
    wrong = forth + 3 * gamma(1000, dtype) * sizes
    for other in (wrong, forth * float("nan")):
        with pytest.raises(AssertionError, match="beyond rounding"):
            assert_same_sums(forth, other, sizes=sizes, length=1000)


def test_the_bound_is_the_certain_one_for_short_sums_and_the_likely_one_for_long():
    unit = torch.finfo(torch.float32).eps / 2
    assert gamma(10, torch.float32) == pytest.approx(10 * unit)
    assert gamma(10_000, torch.float32) == pytest.approx(LIKELY * 100 * unit, rel=1e-4)


def test_levels_are_tried_left_out_and_failed(tmp_path, monkeypatch, capsys):
    probe = tmp_path / "test_probe.py"
    probe.write_text("import os\n\ndef test_probe():\n    assert os.environ['PROBED'] == 'yes'\n")
    levels = [
        isa.Level("good", {"PROBED": "yes"}),
        isa.Level("bad", {"PROBED": "no"}),
        isa.Level("unknown", {"PROBED": "no"}, needs=("avx9000",)),
    ]
    monkeypatch.setattr(isa, "LEVELS", levels)
    for only, status in (("good,unknown", 0), ("bad", 1)):
        monkeypatch.setattr("sys.argv", ["isa.py", "--only", only, str(probe)])
        assert isa.main() == status
    out = capsys.readouterr().out
    assert "1 passed, 0 skipped, 0 failed" in out
    assert "left out: the processor has no avx9000" in out
    assert "0 passed, 0 skipped, 1 failed" in out
    assert "  FAILED " in out
    assert "test_probe" in out.splitlines()[-1]
