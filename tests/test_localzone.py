"""The machine's time zone, by name or rule, is that of its C library, and never UTC without notice."""

import os
import random
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobd.clock import SECOND
from jobd.config_keys import ZONES, has_zone_file
from jobd.errors import BadValue, ConfigError
from jobd.localzone import machine_zone
from jobd.schedule.rule import canonical_rule
from jobd.schedule.zone import find_zone, offset_at

INSTANTS = [
    *range(1_767_225_600, 1_767_225_600 + 366 * 86_400, 4 * 3_600 + 7),
    *(random.Random(1).randrange(1_700_000_000, 4_000_000_000) for _ in range(500)),
]
RULES = [
    "CET-1CEST,M3.5.0,M10.5.0/3",
    "<+03>-3",
    "<-02>+2<-01>,M3.5.0/-1,M10.5.0/0",
    "EST5",
    "NST3:30NDT,M3.2.0,M11.1.0",
    "IST-2IDT,M3.4.4/26,M10.5.0",
    "AEST-10AEDT,M10.1.0,M4.1.0/3",
    "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0",
    "FOO-1BAR,J60,J300/2:30",
    "FOO-1BAR-3:15:30,59/1:02:03,300",
    "ABC-1DEF,M3.5.0/-167,M10.5.0/167",
    ":CET-1CEST,M3.5.0,M10.5.0/3",
]
# Names that the zone database keeps for old programs, and what each of them means.
OLD = {
    "Japan": "Asia/Tokyo",
    "CET": "Europe/Brussels",
    "EST5EDT": "America/New_York",
    "posix/Iran": "Asia/Tehran",
}


@pytest.fixture
def c_library() -> Iterator[None]:
    """Puts the C library's zone back."""
    before = os.environ.get("TZ")
    yield
    os.environ.pop("TZ", None)
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def agrees(tz: str) -> None:
    """The zone that is found shows what the C library shows."""
    zone = find_zone(machine_zone({"TZ": tz}))
    os.environ["TZ"] = tz
    time.tzset()
    for instant in INSTANTS:
        assert offset_at(instant * SECOND, zone) == time.localtime(instant).tm_gmtoff * SECOND, (tz, instant)


@pytest.mark.usefixtures("c_library")
@pytest.mark.parametrize(
    "tz", [*RULES, "", ":", "Europe/Berlin", ":Asia/Tokyo", ZONES + "Australia/Lord_Howe", *filter(has_zone_file, OLD)]
)
def test_the_zone_of_tz_is_that_of_the_c_library(tz: str) -> None:
    agrees(tz)


@pytest.mark.parametrize("tz", OLD)
def test_an_old_name_is_its_zone_where_the_c_library_has_no_file_of_it_too(tz: str) -> None:
    """Debian 13 has them in a package of their own, tzdata-legacy; without it its C library takes UTC."""
    zone, meant = find_zone(machine_zone({"TZ": tz})), find_zone(OLD[tz])
    assert [offset_at(at * SECOND, zone) for at in INSTANTS] == [offset_at(at * SECOND, meant) for at in INSTANTS]


OFFSETS = st.builds("{}{}".format, st.sampled_from(["", "-", "+"]), st.integers(0, 14))
TIMES = st.one_of(st.just(""), *(st.builds(form.format, st.integers(0, 23)) for form in ("/{}", "/{}:30")))


def days(first: int, last: int) -> st.SearchStrategy[str]:
    """A day of the months from `first` to `last`, in each of the forms."""
    return st.one_of(
        st.builds("M{}.{}.{}".format, st.integers(first, last), st.integers(1, 5), st.integers(0, 6)),
        st.builds("J{}".format, st.integers(30 * first - 20, 30 * last)),
        st.builds("{}".format, st.integers(30 * first - 20, 30 * last)),
    )


NAMES = st.sampled_from(["CET", "<+03>", "ABCD"])


@pytest.mark.usefixtures("c_library")
@settings(max_examples=60, deadline=None)
@given(NAMES, OFFSETS, st.sampled_from(["CEST", "<-X1>"]), days(1, 6), TIMES, days(8, 12), TIMES, st.booleans())
def test_every_posix_rule_gives_the_times_of_the_c_library(
    name: str, offset: str, summer: str, begin: str, at: str, end: str, until: str, south: bool
) -> None:
    if south:
        begin, end = end, begin
    rule = f"{name}{offset}{summer},{begin}{at},{end}{until}"
    zone = find_zone(machine_zone({"TZ": rule}))
    os.environ["TZ"] = rule
    time.tzset()
    for instant in INSTANTS[::7]:
        if 3 < time.gmtime(instant).tm_yday < 362:  # the C library goes by the year in UTC, and errs at its ends
            assert offset_at(instant * SECOND, zone) == time.localtime(instant).tm_gmtoff * SECOND, (rule, instant)


@pytest.mark.parametrize(
    "tz",
    ["Mars/Base", "FOO", "CET-1CEST,M3.5.0", "CET-99", "X4", "../../etc/passwd", "/etc/passwd", "/no/file"],
)
def test_an_unknown_zone_is_an_error_and_never_utc(tz: str) -> None:
    with pytest.raises(ConfigError, match="time zone of this machine") as caught:
        machine_zone({"TZ": tz})
    assert "timezone =" in caught.value.hint
    assert caught.value.exit_code == 78


def machine(folder: Path, localtime: bytes | str | None, name: str | None = None) -> str:
    """What the zone of a machine with these files is called; `localtime` is a link's target, or a copy's content."""
    if isinstance(localtime, bytes):
        (folder / "localtime").write_bytes(localtime)
    elif localtime is not None:
        (folder / "localtime").symlink_to(localtime)
    if name is not None:
        (folder / "timezone").write_text(name)
    return machine_zone({}, str(folder))


def of(name: str) -> bytes:
    return Path(ZONES, name).read_bytes()


@pytest.mark.parametrize("name", ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])
def test_a_copied_localtime_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    assert of(machine(tmp_path, of(name))) == of(name)


def test_etc_timezone_decides_between_zones_with_the_same_content(tmp_path: Path) -> None:
    assert machine(tmp_path, of("UTC"), "# here\nEtc/Zulu\n") == "Etc/Zulu"


def test_etc_timezone_is_not_believed_against_localtime(tmp_path: Path) -> None:
    assert of(machine(tmp_path, of("Asia/Tokyo"), "Europe/Berlin\n")) == of("Asia/Tokyo")


def test_a_link_is_read_and_not_followed_to_an_alias(tmp_path: Path) -> None:
    assert machine(tmp_path, ZONES + "right/Asia/Tokyo") == "Asia/Tokyo"


def tzif(footer: str) -> bytes:
    block = struct.pack(">4sc15x6L", b"TZif", b"2", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB4s", 3_600, 0, 0, b"CET\0")
    return block * 2 + f"\n{footer}\n".encode()


def test_a_localtime_that_is_like_no_zone_is_known_by_its_rule(tmp_path: Path) -> None:
    assert machine(tmp_path, tzif("CET-1CEST,M3.5.0,M10.5.0/3")) == "CET-1CEST,M3.5.0,M10.5.0/3"


def test_a_localtime_of_another_edition_has_the_name_that_etc_timezone_says(tmp_path: Path) -> None:
    assert machine(tmp_path, tzif("CET-1CEST,M3.5.0,M10.5.0/3"), "Europe/Berlin\n") == "Europe/Berlin"


@pytest.mark.parametrize("content", [b"", b"not a zone", tzif(""), tzif("nonsense")])
def test_an_empty_localtime_is_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError, match="time zone of this machine"):
        machine(tmp_path, content)


def test_without_localtime_the_zone_is_that_of_etc_timezone_or_else_utc(tmp_path: Path) -> None:
    assert machine(tmp_path, None) == "UTC"
    assert machine(tmp_path, None, "Europe/Berlin\n") == "Europe/Berlin"
    with pytest.raises(ConfigError, match="Mars"):
        machine(tmp_path, None, "Mars/Base\n")


def test_a_localtime_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        machine(tmp_path, "/nowhere/zone")


def test_a_slip_in_a_name_is_not_taken_for_a_rule() -> None:
    """`UTC+2` is a rule to the C library, two hours behind UTC: it is written so that nobody types it by mistake."""
    assert canonical_rule("UTC+2") == "<UTC>+2"
    with pytest.raises(BadValue, match="no time zone"):
        find_zone("UTC+2")


def test_a_copy_elsewhere_is_known_by_its_content_too(tmp_path: Path) -> None:
    shutil.copy(ZONES + "Asia/Tokyo", tmp_path / "mine")
    assert of(machine_zone({"TZ": f":{tmp_path}/mine"})) == of("Asia/Tokyo")


def test_a_rule_may_have_summer_time_all_year() -> None:
    zone = find_zone(machine_zone({"TZ": "XXX3YYY,0/0,J365/25"}))
    assert {offset_at(instant * SECOND, zone) for instant in INSTANTS} == {-2 * 3_600 * SECOND}
