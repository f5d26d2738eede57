"""A power cut, replayed: what processes did to a database file, on a disk that keeps only flushed data.

strace records every change to the files and every flush. fsync keeps the content of one file. Its name, or the lack
of it, is kept only by an fsync of its folder. POSIX promises no more. ext4 happens to keep a new file's name with its
content; these tests find code that relies on it. Unflushed data is lost, or, with a random number
generator, any part of it is kept: of a file each sector by itself, as it was at any time since the last flush; of the
folder the changes up to some moment, since every file system keeps those in order. `-shm` is written through mmap and
recreated by the first process that opens the database, so it is left out.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests import servers

SECTOR = 512
SAID = "acknowledged"  # the file to which the processes append one line for each acknowledgement
CALLS = (
    "openat,open,creat,write,writev,pwrite64,pwritev,pwritev2,truncate,ftruncate,fallocate,copy_file_range,sendfile,"
    "unlink,unlinkat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,fsync,fdatasync,sync_file_range,msync"
)
WATCH = ["strace", "-f", "-y", "-xx", "-s", "1000000", "--seccomp-bpf", "-e", f"trace={CALLS}", "-e", "signal=none"]
BEGINNING = re.compile(r"(\d+) +(\w+)\((.*?)(?: <unfinished \.\.\.>|\) += (-?\d+|\?).*)$")
END = re.compile(r"(\d+) +<\.\.\. \w+ resumed>.*\) += (-?\d+|\?).*$")
TEXT = re.compile(r'(["<])((?:\\x[0-9a-f]{2})*)[">](?!\(deleted\))')


class Call(NamedTuple):
    """A system call, at its beginning (`result` is None) or at its end."""

    process: str
    name: str
    words: list[str]
    files: list[str]
    data: bytes
    result: int | None


class File:
    """What a file contains, as far as it was flushed, and what has been done to it since."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.pending: list[tuple[int, bytes | None]] = []  # (where, bytes), or (length, None): cut to that length
        self.flushed = 0

    def flush(self, until: int) -> None:
        count = max(0, until - self.flushed)
        for change in self.pending[:count]:
            _apply(self.kept, *change)
        del self.pending[:count]
        self.flushed += count

    def left(self, random: Random | None) -> bytes:
        content = bytearray(self.kept)
        share = random.choice((0.1, 0.5, 0.9, 1)) if random else 0
        for where, data in self.pending if random else ():
            for start in range(0, len(data or b"-"), SECTOR):
                if random and random.random() < share:
                    _apply(content, where + start, data and data[start : start + SECTOR])
        return bytes(content)


class Disk:
    """A folder with a database."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.flushes = 0
        self._names: dict[str, File] = {}
        self._kept: dict[str, File] = {}
        self._moves: list[tuple[str, File | None]] = []
        self._moved = 0
        self._begun: dict[str, tuple[File | None, int]] = {}

    def left(self, random: Random | None = None) -> dict[str, bytes]:
        """The files after a power cut at this moment."""
        kept: dict[str, File | None] = dict(self._kept)
        kept |= dict(self._moves[: random.randint(0, len(self._moves))] if random else ())
        return {name: file.left(random) for name, file in kept.items() if file is not None}

    def name(self, name: str, file: File | None) -> None:
        """A file is made, or removed."""
        self._moves.append((name, file))
        if file is None:
            del self._names[name]
        else:
            self._names[name] = file

    def has(self, name: str) -> bool:
        return name in self._names

    def change(self, name: str, where: int, data: bytes | None) -> None:
        self._names[name].pending.append((where, data))

    def begin(self, process: str, name: str) -> None:
        """A flush begins, of a file or (without a name) of the folder: it keeps what was done before."""
        file = self._names[name] if name else None
        done = file.flushed + len(file.pending) if file else self._moved + len(self._moves)
        self._begun[process] = file, done

    def end(self, process: str) -> None:
        """A flush is done."""
        self.flushes += 1
        file, until = self._begun.pop(process)
        if file is not None:
            file.flush(until)
            return
        count = max(0, until - self._moved)
        for name, entry in self._moves[:count]:
            if entry is None:
                self._kept.pop(name, None)
            else:
                self._kept[name] = entry
        del self._moves[:count]
        self._moved += count


def watched(script: str, folder: Path, environ: dict[str, str]) -> Path:
    """Run a shell script in `folder` under strace; what strace saw."""
    if not shutil.which("strace"):
        servers.missing("strace", "apt-get install strace")
    trace = folder / "trace"
    (folder / SAID).touch()
    process = subprocess.Popen(
        [*WATCH, "-o", str(trace), "sh", "-c", script], cwd=folder, env=environ, start_new_session=True
    )
    try:
        assert process.wait(90) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return trace


def replay(trace: Path, database: Path) -> Iterator[Disk]:
    """The disk after each thing that was said, or done to the files of `database`."""
    disk = Disk()
    folder = str(database.parent)
    names = [f"{database}{end}" for end in ("", "-wal", "-journal")]
    for call in _calls(trace):
        ours = next((file.removeprefix(f"{folder}/") for file in call.files if file in names), "")
        if call.name in ("fsync", "fdatasync") and (ours or folder in call.files):
            if call.result is None:
                disk.begin(call.process, ours)
                continue
            assert call.result == 0
            disk.end(call.process)
        elif call.result is None or call.result < 0:
            continue
        elif call.name == "write" and f"{folder}/{SAID}" in call.files:
            disk.said += call.data.decode().splitlines()
        elif not ours or not _done(disk, call, ours):
            continue
        yield disk


def _done(disk: Disk, call: Call, name: str) -> bool:
    """Do to the disk what a call did; False when that was nothing."""
    match call.name:
        case "openat":
            assert "O_TRUNC" not in call.words[2]
            if disk.has(name):
                return False
            disk.name(name, File())
        case "pwrite64":
            disk.change(name, int(call.words[3]), call.data[: call.result])
        case "ftruncate":
            disk.change(name, int(call.words[1]), None)
        case "unlink" | "unlinkat":
            disk.name(name, None)
        case _:
            raise AssertionError(f"nobody has said what a power cut leaves of {call.name}")
    return True


def _calls(trace: Path) -> Iterator[Call]:
    """The beginnings and ends of the calls, in the order in which they happened."""
    begun: dict[str, Call] = {}
    with trace.open() as lines:
        for line in lines:
            if beginning := BEGINNING.match(line):
                process, name, arguments, result = beginning.groups()
                texts = [(kind, _bytes(text)) for kind, text in TEXT.findall(arguments)]
                data = b"".join(text for kind, text in texts if kind == '"')
                files = [text.decode(errors="replace") for kind, text in texts if kind == "<" or "write" not in name]
                begun[process] = Call(process, name, arguments.split(", "), files, data, None)
                yield begun[process]
            elif end := END.match(line):
                process, result = end.groups()
            else:
                continue
            if result is not None:
                yield begun.pop(process)._replace(result=-1 if result == "?" else int(result))


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _apply(content: bytearray, where: int, data: bytes | None) -> None:
    """Write `data`, or cut or stretch the file."""
    end = where + len(data or b"")
    content.extend(bytes(max(0, end - len(content))))
    if data is None:
        del content[where:]
    else:
        content[where:end] = data
