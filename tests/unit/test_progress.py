"""Progress reports of long work."""

from __future__ import annotations

import io

from latentwire.core.progress import LineProgress, PartProgress


def test_part_progress_reports_its_share_of_the_whole() -> None:
    shown = io.StringIO()
    third = PartProgress(LineProgress(shown, every_s=0), before=20, size=10, total=36)
    third.say("asks")
    with third.task("answers", 10) as bar:
        bar.advance(5)
        bar.advance(5)
    with third.task("scores of 4 choices each", 40, done=4) as bar:
        bar.advance(8, "so far")
    lines = shown.getvalue().splitlines()
    assert lines[0] == "asks"
    shares = [line.split(",")[0] for line in lines[1:]]
    assert shares == ["answers: 25/36", "answers: 30/36", "scores of 4 choices each: 92/144"]
    assert lines[-1].endswith("left so far")
