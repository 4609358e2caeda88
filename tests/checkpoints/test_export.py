"""A model that was exported is opened by its framework's own loader, and computes the same."""

import importlib.util
import sys

import numpy as np
import pytest

from oneflower.checkpoints import export_model, format_of
from oneflower.checkpoints.files import OsFiles
from oneflower.errors import CheckpointError, SettingsError, StateError

ROWS = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
LABELS = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(np.int64)


@pytest.mark.parametrize(
    ("path", "given", "expected"),
    [
        ("a/model.npz", None, "npz"),
        ("model.pt", None, "pt"),
        ("model.pth", None, "pt"),
        ("model.safetensors", None, "safetensors"),
        ("model.keras", None, "keras"),
        ("my.weights.h5", None, "weights.h5"),
        ("model.ubj", None, "ubj"),
        ("model", None, "npz"),
        ("model", "pt", "pt"),
        ("model.bin", "pt", "pt"),
        (None, None, "npz"),
    ],
)
def test_the_ending_chooses_the_format(tmp_path, path, given, expected):
    assert format_of(None if path is None else tmp_path / path, given) == expected


def test_an_unknown_ending_and_two_formats_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"ending \.onnx; expected one of \.npz, \.pt"):
        format_of(tmp_path / "model.onnx", None)
    with pytest.raises(CheckpointError, match=r"ending \.h5"):
        format_of(tmp_path / "model.h5", None)
    with pytest.raises(SettingsError, match="--format pt and the file"):
        format_of(tmp_path / "model.npz", "pt")


def test_safetensors_is_loaded_into_the_model_by_its_dotted_names(tmp_path):
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("safetensors.torch")
    model, other = (torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(2)) for _ in range(2))
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert "0.weight" in arrays
    export_model(arrays, tmp_path / "model.safetensors", "safetensors")
    other.load_state_dict(library.load_file(tmp_path / "model.safetensors"))
    rows = torch.from_numpy(ROWS)
    assert torch.equal(model.eval()(rows), other.eval()(rows))


class TestXGBoost:
    @pytest.fixture
    def xgboost(self):
        return pytest.importorskip("xgboost")

    @pytest.fixture
    def booster(self, xgboost):
        parameters = {"objective": "binary:logistic", "max_depth": 2, "nthread": 1}
        return xgboost.train(parameters, xgboost.DMatrix(ROWS, LABELS), 3)

    @pytest.mark.parametrize("form", ["json", "ubj"])
    def test_the_bytes_of_a_booster_become_a_file_that_it_loads(self, xgboost, booster, tmp_path, form):
        """Flower's FedXgbBagging sends JSON, FedXgbCyclic whatever the app's clients send."""
        arrays = {"0": np.frombuffer(booster.save_raw(form), np.uint8)}
        export_model(arrays, tmp_path / "model.ubj", "ubj")
        back = xgboost.Booster(model_file=str(tmp_path / "model.ubj"))
        rows = xgboost.DMatrix(ROWS)
        np.testing.assert_array_equal(back.predict(rows), booster.predict(rows))
        assert back.num_boosted_rounds() == 3

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"0": np.frombuffer(b"no model at all", np.uint8)}, "are no XGBoost model"),
            ({"0": np.frombuffer(b'{"learner": {}}', np.uint8)}, "are no XGBoost model"),
            ({"0": np.zeros(0, np.uint8)}, r"expected one array of uint8 .* 0 \(uint8, shape \(0,\)\)"),
            ({"0": np.zeros(4, np.float32)}, r"it holds 0 \(float32, shape \(4,\)\)"),
            ({str(n): np.zeros(1, np.uint8) for n in range(5)}, "and 2 more"),
        ],
    )
    def test_what_is_no_booster_is_refused_and_nothing_is_written(self, xgboost, tmp_path, arrays, words):
        with pytest.raises(CheckpointError, match=words):
            export_model(arrays, tmp_path / "model.ubj", "ubj")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
class TestKeras:
    @pytest.fixture
    def keras(self, monkeypatch):
        if importlib.util.find_spec("tensorflow") is None:
            monkeypatch.setenv("KERAS_BACKEND", "torch")
        return pytest.importorskip("keras")

    @pytest.fixture
    def model(self, keras):
        keras.utils.set_random_seed(1)
        layers = [keras.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.BatchNormalization()]
        model = keras.Sequential([*layers, keras.layers.Dense(2, "softmax")])
        # Twelve more weights: ten arrays in the order of their names as text are in a wrong order.
        for _ in range(6):
            model.add(keras.layers.Dense(2))
        model.build()
        return model

    @pytest.fixture
    def like(self, model, keras, tmp_path):
        """A model with the same architecture and other weights."""
        other = keras.models.clone_model(model)
        (tmp_path / "given").mkdir()
        other.save(tmp_path / "given/like.keras")
        return tmp_path / "given/like.keras"

    def numbered(self, model):
        return {str(n): array for n, array in enumerate(model.get_weights())}

    def named(self, model):
        return {weight.path: np.asarray(weight) for weight in model.weights}

    @pytest.mark.parametrize("kind", ["numbered", "named"])
    def test_a_keras_file_has_the_architecture_of_like_and_the_arrays(
        self, keras, model, like, tmp_path, kind
    ):
        arrays = getattr(self, kind)(model)
        if kind == "named":
            like = like.with_name("same.keras")
            model.save(like)
        export_model(arrays, tmp_path / "model.keras", "keras", like=like)
        back = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(back.predict(ROWS, verbose=0), model.predict(ROWS, verbose=0))

    def test_a_weights_file_is_loaded_into_the_apps_model(self, keras, model, like, tmp_path):
        export_model(self.numbered(model), tmp_path / "model.weights.h5", "weights.h5", like=like)
        other = keras.models.clone_model(model)
        other.load_weights(tmp_path / "model.weights.h5")
        np.testing.assert_array_equal(other.predict(ROWS, verbose=0), model.predict(ROWS, verbose=0))

    def test_another_model_is_refused_with_what_differs(self, keras, model, like, tmp_path):
        small = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        with pytest.raises(
            CheckpointError, match="20 weights, the checkpoint 2 arrays; shapes that differ: 0"
        ):
            export_model(self.numbered(small), tmp_path / "m.keras", "keras", like=like)
        with pytest.raises(CheckpointError, match=r"missing in the checkpoint .* and 17 more; only there a"):
            export_model({"a": np.zeros(3)}, tmp_path / "m.keras", "keras", like=like)
        assert not (tmp_path / "m.keras").exists()

    def test_a_file_that_is_no_saved_model_is_refused(self, keras, model, tmp_path):
        (tmp_path / "like.keras").write_bytes(b"no zip")
        for name in ("like.keras", "absent.keras"):
            with pytest.raises(CheckpointError, match=f"{name} cannot be read: .* Expected a model that"):
                export_model(self.numbered(model), tmp_path / "m.keras", "keras", like=tmp_path / name)

    def test_a_model_with_code_inside_is_refused(self, keras, tmp_path):
        """A Lambda layer is marshalled Python: safe_mode never runs it."""
        model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x + 1)])
        model.save(tmp_path / "like.keras")
        with pytest.raises(CheckpointError, match=r"like.keras cannot be read: .*safe_mode|.*Lambda"):
            export_model({"0": np.zeros(1)}, tmp_path / "m.keras", "keras", like=tmp_path / "like.keras")


@pytest.mark.parametrize("kind", ["keras", "weights.h5"])
def test_a_keras_file_without_an_architecture_is_refused_with_the_way_to_one(tmp_path, kind):
    with pytest.raises(SettingsError, match=r"expected --like MODEL.keras .* model.save\('MODEL.keras'\)"):
        export_model({"0": np.zeros(3)}, tmp_path / f"m.{kind}", kind)


def test_an_architecture_where_none_is_needed_is_refused(tmp_path):
    with pytest.raises(SettingsError, match=r"only keras and weights\.h5 need it"):
        export_model({"0": np.zeros(3)}, tmp_path / "m.npz", "npz", like=tmp_path)


@pytest.mark.parametrize(
    ("module", "kind", "extra"),
    [
        ("torch", "pt", "apps"),
        ("safetensors.numpy", "safetensors", "export"),
        ("keras", "keras", "tensorflow"),
        ("keras", "weights.h5", "tensorflow"),
        ("xgboost", "ubj", "xgboost"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(tmp_path, monkeypatch, module, kind, extra):
    monkeypatch.setitem(sys.modules, module, None)
    like = tmp_path / "like.keras" if module == "keras" else None
    with pytest.raises(CheckpointError, match=rf"pip install 'oneflower\[{extra}\]'"):
        export_model({"0": np.zeros(3)}, tmp_path / "m", kind, like=like)


def test_a_failed_write_leaves_the_file_of_before(tmp_path):
    class FullDisk(OsFiles):
        def fsync(self, descriptor):
            raise OSError(28, "No space left on device")

    (tmp_path / "model.npz").write_bytes(b"before")
    with pytest.raises(StateError, match="No space left"):
        export_model({"0": np.zeros(3)}, tmp_path / "model.npz", "npz", files=FullDisk())
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("model.npz", b"before")]
