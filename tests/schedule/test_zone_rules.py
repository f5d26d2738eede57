"""The fingerprint of the rules of all time zones depends on every zone and on nothing else."""

import shutil
from pathlib import Path
from zoneinfo import TZPATH, available_timezones

import pytest

from jobd.schedule import zone

ZONEINFO = Path(TZPATH[0])


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of few zones, and of what lies beside them."""
    for name in ("UTC", "Europe/Berlin", "America/Indiana/Knox"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ZONEINFO / name, tmp_path / name)
    monkeypatch.setattr(zone, "TZPATH", (str(tmp_path),))
    return tmp_path


def fingerprint() -> str:
    zone.discard_rules()
    try:
        return zone.rules_version()
    finally:
        zone.discard_rules()


@pytest.mark.skipif(not ZONEINFO.is_dir(), reason="this system keeps no zones in files")
def test_the_rules_are_read_from_the_present_zone_files() -> None:
    found = {name for name in zone._files(str(ZONEINFO)) if (ZONEINFO / name).read_bytes()[:4] == b"TZif"}
    assert found == {name for name in available_timezones() if (ZONEINFO / name).exists()}


@pytest.mark.skipif(not ZONEINFO.is_dir(), reason="this system keeps no zones in files")
def test_every_change_of_a_zone_file_is_noticed_and_of_no_other_file(few: Path) -> None:
    first = fingerprint()
    assert fingerprint() == first
    (few / "tzdata.zi").write_text("# version 2026z")
    (few / "posix").mkdir()
    shutil.copy(few / "UTC", few / "posix" / "UTC")
    assert fingerprint() == first
    shutil.copy(few / "UTC", few / "America/Indiana/Knox")
    second = fingerprint()
    assert second != first
    (few / "America/Indiana/Knox").rename(few / "America/Indiana/Other")
    assert fingerprint() not in (first, second)
