"""The file that `jobd apply` reads."""

import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobd.cli import apply
from jobd.errors import BadValue


@pytest.mark.parametrize("file", ["-", "jobs.toml"])
def test_a_file_that_is_too_large_is_refused_and_never_applied_in_part(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with an umlaut has more bytes than characters, and the limit is one of bytes."""
    text = '[job.ü]\ninterval = "1h"\n'.encode()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.toml").write_bytes(text)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text)))
    monkeypatch.setattr(apply, "MAX_FILE", len(text) - 1)
    with pytest.raises(BadValue, match="larger than"):
        apply._read(file)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_file_may_have_a_byte_order_mark_and_the_line_ends_of_windows(ends: str, tmp_path: Path) -> None:
    path = tmp_path / "jobs.toml"
    path.write_bytes(b"\xef\xbb\xbf" + f'[job.a]{ends}interval = "1h"{ends}'.encode())
    text, source = apply._read(str(path))
    assert (text.split(), source) == (["[job.a]", "interval", "=", '"1h"'], str(path))
