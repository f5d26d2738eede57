"""What a task is: everything that is marked or declared is offered once by its own name, or listed with the reason."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobd.plugins.task_list import TaskInfo, list_tasks


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    return folder


Write = Callable[..., list[TaskInfo]]


@pytest.fixture
def offered(plugins: Path) -> Write:
    """Writes plugins (path=text) and lists what they offer."""

    def write(**files: str) -> list[TaskInfo]:
        return written(plugins, {f"{name}.py": text for name, text in files.items()})

    return write


def written(plugins: Path, files: dict[str, str]) -> list[TaskInfo]:
    for name, text in files.items():
        (plugins / name).parent.mkdir(parents=True, exist_ok=True)
        (plugins / name).write_text(text)
    return list_tasks(str(plugins)).tasks


def names(found: list[TaskInfo]) -> list[str]:
    assert not [one for one in found if one.error], found
    return [one.name for one in found]


def the_error(found: list[TaskInfo]) -> str:
    (broken,) = [one for one in found if one.error]
    return f"{broken.name or broken.origin}: {broken.error}"


# Names and places

MARKED = "import jobd\n@jobd.task\ndef {name}():\n    pass\n"


def test_a_package_offers_the_tasks_that_its_init_imports_from_its_modules(plugins: Path) -> None:
    files = {"pkg/__init__.py": "from pkg.mail import *\nfrom . import sub\nfrom .sub.deep import nightly\n"}
    files |= {"pkg/mail.py": MARKED.format(name="send"), "pkg/sub/deep.py": MARKED.format(name="nightly")}
    found = written(plugins, files)
    assert names(found) == ["nightly", "send"]
    assert [one.origin for one in found] == ["plugins/pkg/sub/deep.py:2", "plugins/pkg/mail.py:2"]


@pytest.mark.parametrize("file", ["my-job.py", "2fast.py", "my job.py", "class.py", "my-pkg/__init__.py"])
def test_a_file_whose_name_is_no_identifier_is_a_plugin_like_any_other(plugins: Path, file: str) -> None:
    assert names(written(plugins, {file: MARKED.format(name="hello")})) == ["hello"]


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("v1.2.py", "plugins/v1.2.py: a plugin's name cannot hold a dot"),
        ("reports/daily.py", "plugins/reports: it has no __init__.py, .* as in reports.daily:function"),
    ],
)
def test_a_file_that_cannot_be_a_plugin_is_listed_with_the_reason(plugins: Path, file: str, reason: str) -> None:
    import re

    assert re.match(reason, the_error(written(plugins, {file: MARKED.format(name="hello")})))


def test_a_file_that_is_no_plugin_is_not_listed(plugins: Path) -> None:
    files = ["data/rows.csv", "lib/helper.py", ".hidden.py", ".git/x.py", "x-1.0.dist-info/METADATA", "notes.txt"]
    assert written(plugins, dict.fromkeys(files, "nothing")) == []


def test_a_function_that_is_imported_into_a_plugin_is_offered_once(offered: Write) -> None:
    found = offered(
        a="from shared import nightly, plain\nimport jobd\nthumbs = jobd.task(plain)\n",
        b="from shared import *\nfrom a import thumbs\n",
        shared="import jobd\n@jobd.task\ndef nightly(): pass\ndef plain(): pass\n",
    )
    assert names(found) == ["nightly", "plain"]


def test_two_names_of_one_function_are_one_task(offered: Write) -> None:
    text = "import jobd\n@jobd.task\ndef local(): pass\nlocal2 = jobd.task(local)\nlocal3 = local\n"
    assert names(offered(a=text)) == ["local"]


def test_two_functions_of_one_name_are_reported_with_both_places(offered: Write) -> None:
    found = offered(a=MARKED.format(name="hello"), b=MARKED.format(name="hello"))
    assert [one.name for one in found] == ["hello", "hello"]
    assert "plugins/b.py:2" in str(found[0].error)
    assert "plugins/a.py:2" in str(found[1].error)
    assert "name=" in str(found[0].error)


def test_a_task_may_be_given_a_name(offered: Write) -> None:
    text = "import jobd\n@jobd.task(name='poll-2')\ndef poll(): pass\n@jobd.task\ndef poll3(): pass\n"
    assert names(offered(a=text)) == ["poll-2", "poll3"]


@pytest.mark.parametrize("name", ["'a:b'", "' x'", "'a\\nb'", "''"])
def test_a_name_that_no_job_could_ask_for_is_refused(offered: Write, name: str) -> None:
    assert "a task cannot be called" in the_error(offered(a=f"import jobd\n@jobd.task(name={name})\ndef f(): pass\n"))


def test_the_wrapper_of_a_decorator_replaces_the_task(offered: Write) -> None:
    text = """
import functools, jobd
def twice(f):
    @functools.wraps(f)
    def run(*args, **kwargs):
        f(*args, **kwargs)
    return run
@jobd.task
def inner(n): pass
inner_twice = twice(inner)
@twice
@jobd.task
def outer(n): pass
"""
    found = offered(a=text)
    assert names(found) == ["inner", "outer"]
    assert [one.arguments and one.arguments.others for one in found] == [False, True]


def test_a_nameless_task_has_the_name_that_it_is_bound_to(offered: Write) -> None:
    text = """
import functools, jobd
class Service:
    @jobd.task
    def poll(self): pass
class Call:
    def __call__(self): pass
def add(a, b): pass
first, second = Service().poll, Service().poll
add_one = jobd.task(functools.partial(add, b=1))
called = jobd.task(Call())
nameless = jobd.task(lambda: None)
"""
    assert names(offered(a=text)) == ["add_one", "called", "first", "nameless", "second"]


def test_a_proxy_that_answers_to_everything_is_no_task(offered: Write) -> None:
    text = """
from unittest.mock import MagicMock
class Proxy:
    def __call__(self): pass
    def __getattr__(self, name): raise RuntimeError("outside of a request")
    __class__ = property(lambda self: 1 / 0)
mock, proxy = MagicMock(), Proxy()
"""
    assert offered(a=text) == []


@pytest.mark.parametrize("what", ["class Job: pass", "Job = 7", "import math; Job = math.sin"])
def test_marking_an_unsuitable_object_is_an_error(offered: Write, what: str) -> None:
    error = the_error(offered(a=f"import jobd\n{what}\njobd.task(Job)\n"))
    assert "TypeError: " in error
    assert "mark" in error or "@jobd.task is for functions" in error


# What runs nothing when it is called

YIELDING = {
    "generator": "@jobd.task\ndef f():\n    yield\n",
    "async generator": "@jobd.task\nasync def f():\n    yield\n",
    "partial": "def g(n):\n    yield\nf = jobd.task(functools.partial(g, 1))\n",
    "object": "class C:\n    def __call__(self):\n        yield\nf = jobd.task(C())\n",
    "method": "class C:\n    @jobd.task\n    async def g(self):\n        yield\nf = C().g\n",
}


@pytest.mark.parametrize("text", YIELDING.values(), ids=YIELDING)
def test_a_generator_is_refused_and_its_neighbour_is_not(offered: Write, text: str) -> None:
    found = offered(a=f"import functools, jobd\n{text}@jobd.task\ndef good(): pass\n")
    assert the_error(found).startswith("f: it is a generator")
    assert [one.name for one in found if not one.error] == ["good"]


def test_a_function_with_positional_only_parameters_is_refused(offered: Write) -> None:
    assert "'a' by position only" in the_error(offered(a="import jobd\n@jobd.task\ndef f(a, /): pass\n"))


# Installed packages

POINTS = "[console_scripts]\nx = y:z\n\n[jobd.tasks]\npoll_feed = shop.tasks:poll_feed\n"
SHOP = "def poll_feed(): pass\ndef older(): pass\nclass Feed: pass\ndef lazy():\n    yield\n"


def install(folder: Path, info: str, points: str = POINTS) -> None:
    (folder / info).mkdir(parents=True)
    (folder / info / "entry_points.txt").write_text(points)


def with_shop(folder: Path) -> None:
    (folder / "shop").mkdir(parents=True)
    (folder / "shop" / "__init__.py").touch()
    (folder / "shop" / "tasks.py").write_text(SHOP)


@pytest.mark.parametrize("egg", ["shop.egg-info", "shop-1.0-py3.11.egg-info", "Shop.egg-info", "shop-1.0.dist-info"])
def test_a_package_that_is_seen_twice_offers_its_tasks_once(
    plugins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, egg: str
) -> None:
    with_shop(tmp_path / "src")
    install(tmp_path / "src", egg, POINTS + "gone = shop.tasks:older\n")
    install(tmp_path / "site", "shop-1.0.dist-info")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{tmp_path / 'src'}")
    (found,) = list_tasks(str(plugins)).tasks
    assert (found.name, found.origin, found.error) == ("poll_feed", "shop (shop.tasks:poll_feed)", None)


def test_an_entry_point_that_a_plugin_imports_is_one_task(plugins: Path) -> None:
    with_shop(plugins)
    install(plugins, "shop-1.0.dist-info")
    assert names(written(plugins, {"mine.py": "import jobd, shop.tasks\nf = jobd.task(shop.tasks.poll_feed)\n"})) == [
        "poll_feed"
    ]


def test_two_packages_with_equal_entry_points_do_not_conflict_and_others_do(plugins: Path) -> None:
    with_shop(plugins)
    install(plugins, "shop-1.0.dist-info")
    install(plugins, "shop_extra-2.0.dist-info")
    assert names(list_tasks(str(plugins)).tasks) == ["poll_feed"]
    install(plugins, "other-2.0.dist-info", "[jobd.tasks]\npoll_feed = shop.tasks:older\n")
    assert ["taken twice" in str(one.error) for one in list_tasks(str(plugins)).tasks] == [True, True]


@pytest.mark.parametrize(
    ("target", "reason"), [("Feed", "it is a class"), ("lazy", "it is a generator"), ("none", "there is no 'none'")]
)
def test_an_entry_point_that_cannot_run_is_listed_with_the_reason(plugins: Path, target: str, reason: str) -> None:
    with_shop(plugins)
    install(plugins, "shop-1.0.dist-info", f"[jobd.tasks]\nx = shop.tasks:{target}\n")
    assert reason in the_error(list_tasks(str(plugins)).tasks)


def test_a_listing_contains_the_arguments_of_each_task(offered: Write) -> None:
    def takes(text: str) -> Any:
        (one,) = offered(a=f"import jobd\n@jobd.task\ndef f({text}): pass\n")
        return one.arguments and tuple(one.arguments)

    assert takes("to, copies=1, *, urgent=False, who") == (["to", "who"], ["copies", "urgent"], False)
    assert takes("*args, **kwargs") == ([], [], True)
    assert takes("") == ([], [], False)
