"""Networks of the attributes divided among processes, against one process that has them all."""

import divided_training
import pytest
import torch
from rank_cases import ended, start

from proxmtl.backbones.training import DividedHead
from proxmtl.ranks import ALONE, Ranks

FIGURES = (
    *("objective", "accuracy", "ap", "sgd_loss", "learning_rate"),
    *("data_loss", "coef_norm", "gradient_norm"),
)


class Three(Ranks):
    size = 3


def test_more_processes_than_attributes_raise():
    with pytest.raises(ValueError, match="names: 2 for 3 processes; start fewer"):
        DividedHead(divided_training.HEADS["latent"], ("one", "two"), Three())
    with pytest.raises(ValueError, match="3 networks for 2 attributes"):
        DividedHead(divided_training.HEADS["latent"], ("one", "two")).layer(8, 3)


@pytest.mark.timeout(280)
def test_two_processes_train_what_one_trains(tmp_path):
    out = tmp_path / "found"
    ended(start(divided_training.__file__, 2, out))
    files = [f"{out}-{rank}.pt" for rank in range(2)]
    found, heard = zip(*(torch.load(file, weights_only=False) for file in files), strict=True)
    alone = divided_training.trained(ALONE)
    assert [one["own"] for one in (found[0]["latent"], found[1]["latent"])] == [[0], [1, 2]]
    for name, expected in alone.items():
        first, second = (each[name] for each in found)
        assert torch.equal(first["W"], second["W"])
        for epoch, other, whole in zip(
            first["history"], second["history"], expected["history"], strict=True
        ):
            for figure in FIGURES:
                assert epoch[figure] == pytest.approx(other[figure], rel=1e-12, nan_ok=True)
                # SGD in float32 carries the rounding of a solve on
                known = pytest.approx(whole[figure], rel=1e-3, nan_ok=True)
                assert epoch[figure] == known, (name, figure)
        scores = torch.cat([first["scores"], second["scores"]], dim=1)
        torch.testing.assert_close(scores, expected["scores"], rtol=0, atol=1e-2)
        torch.testing.assert_close(first["of the model"], scores.float(), rtol=0, atol=1e-5)
        assert first["names"] == expected["names"]
    for messages in heard:
        assert len(messages) == 3
        for message, part in zip(
            messages,
            ("a checkpoint is of one process", "share none that learn", "aren't finite"),
            strict=True,
        ):
            assert part in message
