"""The systemd unit of an installation: `jobd systemd > /etc/systemd/system/jobd.service`.

Tasks run inside the unit and share its limits. The hardening therefore removes access that jobs do not need (kernel,
devices, other users' processes, homes, set-uid) and keeps the network, just-in-time compilers, and the state and log
folders.
"""

import os
import sys

import jobd
from jobd.clock import SECOND
from jobd.config import SYSTEM_STATE
from jobd.plugins.environment import command_line
from jobd.settings import Settings

_UNIT = """\
[Unit]
Description=jobd, the job scheduler
After=network-online.target time-sync.target mysql.service mariadb.service postgresql.service
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
User=jobd
StateDirectory=jobd
StateDirectoryMode=0700
LogsDirectory=jobd
ConfigurationDirectory=jobd
WatchdogSec=30
Restart=on-failure
RestartSec=2
RestartPreventExitStatus=2 78
KillMode=mixed
TimeoutStopSec={stop}
# A task that takes all the memory ends alone.
OOMPolicy=continue
# Of the files that jobs make; jobd's own are always private.
UMask=0022
# The database's password, when it is not in the configuration:
#LoadCredential=jobd-database-password:/etc/jobd/database-password
{more}
# What jobs may do. A job that needs more: systemctl edit jobd
AmbientCapabilities=
CapabilityBoundingSet=
IPAddressDeny=multicast
LockPersonality=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome={home}
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@resources

[Install]
WantedBy=multi-user.target
"""


def unit(settings: Settings) -> str:
    """The text of the unit that runs the daemon of `settings` with this Python."""
    words = [*command_line("jobd"), "--config", settings.path, "start", "--foreground"]
    home = os.path.dirname(os.path.dirname(os.path.abspath(jobd.__file__)))
    written = [settings.state_dir, os.path.dirname(settings.log.file) if settings.log.file else ""]
    if settings.database.startswith("sqlite:///"):
        written.append(os.path.dirname(settings.database.removeprefix("sqlite:///")))
    given = (SYSTEM_STATE, "/var/log/jobd")
    outside: list[str] = []
    for path in sorted(filter(None, written)):
        if not _within(path, (*given, *outside)):
            outside.append(path)
    more = [f"ReadWritePaths={_quoted(path)}" for path in outside]
    paths = (sys.executable, sys.prefix, sys.base_prefix, home, settings.path, settings.plugins, *outside)
    return _UNIT.format(
        command=" ".join(map(_quoted, words)).replace("$", "$$"),
        stop=-(-settings.stop_timeout // SECOND) + 30,
        more="".join(line + "\n" for line in more),
        home="read-only" if any(_within(path, ("/home", "/root", "/run/user")) for path in paths) else "yes",
    )


def _within(path: str, folders: tuple[str, ...]) -> bool:
    return any(path == folder or path.startswith(folder + "/") for folder in folders)


def _quoted(word: str) -> str:
    """`word` as one word of a unit file."""
    word = word.replace("%", "%%")
    if word.isprintable() and not any(char in word for char in " \"'\\;"):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
