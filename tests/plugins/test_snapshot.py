"""Imports from a snapshot: the code comes from the copy, with the file names of the folder."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest

from jobd.daemon.snapshots import Snapshots
from jobd.plugins.snapshot import Snapshot

BEFORE, AFTER = "VALUE = 'accepted'\n", "VALUE = 'later'  # of the same folder, after it was accepted\n"


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    return folder


def accepted(plugins: Path) -> Snapshot:
    return Snapshots(str(plugins.parent)).take(str(plugins))


def seen(snapshot: Snapshot, script: str, path: Path | None = None) -> Any:
    """What a process that imports from the snapshot prints, as JSON; `path` is in its sys.path before."""
    begin = (
        f"import sys; sys.path.append({str(path or '/nowhere')!r})\n"
        "import importlib, json, jobd.wire\nfrom jobd.plugins.catalogue import Catalogue\n"
        f"catalogue = Catalogue({snapshot.plugins!r}, {snapshot.copy!r})\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", begin + script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def write(plugins: Path, name: str, text: str) -> Path:
    path = plugins / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


VALUE = "m = importlib.import_module({name!r})\nprint(json.dumps([m.VALUE, m.__file__, m.__spec__.origin]))"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("mail.py", "mail"),
        ("shop/__init__.py", "shop"),
        ("shop/tasks.py", "shop.tasks"),
        ("without_init/deep/tasks.py", "without_init.deep.tasks"),
    ],
)
def test_a_module_has_the_code_that_was_accepted_and_its_own_file_name(plugins: Path, file: str, name: str) -> None:
    path = write(plugins, file, BEFORE)
    snapshot = accepted(plugins)
    path.write_text(AFTER)
    assert seen(snapshot, VALUE.format(name=name)) == ["accepted", str(path), str(path)]


@pytest.mark.parametrize("gone", ["the file", "the folder"])
def test_accepted_code_can_be_imported_after_its_file_is_deleted(plugins: Path, gone: str) -> None:
    path = write(plugins, "shop/__init__.py", BEFORE)
    snapshot = accepted(plugins)
    path.unlink() if gone == "the file" else shutil.rmtree(plugins)
    assert seen(snapshot, VALUE.format(name="shop"))[0] == "accepted"


def test_code_that_was_not_accepted_cannot_be_imported(plugins: Path) -> None:
    write(plugins, "shop/__init__.py", BEFORE)
    snapshot = accepted(plugins)
    for name in ("later.py", "shop/later.py"):
        write(plugins, name, AFTER)
    script = (
        "found = []\nimport shop\nfor name in ('later', 'shop.later'):\n"
        "    try:\n        importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error:\n        found.append(str(error))\nprint(json.dumps(found))"
    )
    assert seen(snapshot, script) == ["No module named 'later'", "No module named 'shop.later'"]


def test_a_folder_that_a_plugin_adds_to_the_path_is_the_snapshot_s_too(plugins: Path) -> None:
    write(plugins, "tasks.py", "import os, sys\nsys.path.append(os.path.join(os.path.dirname(__file__), 'lib'))\n")
    path = write(plugins, "lib/helper.py", BEFORE)
    snapshot = accepted(plugins)
    path.write_text(AFTER)
    assert seen(snapshot, "import tasks\n" + VALUE.format(name="helper"))[:2] == ["accepted", str(path)]


def test_data_are_read_where_they_lie(plugins: Path) -> None:
    write(plugins, "shop/__init__.py", "")
    data = write(plugins, "shop/prices.json", "1")
    snapshot = accepted(plugins)
    data.write_text("2")
    assert [path.is_symlink() for path in Path(snapshot.copy).rglob("*.json")] == [True]
    script = (
        "import pkgutil, importlib.resources as r, shop, os\n"
        "beside = open(os.path.join(os.path.dirname(shop.__file__), 'prices.json')).read()\n"
        "print(json.dumps([beside, pkgutil.get_data('shop', 'prices.json').decode(),"
        " (r.files('shop') / 'prices.json').read_text()]))"
    )
    assert seen(snapshot, script) == ["2", "2", "2"]


def test_an_extension_module_and_a_module_without_source_are_the_snapshot_s(plugins: Path) -> None:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    library = Path(sysconfig.get_config_var("DESTSHARED")) / f"xxlimited{suffix}"
    if not library.exists():
        library = next(Path(sysconfig.get_config_var("DESTSHARED")).glob(f"_bisect*{suffix}"), library)
    name = library.name.partition(".")[0]
    shutil.copy(library, plugins / library.name)
    source = write(plugins, "compiled.py", BEFORE)
    subprocess.run([sys.executable, "-m", "compileall", "-b", "-q", str(source)], check=True)
    source.unlink()
    snapshot = accepted(plugins)
    shutil.rmtree(plugins)
    script = f"import {name}, compiled\nprint(json.dumps([{name}.__file__, compiled.VALUE, compiled.__file__]))"
    sys_path_first = "sys.path.insert(0, sys.path.pop())\n"  # before the standard library's own
    assert seen(snapshot, sys_path_first + script) == [
        f"{snapshot.copy}/{library.name}",
        "accepted",
        f"{snapshot.copy}/compiled.pyc",
    ]


def test_a_package_of_data_alone_can_be_read(plugins: Path) -> None:
    write(plugins, "shop/__init__.py", "")
    write(plugins, "shop/data/prices.json", "1")
    script = "import importlib.resources as r\nprint(json.dumps((r.files('shop.data') / 'prices.json').read_text()))"
    assert seen(accepted(plugins), script) == "1"


def test_a_folder_that_is_in_the_path_already_is_read_from_the_snapshot(plugins: Path) -> None:
    path = write(plugins, "mail.py", BEFORE)
    snapshot = accepted(plugins)
    path.write_text(AFTER)
    assert seen(snapshot, VALUE.format(name="mail"), plugins)[0] == "accepted"


def test_a_folder_behind_a_link_is_the_snapshot_s_by_its_real_name_too(plugins: Path, tmp_path: Path) -> None:
    write(
        plugins,
        "tasks.py",
        "import pathlib, sys\nsys.path.append(str(pathlib.Path(__file__).resolve().parent / 'lib'))\n",
    )
    path = write(plugins, "lib/helper.py", BEFORE)
    (tmp_path / "current").symlink_to(plugins)
    snapshot = accepted(tmp_path / "current")
    path.write_text(AFTER)
    assert seen(snapshot, "import tasks\n" + VALUE.format(name="helper"))[0] == "accepted"


def test_a_folder_beside_the_plugins_is_itself(plugins: Path) -> None:
    write(plugins, "tasks.py", "import os, sys\nsys.path.append(os.path.dirname(__file__) + '/../shared')\n")
    path = write(plugins, "../shared/helper.py", BEFORE)
    snapshot = accepted(plugins)
    path.write_text(AFTER)
    assert seen(snapshot, "import tasks\n" + VALUE.format(name="helper"))[0] == "later"


@pytest.mark.parametrize("spelling", ["/{}//lib", "{}/./lib", "{}/../plugins/lib"])
def test_a_folder_of_plugins_is_the_snapshot_s_however_it_is_spelt(plugins: Path, spelling: str) -> None:
    path = write(plugins, "lib/helper.py", BEFORE)
    snapshot = accepted(plugins)
    path.write_text(AFTER)
    script = f"sys.path.append({spelling.format(plugins)!r})\n" + VALUE.format(name="helper")
    assert seen(snapshot, script)[0] == "accepted"


def test_a_package_in_an_archive_can_be_imported(plugins: Path) -> None:
    with zipfile.ZipFile(plugins / "library.zip", "w") as archive:
        archive.writestr("zipped/__init__.py", "from zipped.inner import VALUE\n")
        archive.writestr("zipped/inner.py", BEFORE)
    snapshot = accepted(plugins)
    script = f"sys.path.append({str(plugins / 'library.zip')!r})\nimport zipped\nprint(json.dumps(zipped.VALUE))"
    assert seen(snapshot, script) == "accepted"


def test_nothing_is_imported_from_the_folder_when_the_copy_is_missing(plugins: Path) -> None:
    write(plugins, "shop/__init__.py", BEFORE)
    write(plugins, "shop/late.py", BEFORE)
    snapshot = accepted(plugins)
    script = (
        f"import shop, shutil\nshutil.rmtree({snapshot.copy!r})\nimportlib.invalidate_caches()\n"
        "try:\n    import shop.late\nexcept ModuleNotFoundError as error:\n    print(json.dumps(str(error)))"
    )
    assert seen(snapshot, script) == "No module named 'shop.late'"


CAUSE = """
def fail():
    try:
        inner.cause()
    except KeyError as error:
        raise ValueError('as it was') from error
import inner
"""


def explained(plugins: Path, changed: Path, before: str = "") -> str:
    """What is shown of the failure of `tasks.fail` when a file has changed since it was accepted."""
    snapshot = accepted(plugins)
    changed.write_text("# a line\n# another\n")
    script = (
        "import logging, tasks\nfrom jobd.runner.failure import explanation\nlogging.lastResort = None\n"
        f"try:\n    tasks.fail()\nexcept ValueError as error:\n{before}    print(json.dumps(explanation(error)))"
    )
    return str(seen(snapshot, script))


def test_a_traceback_shows_the_code_of_causes_too(plugins: Path) -> None:
    write(plugins, "tasks.py", CAUSE)
    path = write(plugins, "inner.py", "def cause():\n    raise KeyError('the cause')\n")
    shown = explained(plugins, path, "    logging.exception('as the task itself does')\n")
    assert "in cause\n    raise KeyError('the cause')" in shown


def test_a_traceback_shows_the_code_that_ran(plugins: Path) -> None:
    path = write(plugins, "tasks.py", "def fail():\n    raise ValueError('as it was')\n")
    assert f"File \"{path}\", line 2, in fail\n    raise ValueError('as it was')" in explained(plugins, path)


def test_bytecode_is_kept_with_the_snapshot(plugins: Path) -> None:
    write(plugins, "mail.py", BEFORE)
    snapshot = accepted(plugins)
    seen(snapshot, VALUE.format(name="mail"))
    assert list(Path(snapshot.copy).glob("__pycache__/mail.*.pyc"))
    assert not (plugins / "__pycache__").exists()


def test_a_spawned_child_has_the_same_code_and_the_data_beside_it(plugins: Path) -> None:
    read = "def value():\n    return [VALUE, open(__file__.replace('mail.py', 'data')).read()]\n"
    path = write(plugins, "mail.py", BEFORE + read)
    write(plugins, "data", "beside it")
    snapshot = accepted(plugins)
    path.write_text(AFTER + read)
    script = (
        "import multiprocessing, mail\n"
        "with multiprocessing.get_context('spawn').Pool(1) as pool:\n    print(json.dumps(pool.apply(mail.value)))"
    )
    assert seen(snapshot, script) == ["accepted", "beside it"]


def test_a_package_s_entry_points_are_the_snapshot_s(plugins: Path) -> None:
    path = write(plugins, "company-1.0.dist-info/entry_points.txt", "[jobd.tasks]\nsend = company:send\n")
    write(plugins, "company.py", "def send(): pass\n")
    snapshot = accepted(plugins)
    path.write_text("[jobd.tasks]\nother = company:other\n")
    script = "print(json.dumps([one.name for one in catalogue.entry_points() if one.package == 'company']))"
    assert seen(snapshot, script) == ["send"]
