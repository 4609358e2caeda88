"""With a key only what was signed with it, by this training, is used; without one nothing changes."""

import json
import shutil

import pytest

from oneflower.checkpoints import CheckpointReader, CheckpointStore, KeepNewest, Signer, sign_folder
from oneflower.checkpoints.manifest import render
from oneflower.errors import CheckpointError, ForeignError

from .conftest import make, same
from .folders import at_one_moment, content_of

KEY = "a3f1c9d27b604e85f1d2c3b4a5968778"
OURS = Signer(key=KEY, training="a" * 32)
OTHERS = Signer(key=KEY[::-1], training="a" * 32)
ANOTHER_TRAINING = Signer(key=KEY, training="b" * 32)
MANIFEST = "checkpoint_round_{}.json"


def save(root, *rounds, signer=OURS, **changes):
    with CheckpointStore(root, signer=signer, now=at_one_moment) as store:
        for number in rounds:
            store.save(make(number, **changes))


def rewrite(root, number, change):
    path = root / MANIFEST.format(number)
    content = json.loads(path.read_text())
    del content["manifest_sha256"]
    change(content)
    path.write_bytes(render(content))


@pytest.fixture
def root(tmp_path):
    return tmp_path / "checkpoints"


def test_what_is_signed_is_resumed_and_names_its_training(root):
    save(root, 3, 4)
    reader = CheckpointReader(root, signer=OURS)
    assert same(reader.latest(), make(4))
    assert reader.training(4) == "a" * 32
    assert KEY not in repr(OURS)
    assert KEY.encode() not in b"".join(each for each in content_of(root).values() if isinstance(each, bytes))


def test_without_a_key_a_signed_folder_is_read_and_an_unsigned_one_has_the_bytes_of_before(root, tmp_path):
    save(root, 3)
    assert same(CheckpointReader(root).latest(), make(3))
    save(tmp_path / "plain", 3, signer=None)
    assert b"signed" not in (tmp_path / "plain" / MANIFEST.format(3)).read_bytes()
    assert (root / "checkpoint_round_3.npz").read_bytes() == (
        tmp_path / "plain" / "checkpoint_round_3.npz"
    ).read_bytes()


@pytest.mark.parametrize("signer", [None, OTHERS, ANOTHER_TRAINING])
def test_a_folder_that_is_not_signed_as_ours_is_refused_and_not_touched(root, signer):
    save(root, 3, 4, signer=signer)
    before = {name: what for name, what in content_of(root).items() if "round" in name}
    with (
        CheckpointStore(root, signer=OURS) as store,
        pytest.raises(ForeignError, match=r"checkpoints sign|put it there"),
    ):
        store.latest()
    assert content_of(root).items() >= before.items()  # nothing but the links to the newest is gone
    infos = CheckpointReader(root, signer=OURS).list()
    assert all(info.problem and info.manifest is None for info in infos)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(total_rounds=99),
        lambda content: content["files"]["model"].update(sha256="0" * 64),
        lambda content: content["history"].update(sha256="0" * 64),
        lambda content: content["best"].update(round=3),
        lambda content: content["signed"].update(training="c" * 32),
        lambda content: content["signed"].update(hmac_sha256=""),
        lambda content: content["signed"].update(hmac_sha256="ä"),
        lambda content: content["signed"].clear(),
        lambda content: content.pop("signed"),
        lambda content: content["metrics"]["central"]["4"].update(accuracy=1.0),
    ],
)
def test_a_manifest_that_was_rewritten_is_refused(root, change):
    """Its own SHA-256 is right: whoever can write the folder can compute it."""
    save(root, 3, 4)
    rewrite(root, 4, change)
    with pytest.raises(ForeignError):
        CheckpointReader(root, signer=OURS).latest()
    with pytest.raises(CheckpointError):
        CheckpointReader(root, signer=OURS).verify(4)


def test_an_old_manifest_of_ours_under_another_round_is_refused(root):
    save(root, 3, 4)
    shutil.copy(root / MANIFEST.format(3), root / MANIFEST.format(4))
    assert CheckpointReader(root, signer=OURS).latest().round == 3  # it is damage: the round is another


def test_a_manifest_of_another_training_with_the_same_key_is_refused(root, tmp_path):
    save(root, 3)
    save(tmp_path / "other", 9, signer=ANOTHER_TRAINING)
    for path in (tmp_path / "other").glob("checkpoint_round_9*"):
        shutil.copy(path, root)
    with pytest.raises(ForeignError, match="by training b"):
        CheckpointReader(root, signer=OURS).latest()


def test_a_foreign_checkpoint_does_not_stop_a_running_training(root):
    """It is set aside when its round is saved, and retention counts only what is ours."""
    with CheckpointStore(root, signer=OURS, retention=KeepNewest(2)) as store:
        for number in (1, 2):
            store.save(make(number))
        for number in (3, 70, 80, 90):
            save_foreign(root, number)
        store.save(make(3))
        store.save(make(4))
        assert {3, 4} <= set(store.rounds())
        assert any(".foreign-1" in name for name in store.set_aside())
    save_foreign(root, 95)
    with CheckpointStore(root, signer=OURS, retention=KeepNewest(2)) as store:
        assert store.best().round in (3, 4)
        store.save(make(5))
        assert {4, 5} <= set(store.rounds())


def save_foreign(root, number):
    other = root.parent / "foreign"
    save(other, number, signer=None)
    for path in other.glob(f"checkpoint_round_{number}*"):
        shutil.copy(path, root)


def test_a_line_that_another_appended_to_the_history_is_not_vouched_for(root, tmp_path):
    """The chain of lines has no key: a line after the newest manifest's could make any round the best."""
    save(root, 3, 4)
    forged = {"central": {"4": {"accuracy": 99.0, "loss": 0.0}}}
    with CheckpointStore(root) as store:
        store.note({**forged, "evaluate": {"4": {"accuracy": 99.0}}})
    assert "evaluate" in CheckpointReader(root).metrics()
    assert "evaluate" not in CheckpointReader(root, signer=OURS).metrics()
    save(root, 5)
    reader = CheckpointReader(root, signer=OURS)
    assert reader.metrics_problem(5) is None
    assert "99.0" not in json.dumps(reader.metrics())


def test_a_training_that_is_killed_and_resumed_with_a_key_has_the_model_of_one_without(root, tmp_path):
    save(root, 3)
    save(root, 4)
    save(tmp_path / "plain", 3, 4, signer=None)
    for name in ("checkpoint_round_4.npz", "checkpoint_round_4.state.npz"):
        assert (root / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


class TestSignFolder:
    def test_a_folder_of_before_is_signed_and_resumed(self, root):
        save(root, 3, 4, signer=None)
        with CheckpointStore(root) as store:
            assert sign_folder(store, Signer(key=KEY)) == {3: "signed", 4: "signed"}
        reader = CheckpointReader(root, signer=Signer(key=KEY))
        assert same(reader.latest(), make(4))
        assert reader.training(3) == reader.training(4) != ""
        assert (root / "checkpoint_metadata.json").read_bytes() == (root / MANIFEST.format(4)).read_bytes()
        with CheckpointStore(root) as store:
            assert set(sign_folder(store, Signer(key=KEY)).values()) == {"signed before"}

    def test_after_a_change_of_the_key(self, root):
        save(root, 3)
        save(root, 4, signer=None)
        new = Signer(key="another key of more than 32 bytes!")
        with CheckpointStore(root) as store:
            assert sign_folder(store, new) == {3: "signed", 4: "signed"}
        remembered = Signer(key=new.key, training=OURS.training)
        assert CheckpointReader(root, signer=remembered).latest().round == 4

    def test_the_training_of_signed_rounds_is_kept(self, root):
        save(root, 3)
        with CheckpointStore(root) as store:
            store.save(make(4))
            assert sign_folder(store, Signer(key=KEY)) == {3: "signed before", 4: "signed"}
        assert CheckpointReader(root, signer=OURS).latest().round == 4

    def test_a_damaged_round_is_not_signed(self, root):
        save(root, 3, 4, signer=None)
        (root / "checkpoint_round_3.npz").write_bytes(b"PK")
        with CheckpointStore(root) as store:
            done = sign_folder(store, Signer(key=KEY))
        assert done[3].startswith("not signed")
        assert done[4] == "signed"
