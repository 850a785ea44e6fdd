"""Terminal report of ``latent-policy embodiments check``."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from latent_policy_ros.cli.common import COMPACT, print_line, print_table
from latent_policy_ros.retargeting.checks.embodiment_check import CheckReport
from latent_policy_ros.retargeting.human_motion.reference_poses import FOUR_FINGERS

MAX_CONTACT_ROWS = 6


def print_report(report: CheckReport, console: Console) -> None:
    """Tables of the figures, what was taken of the file, then what is wrong."""
    print_line(
        f"{report.side} {report.kind}, {len(report.joints)} joints, {report.hinges} hinges", f"{report.name}:", "bold", console
    )
    if report.fingers:
        for title, table in _tables(report):
            console.print()
            print_line("", title, "bold", console)
            print_table(table, console)
        _facts(report, console)
    for note in report.notes:
        print_line(note, "note:", "cyan", console)
    for diagnosis in report.diagnoses:
        colour = "red" if diagnosis.level == "failure" else "yellow"
        print_line(f"{diagnosis.field}: {diagnosis.message}", f"{diagnosis.level}:", colour, console)
    if not report.diagnoses:
        print_line("no errors found", "ok:", "green", console)


def _tables(report: CheckReport) -> Iterator[tuple[str, Table]]:
    yield "Fingers: length, reach and workspace of the tips, smallest distance to the thumb [mm, hand frame]", _fingers(report)
    yield "Distance between fingertip and thumb tip where a human hand pinches [mm]", _pinches(report)
    yield "Joints, and share of the reference motions that they spend at a limit", _joints(report)
    if report.contacts:
        yield "Collisions between links in the reference poses", _contacts(report)


def _mm(value: float | None) -> str:
    return "-" if value is None else f"{1000 * value:.1f}"


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right", no_wrap=True) for name in names]


def _fingers(report: CheckReport) -> Table:
    table = Table("finger", *_right("length", "reach", "x", "y", "z", "to thumb"), "can pinch", **COMPACT)
    for f in report.fingers:
        box = [f"{1000 * low:.0f}..{1000 * high:.0f}" for low, high in zip(f.lower, f.upper)]
        pinch = "" if f.thumb_gap is None else "yes" if f.can_pinch else Text("no", "yellow")
        table.add_row(f.finger, _mm(f.length), _mm(f.farthest), *box, _mm(f.thumb_gap), pinch)
    return table


def _pinches(report: CheckReport) -> Table:
    table = Table("", *_right(*FOUR_FINGERS), **COMPACT)
    for name, gaps in (report.pinches or {}).items():
        cells = [_mm(gaps.get(finger)) for finger in FOUR_FINGERS]
        table.add_row(name, *cells, style="bold" if name == report.name else None)
    return table


def _joints(report: CheckReport) -> Table:
    table = Table("joint", "", *_right("lower", "upper", "rest", "tip travel", "at lower", "at upper"), **COMPACT)
    for j in report.joints:
        shares = [f"{share:.0%}" if share else "" for share in (j.at_lower, j.at_upper)]
        numbers = [f"{value:.3f}" for value in (j.lower, j.upper, j.rest)]
        table.add_row(j.name, j.unit, *numbers, f"{1000 * j.travel:.0f} mm", *shares)
    return table


def _contacts(report: CheckReport) -> Table:
    table = Table("links", *_right("depth", "poses"), "deepest in", **COMPACT)
    for contact in report.contacts[:MAX_CONTACT_ROWS]:
        table.add_row(" - ".join(contact.links), f"{_mm(contact.depth)} mm", f"{contact.share:.0%}", contact.pose)
    if len(report.contacts) > MAX_CONTACT_ROWS:
        table.add_row(f"and {len(report.contacts) - MAX_CONTACT_ROWS} more", "", "", "")
    return table


def _facts(report: CheckReport, console: Console) -> None:
    console.print()
    if report.aperture:
        jaw = report.aperture
        grows = "monotonic" if jaw.monotonic else "not monotonic"
        console.print(
            f"aperture {_mm(jaw.closed)} to {_mm(jaw.open)} mm, {grows}; {_mm(jaw.pinch_offset)} mm error against a human pinch"
        )
    else:
        console.print(f"{report.colliding:.0%} of random poses are in self-collision")
    console.print(
        f"Jacobian within {report.jacobian_error:.0e} of finite differences; largest violation of limits and couplings "
        f"{report.limit_excess:.0e}; largest step between frames {report.largest_step:.2f}", highlight=False, soft_wrap=True,
    )  # fmt: skip
