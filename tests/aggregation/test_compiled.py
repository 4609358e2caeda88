"""When the compiled kernel is used, and what is said when it is not."""

import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest

from oneflower.aggregation import compiled, kernel_check
from oneflower.aggregation.compiled import LIBRARY, SOURCES, Choice, choose, digest, summary


@pytest.fixture
def library(tmp_path):
    if not LIBRARY.exists():
        pytest.skip("oneflower was installed without a C compiler")
    copied = tmp_path / LIBRARY.name
    shutil.copy(LIBRARY, copied)
    return copied


def compile_c(text, target):
    source = target.with_suffix(".c")
    source.write_text(text)
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(target)], check=True)


def test_a_kernel_of_this_source_that_gives_the_same_bytes_is_used(library):
    made = choose(library, {})
    assert made.kernel is not None
    assert not made.reason


def test_no_leaves_everything_to_numpy(library):
    made = choose(library, {"ONEFLOWER_KERNEL": "NO"})
    assert made == Choice(None, "ONEFLOWER_KERNEL is NO")


def test_without_a_library_numpy_works_and_nobody_is_warned(tmp_path):
    made = choose(tmp_path / "none.so", {})
    assert made.kernel is None
    assert "no C compiler" in made.reason
    assert not made.remark


@pytest.mark.parametrize("content", [b"", b"no library", b"\x7fELF" + bytes(60)])
def test_a_library_that_cannot_be_loaded_is_left_out(tmp_path, content):
    library = tmp_path / "libkernel.so"
    library.write_bytes(content)
    made = choose(library, {})
    assert made.kernel is None
    assert made.remark
    assert "cannot be loaded" in made.reason


def test_a_library_without_our_functions_is_left_out(tmp_path):
    compile_c("int other(void) { return 1; }", tmp_path / "other.so")
    made = choose(tmp_path / "other.so", {})
    assert made.kernel is None
    assert made.remark


def test_a_library_of_another_source_is_left_out(library, monkeypatch, tmp_path):
    changed = tmp_path / "kernel.c"
    changed.write_text(SOURCES[0].read_text() + "\n")
    monkeypatch.setattr(compiled, "SOURCES", (changed, *SOURCES[1:]))
    made = choose(library, {})
    assert made.kernel is None
    assert "install oneflower again" in made.reason


def test_every_source_counts(tmp_path):
    texts = [source.read_bytes() for source in SOURCES]
    copies = [tmp_path / source.name for source in SOURCES]
    found = set()
    for changed in range(-1, len(texts)):
        for i, (copy, text) in enumerate(zip(copies, texts, strict=True)):
            copy.write_bytes(text + b" " * (i == changed))
        found.add(digest(copies))
    assert len(found) == 1 + len(SOURCES)
    assert digest([tmp_path / "missing.c"]) == ""


@pytest.mark.parametrize("function", ["mean_rule", "trimmed_rule", "products_in_order"])
def test_a_library_that_differs_by_a_bit_is_left_out(library, monkeypatch, function):
    true = getattr(kernel_check, function)

    def wrong(*args):
        result = true(*args)
        if isinstance(result, np.ndarray):
            return np.nextafter(result, np.inf)

        def apply(rows, out):
            result(rows, out)
            out[7] = np.nextafter(out[7], out.dtype.type(np.inf))

        return apply

    monkeypatch.setattr(kernel_check, function, wrong)
    made = choose(library, {})
    assert made.kernel is None
    assert made.remark
    assert "differs from NumPy's" in made.reason


def test_what_is_wrong_is_logged_once(monkeypatch, caplog, tmp_path):
    (tmp_path / "libkernel.so").write_bytes(b"no library")
    monkeypatch.setattr(compiled, "LIBRARY", tmp_path / "libkernel.so")
    monkeypatch.delenv("ONEFLOWER_KERNEL", raising=False)
    monkeypatch.setattr(compiled, "choice", compiled.choice.__wrapped__)
    with caplog.at_level(logging.WARNING):
        assert compiled.choice().kernel is None
    assert "the same bytes more slowly" in caplog.text
    assert summary().startswith("NumPy (the compiled kernel cannot be loaded")


def test_another_process_without_the_kernel_aggregates_too():
    program = (
        "import numpy as np; from oneflower.aggregation import ordered, Update; "
        "from oneflower.aggregation.compiled import summary; "
        "from oneflower.aggregation.mean import weighted_mean; "
        "print(summary()); u = Update(client=1, arrays={'w': np.ones(3)}, num_examples=1.0); "
        "print(weighted_mean(ordered([u])).model['w'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"ONEFLOWER_KERNEL": "NO"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "NumPy (ONEFLOWER_KERNEL is NO)\n[1. 1. 1.]\n"
