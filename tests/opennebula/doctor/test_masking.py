"""No secret leaves the machine, in no spelling."""

import base64
import json
import string
import tarfile
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oneflower.opennebula.doctor.bundle import write_bundle
from oneflower.opennebula.doctor.find import find_context
from oneflower.opennebula.doctor.masking import MASK, Masker, is_secret, masker_of
from oneflower.settings import TABLE
from oneflower.tls import make_authority, make_server_certificate

NOW = datetime.now(UTC)
TOKEN = "wJ8+3kq/Zx1/abcdEFGH5678=="
# The mask itself would come back in place of a secret of its own characters.
SECRETS = st.text(st.characters(exclude_characters="*", exclude_categories=("Cs",)), min_size=4, max_size=60)
WORDS = st.text(string.ascii_letters + string.digits + " \n='\":,{}", max_size=80)


def b64(text):
    return base64.b64encode(text.encode()).decode()


@given(secret=SECRETS, before=WORDS, after=WORDS)
def test_no_secret_is_left_in_any_text(secret, before, after):
    """A law: whatever stands around it, neither a secret nor its base64 is in what is masked."""
    mask = Masker(frozenset({secret}))
    masked = mask(f"{before}{secret}{after} {b64(secret)} {before}{secret}")
    assert secret not in masked
    assert b64(secret).rstrip("=") not in masked


@given(secret=SECRETS, text=WORDS)
def test_masking_again_changes_nothing(secret, text):
    mask = Masker(frozenset({secret}))
    once = mask(f"{text} {secret} TOKENTXT={text}")
    assert mask(once) == once


@settings(max_examples=settings.default.max_examples * 3 // 10)
@given(secrets=st.lists(SECRETS, min_size=1, max_size=4), before=WORDS)
def test_no_secret_is_in_any_member_of_a_bundle(tmp_path_factory, secrets, before):
    path = tmp_path_factory.mktemp("bundle") / "b.tar.gz"
    texts = [f"{before}{secret}" for secret in secrets] + [json.dumps({"a": secrets}), b64("".join(secrets))]
    texts += [" ".join(map(b64, secrets)), "\n".join(secrets)]
    write_bundle(path, [(f"{n}.txt", text) for n, text in enumerate(texts)], Masker(frozenset(secrets)))
    with tarfile.open(path) as archive:
        members = [archive.extractfile(member).read().decode() for member in archive]
    assert len(members) == len(texts)
    for secret in secrets:
        assert not [text for text in members if secret in text or b64(secret) in text]


@pytest.mark.parametrize(
    "spelling",
    [
        lambda s: s,
        b64,
        lambda s: b64(f"user:{s}"),
        lambda s: b64(f"xuser:{s}\n"),
        lambda s: s.encode().hex(),
        lambda s: quote(s, safe=""),
        lambda s: json.dumps({"x": s}),
        repr,
        lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
        lambda s: s[:20],
    ],
)
def test_every_spelling_of_a_token_is_masked(spelling):
    text = f"got {spelling(TOKEN)} here"
    masked = Masker(frozenset({TOKEN}))(text)
    assert MASK in masked
    assert TOKEN[:16] not in masked
    assert b64(TOKEN)[2:20] not in masked


def key():
    return make_server_certificate(make_authority(NOW), ("localhost",), NOW)[1].decode()


def spellings_of_a_key(pem):
    whole = b64(pem)
    body = "".join(pem.splitlines()[1:-1])
    wrapped = "\n".join(whole[i : i + 76] for i in range(0, len(whole), 76))
    return {
        "pem": pem,
        "base64": whole,
        "wrapped": wrapped,
        "shortened": whole[:60],
        "body": body,
        "line": pem.splitlines()[1],
        "json": json.dumps(pem),
        "twice": b64(whole),
        "indented": "\n    ".join(pem.splitlines()),
    }


@pytest.mark.parametrize("name", spellings_of_a_key(key()))
def test_a_private_key_is_masked_in_any_encoding(layout, name):
    pem = key()
    mask = masker_of(find_context(layout, {"FL_SSL_KEYFILE": b64(pem)}), layout)
    masked = mask(f"before {spellings_of_a_key(pem)[name]} after")
    body = "".join(pem.splitlines()[1:-1])
    whole = b64(pem)
    for secret in (body, whole, b64(whole)):
        pieces = [secret[i : i + 24] for i in range(len(secret) - 24)]
        assert not [piece for piece in pieces if piece in masked], masked
    assert masked.startswith("before")


def test_the_keys_on_the_disk_are_masked_too(layout):
    pem = key()
    layout.certs.mkdir(parents=True)
    layout.certificates.key.write_text(pem)
    mask = masker_of(find_context(layout, {}), layout)
    assert pem.splitlines()[1] not in mask(f"x {pem.splitlines()[1]} y")


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {TOKEN}",
        f"'authorization': 'Basic {TOKEN}'",
        f"X-ONEGATE-TOKEN: {TOKEN}",
        f"curl --header 'Authorization: Bearer {TOKEN}'",
        f'export TOKENTXT="{TOKEN}"',
        f"PASSWORD='{TOKEN}'",
        f"ONEAPP_FL_DASHBOARD_TOKEN={TOKEN}",
        json.dumps({"FL_DASHBOARD_TOKEN": TOKEN}),
        f"CRYPTED_PASSWORD_BASE64={TOKEN}",
        key(),
        b64(key()),
    ],
)
def test_what_looks_like_a_secret_is_masked_unknown(text):
    masked = Masker(frozenset())(text)
    assert TOKEN not in masked
    assert "PRIVATE KEY-----\nM" not in masked
    assert len(masked) < len(text) or MASK in masked


@pytest.mark.timeout(60)
@pytest.mark.parametrize("word", ["PASSWORD_", "TOKENTXT", "A", "-----BEGIN PRIVATE KEY----- "])
def test_a_hostile_log_does_not_take_for_ever(word):
    Masker(frozenset({TOKEN}))(word * (500_000 // len(word)))


def test_json_stays_json():
    masked = Masker(frozenset({TOKEN}))(json.dumps({"FL_DASHBOARD_TOKEN": TOKEN, "b": [TOKEN, 1]}))
    assert json.loads(masked) == {"FL_DASHBOARD_TOKEN": MASK, "b": [MASK, 1]}


def test_what_is_no_secret_stays():
    text = "flower-superlink.service: active; sha256 9d5e3f; FL_NUM_ROUNDS=3; token there is one"
    assert Masker(frozenset({TOKEN}))(text) == text


@pytest.mark.parametrize("variable", [v for v in TABLE if v.secret], ids=lambda v: v.name)
def test_every_secret_variable_is_masked_under_both_names(layout, variable):
    for name in (variable.name, variable.alias):
        assert is_secret(name)
        mask = masker_of(find_context(layout, {name: "a-secret-of-mine"}), layout)
        assert mask("x a-secret-of-mine y") == f"x {MASK} y"


def test_secrets_of_every_source_are_masked(layout):
    """A token of the last boot may stand in its logs."""
    (layout.root / "run/one-context").mkdir(parents=True)
    (layout.root / "run/one-context/one_env").write_text('export TOKENTXT="token-of-now"\n')
    layout.config.mkdir(parents=True)
    layout.context.write_text("TOKENTXT='token-of-before'\nVMID='7'\n")
    mask = masker_of(find_context(layout, {}), layout)
    assert mask("token-of-now token-of-before") == f"{MASK} {MASK}"
