"""The difference between this machine's clock and the server's."""

from __future__ import annotations

from medhive.doctor.finding import Finding, green, grey, red
from medhive.doctor.knock import Answer
from medhive.flower.signed import WINDOW

CLOCK = "clock"
TOLERANCE = 60.0
"""Seconds; more is a fault before it is one that stops the study."""


def check_clock(answer: Answer, *, verified: bool) -> Finding:
    """Compare the time of an answer with this machine's at that moment."""
    if answer.date is None:
        return grey(CLOCK, "not checked: the server does not say what time it has")
    # the header has whole seconds, so the server's clock is half a second on, on average
    ahead = (answer.at - answer.date).total_seconds() - 0.5
    whose = "the server's" if verified else "that of a server whose certificate is not accepted"
    if abs(ahead) <= TOLERANCE:
        return green(CLOCK, f"within {max(1, round(abs(ahead)))} s of {whose}")
    way = "ahead of" if ahead > 0 else "behind"
    refused = "" if abs(ahead) > WINDOW else f" above {WINDOW:.0f} s"
    return red(
        CLOCK,
        f"this machine's clock is {abs(ahead):.0f} s {way} {whose};{refused} requests are refused",
        "set this machine's clock by NTP, or ask IT to; if it is right, tell the study's"
        " statistician that the server's is wrong",
    )
