"""Data are decoded once; whatever is wrong with what is kept, they are decoded as if nothing were kept."""

import functools
import hashlib
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes

from oneflower.errors import AppError
from oneflower.sdk import decoded, decoded_file, decoded_source, decoded_store
from oneflower.sdk.decoded import cached_arrays
from oneflower.sdk.tables import read_table

VARIABLE = "ONEFLOWER_DATA_CACHE"
CALLS = []


def numbers(source, factor=1):
    """Decode the numbers of a file, or of all files of a folder."""
    CALLS.append(source)
    files = sorted(source.rglob("*.txt")) if source.is_dir() else [source]
    x = np.array([[float(word) * factor for word in file.read_text().split()] for file in files], np.float32)
    return {"x": x, "y": np.arange(3)}


def texts_and_objects(source):
    CALLS.append(source)
    return {"x": np.array([source, None], dtype=object)}


def transposed(source):
    CALLS.append(source)
    return {"x": np.arange(6.0).reshape(2, 3).T}


def a_list(source):
    return [1, 2, 3]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder of the cache; the sources of a test have just been written, and count as settled."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(decoded, "SETTLED_NS", -(10**12))
    monkeypatch.setattr(decoded_store, "LEFT_BYTES", 0)
    decoded._SAID[0] = 0
    CALLS.clear()
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("1 2 3")
    return path


def calls_of(times, source, *others):
    """Return how often the data were decoded in so many calls, which must all give the same arrays."""
    CALLS.clear()
    found = [cached_arrays(numbers, source, *others) for _ in range(times)]
    for each in found:
        np.testing.assert_array_equal(each["x"], found[0]["x"])
        np.testing.assert_array_equal(each["y"], np.arange(3))
        assert each["x"].dtype == np.float32
    return len(CALLS)


def kept(folder):
    return sorted(folder.glob("*.arrays"))


def remarks(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


class TestOnce:
    def test_data_are_decoded_once(self, source, folder):
        assert calls_of(4, source) == 1
        assert len(kept(folder)) == 1

    def test_without_a_folder_each_call_decodes_and_nothing_is_written(self, source, folder, monkeypatch):
        for off in (lambda: monkeypatch.setenv(VARIABLE, ""), lambda: monkeypatch.delenv(VARIABLE)):
            off()
            assert calls_of(2, source) == 2
        assert not folder.exists()

    def test_each_setting_has_its_own_arrays(self, source):
        assert cached_arrays(numbers, source, 2)["x"].tolist() == [[2, 4, 6]]
        assert cached_arrays(numbers, source, 3)["x"].tolist() == [[3, 6, 9]]
        assert cached_arrays(numbers, source, 2.0)["x"].tolist() == [[2, 4, 6]]
        assert len(CALLS) == 3

    def test_both_ways_give_the_same_order_in_memory(self, source):
        """A sum over another order has other last bits."""
        found = [cached_arrays(transposed, source)["x"] for _ in range(2)]
        assert [each.flags.c_contiguous for each in found] == [True, True]
        assert [each.strides for each in found] == [found[0].strides] * 2

    def test_arrays_may_be_changed_and_nobody_else_sees_it(self, source):
        first = cached_arrays(numbers, source)
        first["x"] *= 7
        second = cached_arrays(numbers, source)
        second["x"] *= 7
        assert calls_of(1, source) == 0
        assert cached_arrays(numbers, source)["x"].tolist() == [[1, 2, 3]]

    def test_arrays_stay_readable_when_the_cache_is_deleted(self, source, folder):
        cached_arrays(numbers, source)
        found = cached_arrays(numbers, source)
        kept(folder)[0].unlink()
        assert found["x"].tolist() == [[1, 2, 3]]

    def test_a_table_is_parsed_once(self, tmp_path, folder, monkeypatch):
        (tmp_path / "rows.csv").write_text("a,label\n1,0\n2,1\n")
        first = read_table(tmp_path / "rows.csv", "label")
        monkeypatch.setattr(np, "loadtxt", None)
        second = read_table(tmp_path / "rows.csv", "label")
        for one, two in zip(first, second, strict=True):
            np.testing.assert_array_equal(one, two)

    def test_an_npz_is_not_copied(self, tmp_path, folder):
        np.savez(tmp_path / "rows.npz", x=np.ones((2, 2)))
        assert read_table(tmp_path / "rows.npz", "label")[1] is None
        assert not folder.exists()


class TestChanges:
    def test_rows_that_are_added_are_read_and_the_old_ones_are_gone(self, source, folder):
        calls_of(2, source)
        old = kept(folder)[0].read_bytes()
        source.write_text("1 2 3 4")
        assert cached_arrays(numbers, source)["x"].tolist() == [[1, 2, 3, 4]]
        assert len(kept(folder)) == 1
        assert kept(folder)[0].read_bytes() != old

    def test_other_content_with_the_old_size_and_times_is_read(self, source):
        calls_of(1, source)
        found = source.stat()
        source.write_text("4 5 6")
        os.utime(source, ns=(found.st_atime_ns, found.st_mtime_ns))
        assert cached_arrays(numbers, source)["x"].tolist() == [[4, 5, 6]]

    def test_it_is_read_in_a_large_file_too(self, source, monkeypatch):
        monkeypatch.setattr(decoded_source, "CHEAP_BYTES", 0)
        self.test_other_content_with_the_old_size_and_times_is_read(source)

    def test_a_file_system_without_change_times_is_read_by_content(self, source, monkeypatch):
        states = []
        fixed = source.stat()
        for text in ("1 2 3", "4 5 6"):
            source.write_text(text)
            with monkeypatch.context() as patched:
                patched.setattr(type(source), "is_dir", lambda _: False)
                patched.setattr(type(source), "stat", lambda _: fixed)
                states.append(decoded_source.state_of(source)[0])
        assert states[0] != states[1]

    @pytest.mark.parametrize("change", ["add", "remove", "rename", "empty folder"])
    def test_every_file_of_a_folder_counts(self, tmp_path, change):
        root = tmp_path / "data"
        for name in ("a", "b"):
            (root / name).mkdir(parents=True)
            (root / name / "x.txt").write_text("1 2 3")
        assert calls_of(2, root) == 1
        match change:
            case "add":
                (root / "a" / "y.txt").write_text("4 5 6")
            case "remove":
                (root / "b" / "x.txt").unlink()
            case "rename":
                (root / "b").rename(root / "c")
            case _:
                (root / "0").mkdir()
        assert calls_of(2, root) == 1

    def test_other_code_decodes_again(self, source, monkeypatch):
        calls_of(1, source)
        monkeypatch.setattr(decoded, "code_of", lambda _: "another")
        assert calls_of(2, source) == 1

    def test_the_code_is_that_of_the_package(self, tmp_path, monkeypatch):
        """A helper in another module of the package, or another version of a library, gives other arrays."""
        package = tmp_path / "decoders_of_a_test"
        (package / "deep").mkdir(parents=True)
        for name in ("__init__.py", "main.py", "deep/help.py"):
            (package / name).write_text("def decode(source): ...\n")
        monkeypatch.syspath_prepend(tmp_path)
        from decoders_of_a_test.main import decode

        states = {decoded_source.code_of(decode)}
        (package / "deep" / "help.py").write_text("def decode(source): return 1\n")
        decoded_source.code_of.cache_clear()
        states.add(decoded_source.code_of(decode))
        (tmp_path / "some_library-2.0.dist-info").mkdir()
        decoded_source.code_of.cache_clear()
        decoded_source._installed.cache_clear()
        states.add(decoded_source.code_of(decode))
        decoded_source._installed.cache_clear()
        assert len(states) == 3

    def test_a_file_that_has_just_changed_is_not_kept_yet(self, source, folder, monkeypatch):
        monkeypatch.setattr(decoded, "SETTLED_NS", 2 * 10**9)
        assert calls_of(2, source) == 2
        assert not folder.exists()

    def test_data_that_change_while_they_are_decoded_are_not_kept(self, source, folder, monkeypatch):
        def meanwhile(source):
            source.write_text("9 9 9")
            return {"x": np.zeros(1)}

        monkeypatch.setitem(globals(), "meanwhile", meanwhile)
        meanwhile.__qualname__ = "meanwhile"
        cached_arrays(meanwhile, source)
        assert not folder.exists()


def content_of(key, content):
    return b"".join(bytes(each) for each in decoded_file.blocks(key, content))


def spoil(path, change):
    """Change a file that is kept, and leave its mode as it is."""
    content = bytearray(path.read_bytes())
    path.write_bytes(change(content))


DAMAGE = {
    "empty": lambda _: b"",
    "cut": lambda content: content[: len(content) // 2],
    "without its last byte": lambda content: content[:-1],
    "with one byte more": lambda content: content + b"x",
    "zeros": lambda content: bytes(len(content)),
    "a pickle": lambda content: b"\x80\x04\x95" + bytes(content),
    "a bit of the data": lambda content: content[:256] + bytes([content[256] ^ 1]) + content[257:],
    "a shape": lambda content: content.replace(b"[1, 3]", b"[3, 1]"),
    "a dtype": lambda content: content.replace(b"<f4", b"|O4"),
    "a long index": lambda content: content[:16] + b"\xff" * 8 + content[24:],
    "a text of another file": lambda content: b"hello world" * len(content),
}


class TestDistrust:
    @pytest.mark.parametrize("damage", DAMAGE)
    def test_a_damaged_file_is_thrown_away_and_decoded_again(self, source, folder, damage, caplog):
        calls_of(1, source)
        whole = kept(folder)[0].read_bytes()
        spoil(kept(folder)[0], DAMAGE[damage])
        assert calls_of(3, source) == 1
        assert kept(folder)[0].read_bytes() == whole
        assert len(remarks(caplog)) == 1

    @given(st.data())
    @settings(max_examples=200, deadline=None)
    def test_no_changed_byte_is_believed(self, data):
        content = content_of("k", {"x": np.arange(5), "y": np.ones(3)})
        at = data.draw(st.integers(0, len(content) - 1))
        changed = content[:at] + bytes([content[at] ^ data.draw(st.integers(1, 255))]) + content[at + 1 :]
        try:
            found = decoded_file.arrays_in(changed, "k")
        except ValueError:
            found = None  # damaged; else its key is another one
        assert found is None

    @pytest.mark.parametrize(
        "index",
        [
            b"[]",
            b"{}",
            b'{"key": "k", "arrays": [1]}',
            b'{"key": "k", "arrays": [["x", "|O", [1]]]}',
            b'{"key": "k", "arrays": [["x", "<f4", [-1]]]}',
            b'{"key": "k", "arrays": [["x", "<f4", [true]]]}',
            b'{"key": "k", "arrays": [["x", "<f4", [9223372036854775807, 9223372036854775807]]]}',
            b'{"key": "k", "arrays": [["x", "<U0", [1]]]}',
            b'{"key": "k", "arrays": [[1, "<f4", [0]]]}',
            b'{"key": "k", "arrays": [["x", "<f4", [0]], ["x", "<f4", [0]]]}',
            b'{"key": "k", "arrays": ' + b"[" * 50 + b"]" * 50 + b"}",
        ],
    )
    def test_an_index_with_a_right_checksum_is_read_strictly(self, index):
        head = decoded_file.MAGIC + len(index).to_bytes(8, "little") + index
        content = head + bytes(-len(head) % 64 + 64)
        with pytest.raises(ValueError, match=r"."):
            decoded_file.arrays_in(content + hashlib.sha256(content).digest(), "k")

    def test_a_symbolic_link_is_not_followed(self, source, folder, tmp_path, caplog):
        calls_of(1, source)
        path, elsewhere = kept(folder)[0], tmp_path / "elsewhere"
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
        assert calls_of(2, source) == 1
        assert elsewhere.is_file()
        assert not kept(folder)[0].is_symlink()
        assert "symbolic link" in caplog.text

    def test_a_folder_that_is_a_link_is_not_used(self, source, folder, tmp_path, caplog):
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
        assert calls_of(2, source) == 2
        assert not list((tmp_path / "elsewhere").iterdir())
        assert len(remarks(caplog)) == 1

    @pytest.mark.parametrize("mode", [0o770, 0o707, 0o750, 0o701])
    def test_a_folder_that_is_open_to_others_is_not_used(self, source, folder, mode, caplog):
        folder.mkdir()
        folder.chmod(mode)
        assert calls_of(2, source) == 2
        assert not kept(folder)
        assert "open to others" in caplog.text

    def test_a_file_that_is_open_to_others_is_thrown_away(self, source, folder):
        calls_of(1, source)
        kept(folder)[0].chmod(0o660)
        assert calls_of(2, source) == 1
        assert kept(folder)[0].stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("what", ["folder", "file"])
    def test_what_another_user_owns_is_not_trusted(self, source, folder, what, monkeypatch, caplog):
        calls_of(1, source)
        if os.geteuid() == 0:
            os.chown(folder if what == "folder" else kept(folder)[0], 12345, 12345)
        else:
            monkeypatch.setattr(os, "geteuid", lambda: 12345)
        assert calls_of(2, source) == (2 if what == "folder" or os.geteuid() == 12345 else 1)
        assert len(remarks(caplog)) == 1

    @pytest.mark.parametrize("kind", ["folder", "pipe"])
    def test_what_is_no_file_is_not_read(self, source, folder, kind):
        calls_of(1, source)
        path = kept(folder)[0]
        path.unlink()
        path.mkdir() if kind == "folder" else os.mkfifo(path, 0o600)
        assert calls_of(2, source) == (2 if kind == "folder" else 1)

    def test_files_and_folder_are_for_their_user_alone(self, source, folder):
        old = os.umask(0)
        try:
            calls_of(1, source)
        finally:
            os.umask(old)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert kept(folder)[0].stat().st_mode & 0o777 == 0o600


class TestNoRoom:
    @pytest.mark.parametrize("operation", ["open", "write", "fsync", "rename", "mkdir"])
    def test_a_disk_that_refuses_means_decoding_with_one_remark(
        self, source, folder, operation, monkeypatch, caplog
    ):
        def refuse(*_args, **_more):
            raise OSError(28, "No space left on device")

        def half(*_):
            yield b"half"
            refuse()

        if operation == "mkdir":
            folder.write_text("a file in the way")
        elif operation == "write":
            monkeypatch.setattr(decoded_store, "blocks", half)
        elif operation == "open":
            folder.mkdir(mode=0o700)
            real = os.open
            flag = os.O_EXCL
            monkeypatch.setattr(os, "open", lambda *a, **k: refuse() if a[1] & flag else real(*a, **k))
        else:
            monkeypatch.setattr(os, operation, refuse)
        assert calls_of(3, source) == 3
        monkeypatch.undo()
        assert folder.is_file() or not list(folder.iterdir())
        assert len(remarks(caplog)) == 1

    def test_a_read_only_folder_means_decoding(self, source, folder, tmp_path, caplog):
        folder.mkdir(mode=0o500)
        if os.geteuid() == 0:
            pytest.skip("root writes everywhere")
        assert calls_of(2, source) == 2
        assert len(remarks(caplog)) == 1

    def test_room_is_left_on_the_disk(self, source, folder, monkeypatch, caplog):
        monkeypatch.setattr(decoded_store, "LEFT_BYTES", 1 << 60)
        assert calls_of(2, source) == 2
        assert not kept(folder)
        assert "the disk has less than" in caplog.text

    def test_the_folder_is_bounded_in_files_and_what_is_used_stays(self, source, folder, monkeypatch):
        monkeypatch.setattr(decoded_store, "MOST_FILES", 3)
        for number in range(6):
            cached_arrays(numbers, source, number)
            cached_arrays(numbers, source, 0)
            for age, path in enumerate(sorted(kept(folder), key=lambda each: each.stat().st_mtime_ns)):
                os.utime(path, (1000 + age, 1000 + age))
        assert len(kept(folder)) == 3
        assert CALLS.count(source) == 6

    def test_the_folder_is_bounded_in_bytes(self, source, folder, monkeypatch, caplog):
        cached_arrays(numbers, source, 1)
        size = kept(folder)[0].stat().st_size
        monkeypatch.setattr(decoded_store, "MOST_BYTES", 2 * size + 1)
        for number in range(2, 6):
            cached_arrays(numbers, source, number)
        assert len(kept(folder)) == 2
        monkeypatch.setattr(decoded_store, "MOST_BYTES", size - 1)
        cached_arrays(numbers, source, 9)
        assert "at most" in caplog.text

    def test_what_a_killed_process_left_is_deleted_and_a_running_one_is_left_alone(self, source, folder):
        calls_of(1, source)
        old, new = folder / ".old.arrays.1.1", folder / ".new.arrays.2.2"
        for path in (old, new):
            path.write_bytes(b"half")
        os.utime(old, (time.time() - 7200,) * 2)
        cached_arrays(numbers, source, 5)
        assert (old.exists(), new.exists()) == (False, True)


class TestMisuse:
    @pytest.mark.parametrize(
        "decode", [lambda _: {}, functools.partial(numbers, factor=2), np.sin], ids=["lambda", "partial", "C"]
    )
    def test_only_a_function_of_a_module_is_taken(self, source, decode):
        with pytest.raises(AppError, match="not a function of a module"):
            cached_arrays(decode, source)

    def test_an_inner_function_is_refused(self, source):
        def inner(path):
            return numbers(path, 2)

        with pytest.raises(AppError, match="not a function of a module"):
            cached_arrays(inner, source)

    def test_a_setting_is_a_plain_value(self, source):
        with pytest.raises(AppError, match="a setting of numbers is a list"):
            cached_arrays(numbers, source, [1])

    @pytest.mark.parametrize("cache", ["", "used"])
    def test_a_result_that_is_no_dict_of_arrays_is_refused_in_either_case(
        self, source, folder, cache, monkeypatch
    ):
        monkeypatch.setenv(VARIABLE, str(folder) if cache else "")
        with pytest.raises(AppError, match="a_list returned list"):
            cached_arrays(a_list, source)

    def test_objects_are_returned_and_never_written(self, source, folder, caplog):
        assert cached_arrays(texts_and_objects, source)["x"][1] is None
        assert not folder.exists()
        assert "dtype object" in caplog.text

    def test_what_decoding_raises_is_raised(self, tmp_path, caplog):
        with pytest.raises(FileNotFoundError):
            cached_arrays(numbers, tmp_path / "missing.txt")
        assert not remarks(caplog)


def many_at_once(source, folder, count):
    script = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1])\n"
        "import test_decoded as t\n"
        "from oneflower.sdk import decoded, decoded_store\n"
        "decoded.SETTLED_NS = -10**12; decoded_store.LEFT_BYTES = 0\n"
        "for n in range(40):\n"
        "    for f in range(3):\n"
        "        x = decoded.cached_arrays(t.numbers, pathlib.Path(sys.argv[2]), f)['x']\n"
        "        assert x.tolist() == [[f, 2 * f, 3 * f]], x\n"
        "    if n % 10 == int(sys.argv[3]):\n"
        "        [p.unlink(missing_ok=True) for p in pathlib.Path(sys.argv[4]).glob('*.arrays')]\n"
    )
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", script, here, str(source)]
    return [
        subprocess.Popen([*command, str(number), str(folder)], stderr=subprocess.PIPE)
        for number in range(count)
    ]


def test_processes_that_read_write_and_delete_at_once_do_not_harm_one_another(source, folder):
    processes = many_at_once(source, folder, 4)
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    assert not any(b"not kept" in each for each in errors), errors


def test_forked_processes_make_one_remark_between_them(source, folder, caplog):
    """Each message runs in a forked process; a full disk must not fill the log as well."""
    folder.write_text("a file in the way")
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            cached_arrays(numbers, source)
            os._exit(0 if decoded._SAID[0] else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    cached_arrays(numbers, source)
    assert not remarks(caplog)


NUMBERS = scalar_dtypes().filter(lambda dtype: dtype.kind in "biufc")


@given(
    st.dictionaries(st.text(max_size=5), arrays(NUMBERS, array_shapes(min_dims=0, min_side=0, max_side=4)))
)
@settings(max_examples=100, deadline=None)
def test_what_is_written_is_read_as_the_same_bytes(content):
    content = {name: np.asarray(array, order="C") for name, array in content.items()}
    assert not decoded_file.can_hold(content)
    written = content_of("key", content)
    assert len(written) == decoded_file.size_of("key", content)
    found = decoded_file.arrays_in(bytearray(written), "key")
    assert decoded_file.arrays_in(written, "other") is None
    assert list(found) == list(content)
    for name, array in content.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
        assert found[name].flags.writeable


def test_names_that_are_no_utf_8_are_compared_too(tmp_path):
    root = tmp_path / "data"
    root.mkdir()
    (root / os.fsdecode(b"\xff.txt")).write_text("1 2 3")
    assert calls_of(2, root) == 1
