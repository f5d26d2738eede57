"""Work in the background, one piece after the other."""

import select

from jobd.daemon.background import Background


def test_the_next_piece_starts_only_when_the_result_of_the_one_before_has_been_used() -> None:
    """`then` may ask for more work. What it reads must not be changed by a piece that starts meanwhile."""
    background, shared, seen = Background(), [""], list[str]()

    def write(name: str) -> None:
        shared[0] = name

    def read(_: object) -> None:
        background.do(lambda: None, lambda _: None)
        waiting.append(len(background._waiting))
        seen.append(shared[0])

    waiting: list[int] = []
    background.do(lambda: write("first"), read)
    background.do(lambda: write("second"), read)
    while len(seen) < 2:
        assert select.select([background.descriptor], [], [], 30)[0]
        background.handle()
    assert seen == ["first", "second"]
    assert waiting == [2, 2]


def test_a_result_that_cannot_be_used_holds_up_nothing_behind_it() -> None:
    background, done = Background(), list[int]()

    def fail(_: object) -> None:
        raise RuntimeError("a bug")

    background.do(lambda: None, fail)
    background.do(lambda: 2, done.append)
    while not done:
        assert select.select([background.descriptor], [], [], 30)[0]
        try:
            background.handle()
        except RuntimeError:
            background.handle()
    assert done == [2]
