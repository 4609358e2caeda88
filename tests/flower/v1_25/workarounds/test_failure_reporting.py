"""An exception of the app's main function, through Flower's own ServerApp process code."""

import sys
from types import SimpleNamespace

import pytest
from flwr.common import RecordDict
from flwr.server.serverapp import app as serverapp

from oneflower.errors import SettingsError
from oneflower.flower.v1_25.workarounds.serverapp_end import FAILURES
from oneflower.journal import read_journal
from oneflower.journal.events import AppFailed
from oneflower.kinds import ErrorKind

from ....making import events_in

RUN = {"num-server-rounds": 2}


class Stub:
    """The SuperLink's side: keeps what it is told of the run."""

    def __init__(self):
        self.status = None

    def PullAppInputs(self, request):  # noqa: N802 - gRPC's name
        return SimpleNamespace(context=None, run=None, fab=None)

    def PushAppOutputs(self, request):  # noqa: N802
        return None

    def UpdateRunStatus(self, request):  # noqa: N802
        self.status = request.run_status


class Grid:
    run = SimpleNamespace(fab_id="tests/tiny")

    def __init__(self, **_):
        self._stub = Stub()
        Grid.last = self

    def set_run(self, run_id):
        pass

    def close(self):
        pass


@pytest.fixture
def journal(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    monkeypatch.setenv("ONEFLOWER_JOURNAL", str(path))
    return path


@pytest.fixture
def run(tmp_path, monkeypatch, journal):
    """Run an app whose main has this body as Flower's process does; give what the SuperLink is told."""
    exits = []
    fab = SimpleNamespace(content=b"", hash_str="hash")
    context = SimpleNamespace(run_id=7, run_config={}, state=RecordDict())
    stand_ins = {
        "GrpcGrid": Grid,
        "context_from_proto": lambda _: context,
        "run_from_proto": lambda _: SimpleNamespace(run_id=1, override_config={}),
        "fab_from_proto": lambda _: fab,
        "start_log_uploader": lambda **_: None,
        "install_from_fab": lambda *_, **__: None,
        "get_fab_metadata": lambda _: ("tests/tiny", "1"),
        "get_project_dir": lambda *_: tmp_path,
        "get_project_config": lambda _: {
            "tool": {"flwr": {"app": {"components": {"serverapp": "raising_app:app"}}}}
        },
        "get_fused_config_from_dir": lambda *_: dict(RUN),
        "event": lambda *_, **__: None,
        "HeartbeatSender": lambda _: SimpleNamespace(start=lambda: None, is_running=False),
        "context_to_proto": lambda _: None,
        "PushAppOutputsRequest": lambda **_: None,
        "register_signal_handlers": lambda *, exit_handlers, **_: exits.extend(exit_handlers),
        "flwr_exit": lambda **_: [handler() for handler in exits],
    }
    for name, stand_in in stand_ins.items():
        monkeypatch.setattr(serverapp, name, stand_in)

    def run_app(body):
        lines = ["from flwr.serverapp import ServerApp", "app = ServerApp()", "@app.main()"]
        source = "\n".join([*lines, "def main(grid, context):", f"    {body}", ""])
        (tmp_path / "raising_app.py").write_text(source)
        sys.modules.pop("raising_app", None)
        serverapp.run_serverapp("127.0.0.1:1", None, "token")
        return Grid.last._stub.status

    return run_app


def told(journal):
    return events_in(journal)


def test_flower_swallows_a_runtime_error(run, journal, caplog):
    """The SuperLink is told nothing, so that the run stays `running`; the text is nowhere."""
    assert run("raise RuntimeError('the shapes differ')") is None
    assert "the shapes differ" not in caplog.text
    assert told(journal) == []


def test_a_runtime_error_reaches_the_superlink_the_log_and_the_journal(run, journal, apply):
    apply(FAILURES)
    status = run("raise RuntimeError('the shapes differ')")
    assert (status.status, status.sub_status) == ("finished", "failed")
    assert status.details == "the app raised RuntimeError: the shapes differ (raising_app.py:5)"
    assert told(journal) == [
        AppFailed(
            app="tests/tiny",
            error="RuntimeError",
            kind=ErrorKind.APP,
            reason="the shapes differ",
            where="raising_app.py:5",
        )
    ]


@pytest.mark.parametrize(
    "body", ["1 / 0", "[][1]", "from nowhere_at_all import thing", "import json; json.loads('{')"]
)
def test_any_exception_of_the_app_is_told_with_its_place(run, journal, apply, body):
    apply(FAILURES)
    status = run(body)
    (event,) = told(journal)
    assert (event.tag, event.where) == ("app_failed", "raising_app.py:5")
    assert event.reason in status.details


def test_a_full_disk_is_told_as_the_environments_whoever_met_it(run, journal, apply):
    apply(FAILURES)
    run("raise OSError(28, 'No space left on device')")
    (event,) = told(journal)
    assert (event.tag, event.kind) == ("app_failed", "environment")
    assert [each.run for each in read_journal(journal)] == [7]


def test_an_error_that_oneflower_knows_is_no_failed_training_in_flowers_journal(run, journal):
    status = run("from oneflower.errors import AppError; raise AppError('3 channels')")
    assert status.details == "3 channels"
    assert told(journal) == []


def test_an_error_before_the_rounds_fails_the_training_in_the_journal(run, journal, apply):
    apply(FAILURES)
    status = run("from oneflower.errors import AppError; raise AppError('3 channels')")
    assert status.details == "3 channels"
    (event,) = told(journal)
    assert (event.tag, event.error, event.reason) == ("training_failed", "AppError", "3 channels")
    assert (event.rounds, event.strategy, event.app) == (2, "app", "tests/tiny")


def test_a_run_config_that_is_wrong_is_told_although_no_training_can_be_read_from_it(
    run, journal, apply, monkeypatch
):
    apply(FAILURES)
    monkeypatch.setitem(RUN, "num-server-rounds", 0)
    run("from oneflower.settings import training_config; training_config(context.run_config)")
    (event,) = told(journal)
    assert (event.tag, event.error) == ("training_failed", SettingsError.__name__)
    assert event.rounds is None


def test_an_error_that_the_training_told_already_is_told_once(run, journal, apply):
    apply(FAILURES)
    run(
        "from oneflower.errors import AppError; from oneflower.flower import failures; "
        "error = AppError('no data'); "
        "failures.tell_known(failures.journal_and_facts(context.run_config)[0], error); "
        "raise error"
    )
    assert len(told(journal)) == 1


@pytest.mark.parametrize("code", ["'no data'", "0", "3", ""])
def test_an_app_that_exits_before_its_training_is_done_has_failed(run, journal, apply, code):
    """With 0, too: Flower's process would end, and the run would stay `running` without it."""
    apply(FAILURES)
    status = run(f"import sys; sys.exit({code})")
    assert (status.status, status.sub_status) == ("finished", "failed")
    assert "the app raised SystemExit" in status.details
    (event,) = told(journal)
    assert (event.tag, event.error, event.kind) == ("app_failed", "SystemExit", "app")
    assert event.where == "raising_app.py:5"


def test_an_app_that_exits_with_0_when_its_training_is_done_has_ended_well(run, journal, apply):
    apply(FAILURES)
    status = run(
        "import sys; from oneflower.flower import failures; "
        "from oneflower.journal.events import TrainingFinished; "
        "failures.journal_and_facts(context.run_config)[0].append(TrainingFinished(round=2)); sys.exit()"
    )
    assert status.sub_status == "completed"
    assert [event.tag for event in told(journal)] == ["training_finished"]


def test_an_exit_of_flowers_own_is_no_failure_of_the_app(run, journal, apply):
    """As at SIGTERM, whose handler exits wherever the app happens to be."""
    apply(FAILURES)
    with pytest.raises(SystemExit):
        run(
            "from flwr.common.exit import flwr_exit; import sys; "
            "exec(compile('sys.exit(1)', flwr_exit.__code__.co_filename, 'exec'))"
        )
    assert told(journal) == []


def test_a_superlink_that_has_gone_is_no_failure_of_the_app(run, journal, apply):
    apply(FAILURES)
    run("import grpc; raise grpc.RpcError('the connection was closed')")
    assert told(journal) == []


def test_without_a_journal_the_superlink_is_told_all_the_same(run, apply, monkeypatch):
    apply(FAILURES)
    monkeypatch.delenv("ONEFLOWER_JOURNAL")
    assert "the shapes differ" in run("raise RuntimeError('the shapes differ')").details


def test_an_app_that_ends_well_is_left_alone(run, journal, apply):
    apply(FAILURES)
    assert run("pass").sub_status == "completed"
    assert told(journal) == []
