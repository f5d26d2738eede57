"""`@reboot`: once at each start of a daemon. No clock makes it due: the daemon requests the run when it starts."""

from jobd.schedule.base import Schedule


class Reboot(Schedule):
    """Due when a daemon starts."""

    __slots__ = ()
    on_event = True

    def first(self, now: int) -> int | None:
        return None

    def after(self, moment: int, anchor: int) -> int | None:
        return None

    def describe(self) -> str:
        return "at each start of a daemon"


def parse_reboot(text: str, zone: str) -> Reboot:
    """The schedule of the word `@reboot`."""
    return Reboot("@reboot")
