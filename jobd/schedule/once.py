"""No interval and runonce: due at once, and never again."""

from jobd.schedule.base import Schedule


class Once(Schedule):
    """Due at the moment of planning. It has no string: in the table its interval is NULL."""

    __slots__ = ()
    at_once = True

    def first(self, now: int) -> int | None:
        return now

    def after(self, moment: int, anchor: int) -> int | None:
        return None

    def describe(self) -> str:
        return "once"
