"""No interval, with runonce: due at once, and never again."""

from jobd.schedule.base import Schedule


class Once(Schedule):
    """Due at the moment of planning. It has no string: its interval in the table is NULL."""

    __slots__ = ()
    at_once = True

    def first(self, now: int) -> int | None:
        return now

    def after(self, moment: int, anchor: int) -> int | None:
        return None

    def describe(self) -> str:
        return "once"
