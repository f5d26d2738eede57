"""Awaitable results of tasks are awaited, and a result that has run no code fails its run."""

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.installation import Installation

PLUGIN = """
import asyncio, concurrent.futures, functools, threading
import jobd

async def work(n=1):
    await asyncio.sleep(0)
    return {"worked": n}

def decorated(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)
    return call

class Caller:
    async def __call__(self):
        return await work()

class Awaitable:
    def __await__(self):
        return work().__await__()

@jobd.task
async def plain():
    return await work()

@jobd.task
@decorated
async def behind_a_decorator():
    return await work()

partial = jobd.task(functools.partial(work, 1))
instance = jobd.task(Caller())

@jobd.task
def a_coroutine():
    return work()

@jobd.task
def an_awaitable():
    return Awaitable()

@jobd.task
async def a_coroutine_of_a_coroutine():
    return work()

@jobd.task
def a_task():
    return asyncio.new_event_loop().create_task(work())

@jobd.task
def a_future():
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    loop.call_later(0.01, future.set_result, {"worked": 1})
    return future

@jobd.task
def a_future_of_a_thread():
    future = concurrent.futures.Future()
    threading.Timer(0.01, future.set_result, [{"worked": 1}]).start()
    return future

def numbers():
    yield 1

async def later():
    yield 1

@jobd.task
def a_generator():
    return numbers()

@jobd.task
async def an_async_generator():
    return later()

@jobd.task
@decorated
def a_generator_behind_a_decorator():
    yield

@jobd.task
def a_map():
    return map(print, [1, 2])

@jobd.task
def a_task_without_a_loop():
    return asyncio.ensure_future(work())

@jobd.task
async def fails():
    raise ValueError("as it should")
"""
AWAITED = (
    "plain", "behind_a_decorator", "partial", "instance", "a_coroutine", "an_awaitable", "a_coroutine_of_a_coroutine",
    "a_task", "a_future", "a_future_of_a_thread",
    *(["a_task_without_a_loop"] if sys.version_info < (3, 14) else []),
)  # fmt: skip
LAZY = {
    "a_generator": "what it returned, a generator, runs nothing",
    "an_async_generator": "what it returned, a async_generator, runs nothing",
    "a_generator_behind_a_decorator": "what it returned, a generator, runs nothing",
    "a_map": "what it returned, a map, runs nothing",
    **({"a_task_without_a_loop": "RuntimeError: "} if sys.version_info >= (3, 14) else {}),
    "fails": "ValueError: as it should",
}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("house"), plugin=PLUGIN)
    installation.foreground()
    yield installation
    installation.close()


def outcome(installation: Installation, name: str) -> dict[str, Any]:
    installation.fine("add", name, "--once")
    return installation.ended(name)[0]


@pytest.mark.parametrize("name", AWAITED)
def test_every_kind_of_awaitable_is_awaited(installation: Installation, name: str) -> None:
    run = outcome(installation, name)
    assert (run["outcome"], run["result"]) == ("succeeded", {"worked": 1})


@pytest.mark.parametrize("name", LAZY)
def test_a_task_that_ran_nothing_fails_with_the_reason(installation: Installation, name: str) -> None:
    run = outcome(installation, name)
    assert run["outcome"] == "failed"
    assert run["error"].startswith(LAZY[name])
