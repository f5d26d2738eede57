"""A machine with a real systemd as process 1, booted in seconds: namespaces over an overlay of this machine's root.

No container engine and no image; nothing is left behind, because all that it writes is on a tmpfs of its own.
Needs root.
"""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

PATIENCE = 60
SCRIPT = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs {work}
mkdir {work}/upper {work}/work {work}/root
cp -a {added}/. {work}/upper/
chmod 755 {work}/upper
mount -t overlay overlay -o lowerdir=/,upperdir={work}/upper,workdir={work}/work {work}/root
cd {work}/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount --rbind /dev dev
pivot_root . mnt
cd /
umount -l /mnt
ip link set lo up 2>/dev/null || true
exec env -i container=x PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=multi-user.target
"""


class Machine:
    """The machine. `added` is a folder whose files lie over the root: what has been installed with DESTDIR."""

    def __init__(self, added: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="jobd-machine-"))
        script = SCRIPT.format(work=self._folder, added=added)
        namespaces = ["--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup"]
        self._process = subprocess.Popen(
            ["unshare", *namespaces, "--fork", "--kill-child", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=(self._folder.parent / f"{self._folder.name}.log").open("wb"),
            stderr=subprocess.STDOUT,
        )
        self._pid = 0
        try:
            self.wait_for(self._is_up, "systemd to come up")
        except BaseException:
            self.end()
            raise

    def run(self, *command: str, check: bool = True, stdin: str | None = None) -> str:
        """Run a command on the machine; what it printed."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._pid), "-a", *command],
            capture_output=True,
            text=True,
            input=stdin,
            timeout=PATIENCE,
        )
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}\n{self.journal()}")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file on the machine."""
        self.run("sh", "-c", f"mkdir -p $(dirname {path}) && cat > {path}", stdin=text)

    def journal(self) -> str:
        """What the journal says of jobd."""
        command = ["nsenter", "-t", str(self._pid), "-a", "journalctl", "-u", "jobd", "--no-pager", "-o", "cat"]
        return subprocess.run(command, capture_output=True, text=True).stdout

    def show(self, key: str) -> str:
        """A property of the unit."""
        return self.run("systemctl", "show", "jobd", "-p", key, "--value").strip()

    def wait_for(self, condition: object, what: str, seconds: float = PATIENCE) -> None:
        """Wait until `condition()` holds."""
        assert callable(condition)
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                journal = self.journal() if self._pid else ""
                raise AssertionError(f"waited {seconds} s for {what}\n{self._log()}\n{journal}")
            time.sleep(0.05)

    def end(self) -> None:
        """Switch it off."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
        (self._folder.parent / f"{self._folder.name}.log").unlink(missing_ok=True)

    def _is_up(self) -> bool:
        if self._process.poll() is not None:
            raise AssertionError(f"the machine did not boot:\n{self._log()}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children:
            return False
        self._pid = int(children[0])
        state = subprocess.run(
            ["nsenter", "-t", str(self._pid), "-a", "systemctl", "is-system-running"], capture_output=True, text=True
        ).stdout.strip()
        return state in ("running", "degraded")

    def _log(self) -> str:
        return (self._folder.parent / f"{self._folder.name}.log").read_text("utf-8", "replace")[-3000:]
