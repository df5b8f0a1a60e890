"""Progress of many items where there is no terminal: lines, by a clock of the test's own."""

from proxmtl.cli.progress import item_progress


class Clock:
    """Seconds, as they are set."""

    now = 0.0

    def __call__(self):
        return self.now


def _lines(steps, capsys):
    clock = Clock()
    with item_progress("Features", "images", clock=clock) as progress:
        for clock.now, done, total in steps:
            progress(done, total)
    return capsys.readouterr().err.splitlines()


def test_brief_work_prints_nothing(capsys):
    assert _lines([(1, 10, 100), (29, 100, 100)], capsys) == []


def test_long_work_says_how_fast_it_is_and_how_long_it_will_take(capsys):
    steps = [(second, 8 * second, 8000) for second in range(1, 1001)]
    lines = _lines(steps, capsys)
    assert lines[0] == "Features: 240 of 8000 images, 8/s, 16:10 left"
    assert lines[1] == "Features: 480 of 8000 images, 8/s, 15:40 left"
    assert lines[-1] == "Features: 8000 of 8000 images, 8/s"
    assert len(lines) == 34


def test_what_an_earlier_command_did_does_not_count_for_the_rate(capsys):
    lines = _lines([(1, 5000, 9000), (41, 5080, 9000)], capsys)
    assert lines == ["Features: 5080 of 9000 images, 2/s, 32:40 left"]


def test_hours_are_shown(capsys):
    assert _lines([(0, 0, 10**6), (100, 100, 10**6)], capsys)[0].endswith("1/s, 277:45:00 left")
