"""Copies of the plugins folder: their content, their names and their removal."""

import contextlib
import errno
import os
import time
from importlib.util import cache_from_source
from pathlib import Path

import pytest

from jobd.daemon.snapshots import Snapshots
from jobd.errors import JobdError


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    return folder


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(str(tmp_path))


def copied(copy: str) -> dict[str, bytes]:
    """The files of a copy that are no links to data."""
    folder = Path(copy)
    files = (path for path in sorted(folder.rglob("*")) if not path.is_symlink() and path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def links(copy: str) -> dict[str, str]:
    folder = Path(copy)
    return {str(path.relative_to(folder)): str(path.readlink()) for path in folder.rglob("*") if path.is_symlink()}


def write(plugins: Path, *names: str) -> None:
    for name in names:
        (plugins / name).parent.mkdir(parents=True, exist_ok=True)
        (plugins / name).write_text(f"# {name}\n")


def test_a_snapshot_holds_code_and_links_to_data(plugins: Path, snapshots: Snapshots) -> None:
    code = ["a.py", "b/__init__.py", "b/c/d.py", "e.so", "f.libs/libg.so.1.2", "h-1.0.dist-info/METADATA", "i.pyc"]
    data = ["data.csv", "b/data.json", ".hidden.py", "b/.git", "only/data"]
    write(plugins, *code, "b/__pycache__/old.cpython-39.pyc", "data.csv", "b/data.json", ".hidden.py")
    write(plugins, "b/.git/x.py", "only/data/of/it.txt", "b/c/e/more.txt")
    copy = snapshots.take(str(plugins)).copy
    assert list(copied(copy)) == sorted(code)
    expected = {name: str(plugins / name) for name in [*data[:-1], "only", "b/c/e"]}
    assert links(copy) == expected


def test_the_same_code_has_the_same_name_wherever_it_lies(plugins: Path, snapshots: Snapshots, tmp_path: Path) -> None:
    write(plugins, "a.py", "b/c.py")
    first = snapshots.take(str(plugins))
    (tmp_path / "other").mkdir()
    write(tmp_path / "other", "b/c.py", "a.py", "data.csv")
    assert snapshots.take(str(tmp_path / "other")).copy == first.copy
    (plugins / "a.py").rename(plugins / "z.py")
    assert snapshots.take(str(plugins)).copy != first.copy


def test_content_that_moves_from_one_file_to_the_next_is_other_code(plugins: Path, snapshots: Snapshots) -> None:
    (plugins / "a.py").write_text("1\n")
    (plugins / "b.py").write_text("")
    first = snapshots.take(str(plugins))
    (plugins / "a.py").write_text("")
    (plugins / "b.py").write_text("1\n")
    assert snapshots.take(str(plugins)) != first


def test_it_is_outdated_when_the_code_changes(plugins: Path, snapshots: Snapshots) -> None:
    write(plugins, "a.py", "pkg/b.py")
    snapshot = snapshots.take(str(plugins))
    write(plugins, "data.csv")
    assert not snapshots.is_outdated(snapshot)
    write(plugins, "new.py")
    assert snapshots.is_outdated(snapshot)
    (plugins / "new.py").unlink()
    assert not snapshots.is_outdated(snapshot)
    (plugins / "pkg" / "b.py").write_text("# longer than it was\n")
    assert snapshots.is_outdated(snapshot)


def test_only_new_top_level_files_are_added_to_the_accepted_code(plugins: Path, snapshots: Snapshots) -> None:
    write(plugins, "old.py", "pkg/old.py", "space/deep/old.py")
    before = snapshots.take(str(plugins))
    for name in ("old.py", "pkg/old.py", "pkg/new.py", "new.py", "other/new.py", "pkg.py", "space.so", "old/new.py"):
        (plugins / name).parent.mkdir(exist_ok=True)
        (plugins / name).write_text("# changed\n")
    new = snapshots.new_in(str(plugins), before)
    assert sorted(new.code) == ["new.py", "other/new.py"]
    found = copied(snapshots.add(before, new).copy)
    assert {name: b"changed" in text for name, text in found.items()} == {
        "old.py": False, "pkg/old.py": False, "space/deep/old.py": False, "new.py": True, "other/new.py": True,
    }  # fmt: skip


def test_a_snapshot_without_a_file_keeps_its_other_content(plugins: Path, snapshots: Snapshots) -> None:
    """Not what lies in the plugins folder by then: that has not been looked at."""
    write(plugins, "good.py", "broken.py", "pkg/tasks.py", "pkg/data.csv")
    everything = snapshots.take(str(plugins))
    (plugins / "good.py").write_text("# changed\n")
    left = snapshots.without(everything, {"broken.py"})
    snapshots.keep_only([left])
    assert copied(left.copy) == {"good.py": b"# good.py\n", "pkg/tasks.py": b"# pkg/tasks.py\n"}
    assert links(left.copy) == {"pkg/data.csv": str(plugins / "pkg" / "data.csv")}


def test_the_state_folder_in_the_plugins_folder_is_no_code(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "state/task_wrote.py")
    snapshots = Snapshots(str(tmp_path / "state"))
    for _ in range(3):
        snapshot = snapshots.take(str(tmp_path))
        assert list(copied(snapshot.copy)) == ["a.py"]
        assert not snapshots.is_outdated(snapshot)


@pytest.mark.parametrize("target", ["loop.py", "x" * 300, "nowhere/at/all"])
def test_a_dangling_link_does_no_harm(plugins: Path, snapshots: Snapshots, target: str) -> None:
    write(plugins, "a.py")
    with contextlib.suppress(OSError):
        (plugins / "loop.py").symlink_to(target)
        (plugins / "loop").symlink_to("loop")
    assert list(copied(snapshots.take(str(plugins)).copy)) == ["a.py"]


def test_a_file_that_goes_while_it_is_read_is_named(
    plugins: Path, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(plugins, "a.py", "b.py")
    real = open

    def going(file: object, mode: str = "r", **more: object) -> object:
        if str(file).endswith("plugins/b.py"):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
        return real(file, mode, **more)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", going)
    with pytest.raises(JobdError, match=r"cannot copy the plugins: .*/plugins/b\.py was there and is gone"):
        snapshots.take(str(plugins))


def test_links_are_followed_but_not_in_a_circle(plugins: Path, snapshots: Snapshots, tmp_path: Path) -> None:
    write(tmp_path / "elsewhere", "shop/tasks.py")
    (plugins / "shop").symlink_to(tmp_path / "elsewhere" / "shop")
    (plugins / "again").symlink_to(plugins)
    assert list(copied(snapshots.take(str(plugins)).copy)) == ["shop/tasks.py"]


def test_folders_that_link_each_other_are_followed_to_a_depth(plugins: Path, snapshots: Snapshots) -> None:
    for number in range(8):
        write(plugins, f"folder{number}/tasks.py")
    for number in range(8):
        for other in set(range(8)) - {number}:
            (plugins / f"folder{number}" / f"other{other}").symlink_to(plugins / f"folder{other}")
    assert len(copied(snapshots.take(str(plugins)).copy)) == 8 * (1 + 7 * (1 + 6 * (1 + 5)))


@pytest.mark.parametrize("kind", ["dangling", "pipe", "unreadable"])
def test_an_unreadable_file_fails_only_at_its_import(plugins: Path, snapshots: Snapshots, kind: str) -> None:
    path = plugins / "odd.py"
    if kind == "dangling":
        path.symlink_to("nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif os.geteuid() == 0:
        pytest.skip("root reads everything")
    else:
        path.touch(0)
    write(plugins, "good.py")
    copy = Path(snapshots.take(str(plugins)).copy)
    assert (copy / "odd.py").is_symlink()
    assert (copy / "odd.py").readlink() == path.resolve()
    assert (copy / "good.py").is_file()


def test_bytecode_is_copied_unless_it_may_be_that_of_an_older_source(plugins: Path, snapshots: Snapshots) -> None:
    write(plugins, "old.py", "racy.py")
    changed = time.time() - 100
    for name, age in (("old", 50), ("racy", 0.5)):
        os.utime(plugins / f"{name}.py", (changed, changed))
        bytecode = Path(cache_from_source(str(plugins / f"{name}.py")))
        bytecode.parent.mkdir(exist_ok=True)
        bytecode.write_bytes(b"bytecode")
        os.utime(bytecode, (changed + age, changed + age))
    copy = snapshots.take(str(plugins)).copy
    assert [path.name.partition(".")[0] for path in Path(copy).glob("__pycache__/*")] == ["old"]
    assert int(os.stat(f"{copy}/old.py").st_mtime) == int(changed)


def test_other_snapshots_and_those_of_an_earlier_daemon_are_removed(
    plugins: Path, snapshots: Snapshots, tmp_path: Path
) -> None:
    write(plugins, "a.py")
    first = snapshots.take(str(plugins))
    write(plugins, "b.py")
    second = snapshots.take(str(plugins))
    write(plugins, "c.py")
    third = snapshots.take(str(plugins))
    snapshots.keep_only([second, third])
    assert sorted(os.listdir(tmp_path / "jobd.code")) == sorted(os.path.basename(one.copy) for one in (second, third))
    assert not os.path.exists(first.copy)
    Snapshots(str(tmp_path))
    assert os.listdir(tmp_path / "jobd.code") == []


def test_a_copy_that_was_removed_is_made_once_more(plugins: Path, snapshots: Snapshots, tmp_path: Path) -> None:
    write(plugins, "a.py")
    first = snapshots.take(str(plugins))
    for folder in (first.copy, str(tmp_path / "jobd.code")):
        for path in sorted(Path(folder).rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
    assert snapshots.take(str(plugins)) == first
    assert list(copied(first.copy)) == ["a.py"]


def test_a_copy_that_was_changed_is_left_to_its_workers_and_another_is_made(
    plugins: Path, snapshots: Snapshots
) -> None:
    write(plugins, "a.py", "b.py")
    first = snapshots.take(str(plugins))
    (Path(first.copy) / "a.py").write_text("")
    second = snapshots.take(str(plugins))
    assert second != first
    assert list(copied(second.copy).values()) == [b"# a.py\n", b"# b.py\n"]
    assert snapshots.take(str(plugins)) == second


def test_a_partial_copy_is_removed(
    plugins: Path, snapshots: Snapshots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full, as far as the second file knows."""
    write(plugins, "a.py", "b.py")
    real = open

    def full(file: object, mode: str = "r", **more: object) -> object:
        if str(file).endswith("/b.py") and mode == "xb":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, mode, **more)  # type: ignore[call-overload]

    monkeypatch.setattr("builtins.open", full)
    with pytest.raises(JobdError, match=f"cannot copy the plugins to {tmp_path}/jobd.code: No space left on device"):
        snapshots.take(str(plugins))
    assert os.listdir(tmp_path / "jobd.code") == []


def test_an_unwritable_folder_is_reported(plugins: Path, snapshots: Snapshots, tmp_path: Path) -> None:
    write(plugins, "a.py")
    (tmp_path / "jobd.code").rmdir()
    (tmp_path / "jobd.code").write_text("a file in its place")
    with pytest.raises(JobdError, match=f"cannot copy the plugins to {tmp_path}/jobd.code: "):
        snapshots.take(str(plugins))
