"""One value at a time: what each type and each form of text takes and refuses."""

import base64
import math
import textwrap

import pytest
from flwr.common.address import parse_address
from flwr.common.config import parse_config_args
from hypothesis import given
from hypothesis import strategies as st

from oneflower.settings import BY_NAME, TABLE
from oneflower.settings.formats import split_address
from oneflower.settings.values import Decimal


def _parse(name, text):
    return BY_NAME[name].parse(text)


def _lines(label, body):
    wrapped = "\n".join(textwrap.wrap(body, 64))
    return f"-----BEGIN {label}-----\n{wrapped}\n-----END {label}-----\n"


def _pem(label, body="AAAA"):
    return base64.b64encode(_lines(label, body).encode()).decode()


ACCEPTED = [
    ("FL_NUM_ROUNDS", "5", 5),
    ("FL_NUM_ROUNDS", "+5", 5),
    ("FL_NUM_ROUNDS", "007", 7),
    ("FL_NUM_ROUNDS", "3.0", 3),
    ("FL_SEED", "0", 0),
    ("FL_SEED", "4294967295", 2**32 - 1),
    ("FL_CHECKPOINT_KEEP", "0", 0),
    ("FL_CHECKPOINT_KEEP", "2", 2),
    ("FL_PROXIMAL_MU", "0", 0.0),
    ("FL_PROXIMAL_MU", "1", 1.0),
    ("FL_PROXIMAL_MU", ".5", 0.5),
    ("FL_SERVER_LR", "1e-3", 0.001),
    ("FL_TRIM_BETA", "0.49", 0.49),
    ("FL_CHECKPOINT_ENABLED", "yes", True),
    ("FL_CHECKPOINT_ENABLED", "True", True),
    ("FL_CHECKPOINT_ENABLED", "0", False),
    ("FL_STRATEGY", "FedTrimmedAvg", "FedTrimmedAvg"),
    ("FL_STRATEGY", "app", "app"),
    *[("ML_FRAMEWORK", each, each) for each in ("tensorflow", "sklearn", "xgboost", "jax", "any")],
    ("FL_RESUME", "007", "7"),
    ("FL_RESUME", "never", "never"),
    ("FL_APP_CONFIG", 'a=1 b="x y" c=true', 'a=1 b="x y" c=true'),
    ("FL_APP_CONFIG", "[strategy]\nfraction-train = 0.5\n", "[strategy]\nfraction-train = 0.5\n"),
    ("FL_FLEET_API_ADDRESS", "[::]:9092", "[::]:9092"),
    ("FL_FLEET_API_ADDRESS", "superlink.example.org:1", "superlink.example.org:1"),
    ("FL_SUPERLINK_ADDRESS", "10.0.0.5:65535", "10.0.0.5:65535"),
    ("FL_DATABASE", "a/b.db", "a/b.db"),
    ("FL_CHECKPOINT_PATH", "/donn\u00e9es/ck points", "/donn\u00e9es/ck points"),
    ("FL_CHECKPOINT_PATH", "/tmp/$(reboot)", "/tmp/$(reboot)"),
    ("FL_NODE_CONFIG", 'a=1 b="x y" c=true d=1.5', 'a=1 b="x y" c=true d=1.5'),
]

REFUSED = [
    ("FL_NUM_ROUNDS", "0"),
    ("FL_NUM_ROUNDS", "-1"),
    ("FL_NUM_ROUNDS", "1.5"),
    ("FL_NUM_ROUNDS", "1e3"),
    ("FL_NUM_ROUNDS", "1_000"),
    ("FL_NUM_ROUNDS", "\u0663"),
    ("FL_NUM_ROUNDS", "9" * 5000),
    ("FL_NUM_ROUNDS", "2147483648"),
    ("FL_NUM_ROUNDS", "nan"),
    ("FL_NUM_ROUNDS", "$(reboot)"),
    ("FL_SEED", "4294967296"),
    ("FL_CHECKPOINT_KEEP", "1"),
    ("FL_PROXIMAL_MU", "-0.1"),
    ("FL_PROXIMAL_MU", "nan"),
    ("FL_PROXIMAL_MU", "inf"),
    ("FL_PROXIMAL_MU", "1e999"),
    ("FL_PROXIMAL_MU", "0,5"),
    ("FL_SERVER_LR", "0"),
    ("FL_SERVER_LR", "1e-999"),
    ("FL_TRIM_BETA", "0"),
    ("FL_TRIM_BETA", "0.5"),
    ("FL_CHECKPOINT_ENABLED", "on"),
    ("FL_STRATEGY", "fedavg"),
    ("FL_STRATEGY", "FedMagic"),
    ("ML_FRAMEWORK", "PyTorch"),
    ("FL_RESUME", "0"),
    ("FL_RESUME", "-1"),
    ("FL_RESUME", "newest"),
    ("FL_RESUME", "9" * 40),
    ("FL_RESUME", "\u0663"),
    ("FL_INITIAL_MODEL", "model.npz"),
    ("FL_APP_CONFIG", "batch-size"),
    ("FL_APP_CONFIG", "a = 1 b = 2"),
    ("FL_APP_CONFIG", "a=1 a=2"),
    ("FL_APP_CONFIG", "a=[1,2]"),
    ("FL_APP_CONFIG", "a=99999999999999999999"),
    ("FL_APP_CONFIG", "a=nan"),
    ("FL_APP_CONFIG", "[strategy]\nfraction-train 0.5"),
    ("FL_APP_CONFIG", "a='x\x1b[31m'"),
    ("FLOWER_VERSION", "1.24.0"),
    ("FLOWER_VERSION", "latest"),
    ("FL_FLEET_API_ADDRESS", "9092"),
    ("FL_FLEET_API_ADDRESS", ":9092"),
    ("FL_FLEET_API_ADDRESS", "host:"),
    ("FL_FLEET_API_ADDRESS", "host:0"),
    ("FL_FLEET_API_ADDRESS", "host:65536"),
    ("FL_FLEET_API_ADDRESS", "host:\u0663"),
    ("FL_FLEET_API_ADDRESS", "::1:9092"),
    ("FL_FLEET_API_ADDRESS", "[::1:9092"),
    ("FL_FLEET_API_ADDRESS", "[fe80::1%$(reboot)]:9092"),
    ("FL_FLEET_API_ADDRESS", "300.0.0.1:9092"),
    ("FL_FLEET_API_ADDRESS", "http://host:9092"),
    ("FL_FLEET_API_ADDRESS", "--insecure:9092"),
    ("FL_FLEET_API_ADDRESS", "a b:9092"),
    ("FL_SUPERLINK_ADDRESS", "0.0.0.0:9092"),
    ("FL_SUPERLINK_ADDRESS", "[::]:9092"),
    ("FL_DATABASE", "/abs.db"),
    ("FL_DATABASE", "a/../../b.db"),
    ("FL_DATABASE", "a/"),
    ("FL_DATABASE", "."),
    ("FL_DATABASE", "--flag"),
    ("FL_CHECKPOINT_PATH", "relative"),
    ("FL_CHECKPOINT_PATH", "/"),
    ("FL_CHECKPOINT_PATH", "//"),
    ("FL_CHECKPOINT_PATH", "/a/../etc"),
    ("FL_CHECKPOINT_PATH", "/a\nb"),
    ("FL_CHECKPOINT_PATH", "/a\0b"),
    ("FL_CHECKPOINT_PATH", "/a\x1b[31m"),
    ("FL_CHECKPOINT_PATH", "/a\u2028b"),
    ("FL_CHECKPOINT_PATH", "/a\udcffb"),
    ("FL_CHECKPOINT_PATH", "/" + "a" * 5000),
    ("FL_NODE_CONFIG", "a=1,b=2"),
    ("FL_NODE_CONFIG", "a = 1"),
    ("FL_NODE_CONFIG", "a=1 trailing"),
    ("FL_NODE_CONFIG", "site=north"),
    ("FL_NODE_CONFIG", "a=1 a=2"),
    ("FL_NODE_CONFIG", "a=[1,2]"),
    ("FL_NODE_CONFIG", "a=2020-01-01"),
    ("FL_NODE_CONFIG", "a=99999999999999999999"),
    ("FL_NODE_CONFIG", "$(touch /pwned)"),
    ("FL_DASHBOARD_TOKEN", "fifteen-letters"),
    ("FL_DASHBOARD_TOKEN", "sixteen and more letters"),
    ("FL_DASHBOARD_TOKEN", "sixteen-and-more\nA=B"),
    ("FL_DASHBOARD_TOKEN", "t\u00f6ken-of-many-letters"),
    ("FL_SSL_CERTFILE", "not base64!"),
    ("FL_SSL_CERTFILE", base64.b64encode(b"no pem").decode()),
    ("FL_SSL_CERTFILE", _pem("PRIVATE KEY")),
    ("FL_SSL_CERTFILE", "-----BEGIN CERTIFICATE-----\nAAAA\n"),
    ("FL_SSL_CERTFILE", "-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----"),
    ("FL_SSL_CERTFILE", base64.b64encode(base64.b64encode(_pem("CERTIFICATE").encode())).decode()),
    ("FL_SSL_CERTFILE", _pem("CERTIFICATE", "A" * 200_000)),
    ("FL_SSL_CERTFILE", "\u00e9"),
    ("FL_SSL_KEYFILE", _pem("CERTIFICATE")),
    ("FL_SSL_KEYFILE", _pem("ENCRYPTED PRIVATE KEY")),
    (
        "FL_SSL_KEYFILE",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----",
    ),
]


@pytest.mark.parametrize(("name", "text", "value"), ACCEPTED)
def test_accepted(name, text, value):
    parsed = _parse(name, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(("name", "text"), REFUSED)
def test_refused_with_a_reason(name, text):
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        _parse(name, text)


@pytest.mark.parametrize("label", ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"])
def test_a_key_of_any_kind_is_taken(label):
    assert _parse("FL_SSL_KEYFILE", _pem(label)) == _pem(label)


def _blocks(label):
    block = st.binary(min_size=1, max_size=200).map(lambda der: _lines(label, base64.b64encode(der).decode()))
    return st.lists(block, min_size=1, max_size=3).map("".join)


@given(
    st.sampled_from([("FL_SSL_CERTFILE", "CERTIFICATE"), ("FL_SSL_KEYFILE", "RSA PRIVATE KEY")]).flatmap(
        lambda pair: st.tuples(st.just(pair[0]), _blocks(pair[1]))
    ),
    st.integers(0, 2),
    st.sampled_from(["\n", "\r\n", " "]),
    st.booleans(),
)
def test_a_certificate_is_one_setting_in_every_form_that_it_arrives_in(variable, encodings, newline, wrapped):
    """The command line of OpenNebula encodes an answer itself, Sunstone does not; bundles and CRLF too."""
    name, pem = variable
    text = pem.replace("\n", newline)
    for _ in range(encodings):
        encode = base64.encodebytes if wrapped else base64.b64encode
        text = encode(text.encode()).decode()
    value = _parse(name, text)
    assert base64.b64decode(value).decode() == pem
    assert _parse(name, value) == value


def test_a_key_that_lies_beside_a_certificate_is_not_kept_with_it():
    both = _lines("PRIVATE KEY", "AAAA") + "Subject: CN=a\n" + _lines("CERTIFICATE", "BBBB")
    assert _parse("FL_SSL_CERTFILE", both) == _pem("CERTIFICATE", "BBBB")
    assert _parse("FL_SSL_KEYFILE", both) == _pem("PRIVATE KEY", "AAAA")


def test_a_wrong_case_names_the_right_one():
    with pytest.raises(ValueError, match="'FedAvg'"):
        _parse("FL_STRATEGY", "FEDAVG")


@given(st.sampled_from(TABLE), st.text(max_size=40))
def test_any_text_gives_a_checked_value_or_a_refusal(variable, text):
    try:
        value = variable.parse(text)
    except ValueError:
        return
    assert variable.check(value) == value
    assert not (isinstance(value, float) and not math.isfinite(value))


@given(st.sampled_from([v for v in TABLE if isinstance(v.kind, Decimal)]), st.floats(allow_nan=True))
def test_a_float_survives_its_text_unless_it_is_out_of_bounds(variable, number):
    try:
        value = variable.check(number)
    except ValueError:
        with pytest.raises(ValueError, match="it is"):
            variable.parse(repr(number))
        return
    assert variable.parse(repr(number)) == value == number


@given(
    st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda ip: f"[{ip}]")),
    st.integers(1, 65535),
)
def test_flower_splits_an_address_as_we_do(host, port):
    ours, theirs = split_address(f"{host}:{port}"), parse_address(f"{host}:{port}")
    assert theirs is not None
    assert ours == theirs[:2]


_KEYS = st.text("abcdefgh-_0123456789", min_size=1, max_size=8)
_TEXTS = st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="\"'\\"), max_size=8)
_VALUES = st.one_of(st.integers(-(2**63), 2**63 - 1), st.booleans(), _TEXTS, st.floats(allow_nan=False))


def _toml(value):
    if isinstance(value, str):
        return f'"{value}"'
    return str(value).lower() if isinstance(value, bool) else repr(value)


@given(st.dictionaries(_KEYS, _VALUES, min_size=1, max_size=4))
def test_node_config_pairs_reach_the_supernode_whole(pairs):
    text = " ".join(f"{key}={_toml(value)}" for key, value in pairs.items())
    assert parse_config_args([str(_parse("FL_NODE_CONFIG", text))]) == pairs


@given(st.text("ab=\"' 1.x\\", max_size=20))
def test_node_config_that_is_accepted_is_read_by_the_supernode(text):
    """flower-supernode exits, or drops half a text without a word, where it meets one that we refuse."""
    try:
        _parse("FL_NODE_CONFIG", text)
    except ValueError:
        return
    assert len(parse_config_args([text], flatten=False)) > 0 or not text.strip()


class TestTypedValues:
    """Values of Flower's run-config are typed already."""

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("FL_NUM_ROUNDS", True),
            ("FL_NUM_ROUNDS", 3.0),
            ("FL_NUM_ROUNDS", "3"),
            ("FL_CHECKPOINT_ENABLED", 1),
            ("FL_CHECKPOINT_ENABLED", "YES"),
            ("FL_PROXIMAL_MU", "1.0"),
            ("FL_PROXIMAL_MU", True),
            ("FL_PROXIMAL_MU", float("nan")),
            ("FL_PROXIMAL_MU", 10**400),
            ("FL_STRATEGY", 1),
            ("FL_STRATEGY", None),
        ],
    )
    def test_a_wrong_type_is_refused(self, name, value):
        with pytest.raises(ValueError, match="it is"):
            BY_NAME[name].check(value)

    def test_a_whole_number_is_a_float_too(self):
        value = BY_NAME["FL_PROXIMAL_MU"].check(1)
        assert (value, type(value)) == (1.0, float)
