"""Messages in forked children of a real zygote: fresh state, errors, deaths, and libraries after a fork."""

import os
import time

import pytest
from flwr.app import ConfigRecord, RecordDict
from flwr.common.constant import ErrorCode

from oneflower.flower.app_packages import PACKAGES_VARIABLE
from oneflower.flower.v1_25.warm.nursery import ChildEndedError

METRICS = """
@app.train()
def train(message, context):
    return Message(RecordDict({"m": MetricRecord(answer(message))}), reply_to=message)
"""


class TestFreshness:
    def test_an_app_answers_with_what_it_was_sent(self, warm, numbers):
        source = """
def answer(message):
    return {"sum": float(message.content["arrays"].to_numpy_ndarrays()[0].sum())}
"""
        assert warm.answers(source + METRICS, content=numbers) == {"sum": 6.0}

    def test_the_app_is_imported_once_and_each_message_runs_in_a_process_of_its_own(self, warm):
        source = """
import os
imported_by = os.getpid()
def answer(message):
    return {"imported_by": imported_by, "run_by": os.getpid()}
"""
        first, second = warm.answers(source + METRICS, times=2)
        assert first["imported_by"] == second["imported_by"]
        assert len({first["run_by"], second["run_by"], first["imported_by"]}) == 3

    def test_nothing_that_a_message_changes_reaches_the_next(self, warm):
        source = """
import os
seen = []
def answer(message):
    seen.append(1)
    os.environ["SEEN"] = os.environ.get("SEEN", "") + "x"
    return {"seen": len(seen), "environment": len(os.environ["SEEN"])}
"""
        assert warm.answers(source + METRICS, times=3) == [{"seen": 1, "environment": 1}] * 3

    def test_random_numbers_differ_from_message_to_message_as_in_new_processes(self, warm):
        source = """
import random
import numpy as np
def answer(message):
    return {"python": random.random(), "numpy": float(np.random.rand())}
"""
        first, second = warm.answers(source + METRICS, times=2)
        assert first["python"] != second["python"]
        assert first["numpy"] != second["numpy"]

    def test_an_app_that_seeds_when_it_is_imported_draws_the_same_as_in_new_processes(self, warm):
        source = """
import random
import numpy as np
random.seed(7)
np.random.seed(7)
def answer(message):
    return {"python": random.random(), "numpy": float(np.random.rand())}
"""
        namespace = {}
        exec(source, namespace)
        expected = namespace["answer"](None)
        assert warm.answers(source + METRICS, times=2) == [expected, expected]

    def test_an_app_imports_a_package_that_came_from_a_wheel(self, warm, monkeypatch, tmp_path):
        folder = tmp_path / "packages" / "0123456789abcdef"
        folder.mkdir(parents=True)
        (folder / "of_a_wheel.py").write_text("STEP = 2.5\n", encoding="utf-8")
        folder.with_name("current").symlink_to(folder.name)
        monkeypatch.setenv(PACKAGES_VARIABLE, str(tmp_path / "packages"))
        warm.nursery.forget()  # the next one starts in this environment
        source = "from of_a_wheel import STEP\ndef answer(message):\n    return {'step': STEP}\n"
        assert warm.answers(source + METRICS) == {"step": 2.5}

    def test_another_app_takes_the_place_of_the_first(self, warm):
        one = warm.answers("def answer(message):\n    return {'app': 1}\n" + METRICS)
        two = warm.answers("def answer(message):\n    return {'app': 2}\n" + METRICS)
        assert (one, two) == ({"app": 1}, {"app": 2})

    def test_exit_handlers_run_as_in_a_new_process(self, warm, tmp_path):
        source = f"""
import atexit, pathlib
atexit.register(lambda: pathlib.Path({str(tmp_path)!r}, "left").write_text("x"))
def answer(message):
    return {{"x": 1}}
"""
        warm.answers(source + METRICS)
        deadline = time.monotonic() + 30
        while not (tmp_path / "left").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (tmp_path / "left").exists()


class TestParts:
    """A stock app reads its part from `context.node_config`."""

    SOURCE = """
@app.train()
def train(message, context):
    node = context.node_config
    metrics = MetricRecord({"part": node["partition-id"], "parts": node["num-partitions"]})
    return Message(RecordDict({"m": metrics}), reply_to=message)
"""

    @pytest.fixture
    def node(self, warm):
        warm.node_config = {"partition-id": 0, "num-partitions": 2, "member-id": 12}
        return warm.node_config

    def test_it_trains_on_the_part_that_its_message_hands_out(self, warm, node):
        content = RecordDict({"config": ConfigRecord({"partition-members": [11, 13, 12]})})
        assert warm.answers(self.SOURCE, content=content) == {"part": 2, "parts": 3}
        assert warm.kept.node_config == node

    def test_it_keeps_its_own_where_the_message_hands_out_none(self, warm, node):
        content = RecordDict({"config": ConfigRecord({"server-round": 1})})
        assert warm.answers(self.SOURCE, content=content) == {"part": 0, "parts": 2}

    def test_a_malformed_table_is_the_error_of_its_message(self, warm, node):
        content = RecordDict({"config": ConfigRecord({"partition-members": [12, 12]})})
        error = warm.answers(self.SOURCE, content=content)
        assert error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
        assert "partition-members is no table of parts" in error.reason


class TestErrors:
    """The error replies are those of Flower's own process, and say why an import failed."""

    def test_an_exception_in_the_app(self, warm):
        error = warm.answers("def answer(message):\n    return 1 / 0\n" + METRICS)
        assert error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
        assert "ZeroDivisionError" in error.reason
        assert "division by zero" in error.reason

    def test_an_app_that_cannot_be_loaded(self, warm):
        error = warm.answers("import no_such_module\n")
        assert error.code == ErrorCode.LOAD_CLIENT_APP_EXCEPTION
        assert "No module named 'no_such_module'" in error.reason

    def test_an_exception_while_the_app_is_imported(self, warm):
        error = warm.answers("raise ValueError('bad weather')\n")
        assert error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
        assert "bad weather" in error.reason

    @pytest.mark.parametrize("source", ["def answer(message):\n    sys.exit({})\n", "sys.exit({})\n"])
    @pytest.mark.parametrize("code", ["0", "'no data'"])
    def test_an_app_that_exits_is_an_error_with_its_words(self, warm, source, code):
        """As under `oneflower simulate`: the same from all clients ends a training at its second time."""
        error = warm.answers("import sys\n" + source.format(code) + METRICS)
        assert error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
        assert f"<class 'SystemExit'>:<'{code.strip(chr(39))}'>" in error.reason

    def test_a_failed_import_is_tried_again_in_a_new_process(self, warm, tmp_path):
        flag = tmp_path / "flag"
        fab = warm.fab(f"import pathlib\nassert pathlib.Path({str(flag)!r}).exists()\n" + METRICS)
        assert warm.load(fab)[1] is not None
        flag.touch()
        assert warm.load(fab)[1] is None

    @pytest.mark.parametrize(
        ("ending", "how"),
        [
            ("os.kill(os.getpid(), signal.SIGKILL)", "killed by signal 9"),
            ("os._exit(3)", "exited with code 3"),
            ("ctypes.string_at(0)", "killed by signal 11"),
        ],
    )
    def test_a_child_that_dies_is_noticed_at_once_and_the_next_message_runs(self, warm, numbers, ending, how):
        source = f"""
import ctypes, faulthandler, os, signal
def answer(message):
    if message.content.array_records:
        {ending}
    return {{"alive": 1}}
"""
        zygote, _ = warm.load(warm.fab(source + METRICS))
        with pytest.raises(ChildEndedError, match=how):
            warm.run(zygote, numbers)
        assert dict(warm.run(zygote).content["m"]) == {"alive": 1}

    def test_a_child_that_runs_out_of_memory_is_answered_for(self, warm):
        """Where memory is limited Python raises; where the kernel kills, it is a death as above."""
        source = """
import resource
def answer(message):
    resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
    return {"x": len(bytearray(2**34))}
"""
        error = warm.answers(source + METRICS)
        assert error.code == ErrorCode.CLIENT_APP_RAISED_EXCEPTION
        assert "MemoryError" in error.reason

    def test_the_kernel_takes_the_child_before_others_when_memory_runs_out(self, warm):
        source = """
def answer(message):
    return {"score": int(open("/proc/self/oom_score_adj").read())}
"""
        assert warm.answers(source + METRICS) == {"score": 500}

    def test_a_child_is_killed_at_its_deadline(self, warm):
        warm.deadline_s = 0.3
        zygote, _ = warm.load(warm.fab("import time\ndef answer(message):\n    time.sleep(600)\n" + METRICS))
        with pytest.raises(ChildEndedError, match="when its message expires"):
            warm.run(zygote)

    def test_a_child_is_killed_when_the_supernode_has_given_its_message_up(self, warm):
        warm.lost = True
        zygote, _ = warm.load(warm.fab("import time\ndef answer(message):\n    time.sleep(600)\n" + METRICS))
        with pytest.raises(ChildEndedError, match="given it up"):
            warm.run(zygote)

    def test_a_zygote_that_dies_is_replaced(self, warm):
        fab = warm.fab("def answer(message):\n    return {'x': 1}\n" + METRICS)
        zygote, _ = warm.load(fab)
        os.kill(zygote.process.pid, 9)
        with pytest.raises(ChildEndedError, match="killed by signal 9"):
            warm.run(zygote)
        zygote, _ = warm.load(fab)
        assert dict(warm.run(zygote).content["m"]) == {"x": 1}

    def test_a_death_while_the_app_is_imported_is_told(self, warm):
        with pytest.raises(ChildEndedError, match="exited with code 4"):
            warm.load(warm.fab("import os\nos._exit(4)\n"))


class TestUnforkable:
    def test_threads_that_the_import_starts(self, warm):
        source = """
import threading, time
threading.Thread(target=time.sleep, args=(60,), name="ticker", daemon=True).start()
"""
        zygote, _ = warm.load(warm.fab(source))
        assert "ticker" in zygote.unforkable

    def test_native_threads_that_the_import_starts(self, warm):
        """OpenMP's threads, which a first parallel region starts, would be missing in a child and hang it."""
        pytest.importorskip("torch")
        source = "import torch\ntorch.set_num_threads(2)\ntorch.randn(2000, 2000) @ torch.randn(2000, 2000)\n"
        zygote, _ = warm.load(warm.fab(source))
        assert "native threads" in zygote.unforkable

    def test_imports_alone_start_none(self, warm):
        pytest.importorskip("torch")
        zygote, _ = warm.load(warm.fab("import numpy, torch\n"))
        assert zygote.unforkable == ""


class TestLateImports:
    """What an app imports only when it runs is there already for the next message."""

    SOURCE = """
import sys
def answer(message):
    known = "wave" in sys.modules
    import wave
    return {"known": int(known)}
"""

    def test_an_installed_module_is_imported_once(self, warm):
        first, *_, last = self.answers_with_pauses(warm, self.SOURCE)
        assert (first, last) == ({"known": 0}, {"known": 1})

    def test_a_module_of_the_apps_own_is_imported_by_each_message(self, warm):
        own = warm.folder / "own"
        own.mkdir()
        (own / "own_module.py").touch()
        source = f"import sys\nsys.path.append({str(own)!r})\n" + self.SOURCE.replace("wave", "own_module")
        assert self.answers_with_pauses(warm, source) == [{"known": 0}] * 3

    def test_imports_that_start_threads_are_left_to_each_message(self, warm, monkeypatch):
        """The zygote that tried is replaced; the children of the next one are as new processes again."""
        installed = warm.folder / "lib"
        installed.mkdir()
        (installed / "busy.py").write_text(
            "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n",
            encoding="utf-8",
        )
        source = f"""
import sys, threading
import oneflower.flower.v1_25.warm.fresh_child as late
late.INSTALLED = ({str(installed)!r},)
sys.path.append({str(installed)!r})
def answer(message):
    threads = threading.active_count()
    import busy
    return {{"threads": threads}}
"""
        assert self.answers_with_pauses(warm, source) == [{"threads": 1}] * 3
        assert warm.nursery._unteachable

    @staticmethod
    def answers_with_pauses(warm, source):
        """Load anew for each message, as the executor does, when the zygote has had time to learn."""
        fab = warm.fab(source + METRICS)
        answers = []
        for _ in range(3):
            zygote, _ = warm.load(fab)
            answers.append(dict(warm.run(zygote).content["m"]))
            while zygote.lingering:  # the zygote learns when its child is gone
                warm.nursery.look_after()
                time.sleep(0.01)
        return answers


TORCH_STEP = """
import torch
from torch import nn
def step():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(5408, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    pixels, labels = torch.randn(64, 1, 28, 28), torch.randint(10, (64,))
    for _ in range(3):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(pixels), labels)
        loss.backward()
        optimizer.step()
    weights = sum(float(p.double().abs().sum()) for p in model.state_dict().values())
    return {"loss": loss.item(), "weights": weights, "threads": torch.get_num_threads()}
"""
SKLEARN_STEP = """
import numpy as np
from sklearn.cluster import KMeans
from sklearn.ensemble import HistGradientBoostingClassifier
def step():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2000, 8))
    y = (x[:, 0] > 0).astype(int)
    trees = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(x, y)
    means = KMeans(3, n_init=1, random_state=0).fit(x)
    return {"score": float(trees.score(x, y)), "inertia": float(means.inertia_)}
"""
TOKENIZERS_STEP = """
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
def step():
    tokenizer = Tokenizer(models.BPE(unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(["one two three"] * 200, trainers.BpeTrainer(vocab_size=40))
    encoded = tokenizer.encode_batch(["one two", "three two"] * 200)
    return {"tokens": sum(len(part.ids) for part in encoded)}
"""


@pytest.mark.parametrize(
    ("library", "source"),
    [("torch", TORCH_STEP), ("sklearn", SKLEARN_STEP), ("tokenizers", TOKENIZERS_STEP)],
    ids=["torch", "sklearn", "tokenizers"],
)
def test_a_library_gives_the_same_in_every_forked_child_as_in_a_new_process(warm, library, source):
    """With threads: OpenMP's, and those of Rust, start in the child and end with it."""
    pytest.importorskip(library)
    import json
    import subprocess
    import sys

    program = source + "\nimport json\nprint(json.dumps(step()))\n"
    new_process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True
    )
    expected = json.loads(new_process.stdout)
    app = source + "\ndef answer(message):\n    return step()\n" + METRICS
    assert warm.answers(app, times=3) == [expected] * 3
