"""A value reaches the program that reads a rendered text exactly as it was given."""

import re
import shlex
import shutil
import subprocess

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneflower.opennebula import rendering
from oneflower.opennebula.rendering import (
    TEMPLATE_FILES,
    hcl_string,
    markdown_cell,
    render,
    ruby_string,
    shell_string,
    systemd_command,
    systemd_text,
    word,
    words,
)

TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
HOSTILE = ["$(touch /pwned)", "%n", "`id`", "${HOME}", "#{1 + 1}", "it's", 'a "b"', "a\\b", "end\\", "\\'"]


@pytest.fixture
def from_text(monkeypatch, tmp_path):
    """Return a function that renders a template given as text, with the rules of the real ones."""

    def render_text(text, **values):
        (tmp_path / "text.j2").write_text(text)
        return render("text", **values)

    monkeypatch.setattr(rendering, "TEMPLATE_FILES", tmp_path)
    rendering._environment.cache_clear()
    yield render_text
    rendering._environment.cache_clear()


@pytest.mark.parametrize("text", ["{{ value }}", "{{ value | upper }}", "{{ (value | shell) ~ 'x' }}"])
def test_a_value_that_no_filter_has_quoted_is_refused(from_text, text):
    with pytest.raises(TypeError, match="not quoted"):
        from_text(text, value="a")


@pytest.mark.parametrize("text", ["{{ missing | shell }}", "{% if missing %}a{% endif %}"])
def test_a_name_without_a_value_is_refused(from_text, text):
    with pytest.raises(jinja2.UndefinedError):
        from_text(text)


def test_a_value_is_data_and_never_a_template(from_text):
    assert from_text("{{ value | shell }}", value="{{ 7 * 7 }}") == "'{{ 7 * 7 }}'"


def test_html_is_not_escaped(from_text):
    assert from_text("{{ value | shell }}\n", value="a & <b>") == "'a & <b>'\n"


@pytest.mark.parametrize("path", sorted(TEMPLATE_FILES.rglob("*")), ids=lambda path: path.name)
def test_every_template_file_has_its_languages_extension_and_is_used(path):
    if path.is_dir():
        return
    name = path.relative_to(TEMPLATE_FILES).as_posix()
    assert re.fullmatch(r"[a-z]+/[\w.-]+\.(sh|hcl|rb|md|service|local)\.j2", name)
    modules = (module.read_text() for module in TEMPLATE_FILES.parent.rglob("*.py"))
    templates = (template.read_text() for template in TEMPLATE_FILES.rglob("*.j2"))
    included = any(f'{{% include "{name}" %}}' in text for text in templates)
    assert included or any(f'"{name.removesuffix(".j2")}"' in text for text in modules)


@given(TEXT)
def test_a_shell_reads_back_any_text(text):
    assert shlex.split(shell_string(text)) == [text]
    assert shell_string(text).startswith("'")


@pytest.mark.skipif(shutil.which("ruby") is None, reason="ruby is not installed")
def test_ruby_reads_back_any_text():
    program = f"print [{','.join(map(ruby_string, HOSTILE))}].join(10.chr)"
    done = subprocess.run(["ruby", "-e", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == HOSTILE


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", '"a b"'),
        ('a"b', r'"a\"b"'),
        ("a\\b", r'"a\\b"'),
        ("${var.x} %{if}", '"$${var.x} %%{if}"'),
        ("$5 %", '"$5 %"'),
    ],
)
def test_hcl_does_not_interpolate_a_value(text, expected):
    assert hcl_string(text) == expected


def systemd_words(line):
    """Split a command line as systemd.service(5) says: double quotes, backslash escapes, %% and $$."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"', line, re.DOTALL)
    return [
        re.sub(r"\\(.)", r"\1", each, flags=re.DOTALL).replace("%%", "%").replace("$$", "$") for each in found
    ]


@given(st.lists(TEXT, min_size=1))
def test_systemd_reads_back_any_argument(arguments):
    assert systemd_words(systemd_command(arguments)) == arguments


def test_systemd_has_no_percent_or_dollar_to_expand():
    line = systemd_command(HOSTILE)
    assert not re.search(r"(?<!%)%(?!%)", line.replace("%%", ""))
    assert not re.search(r"\$", line.replace("$$", ""))
    assert systemd_text("50 % of %n") == "50 %% of %%n"


@pytest.mark.parametrize("quote", [hcl_string, systemd_text, markdown_cell])
@pytest.mark.parametrize("text", ["a\nb", "a\rb", "a\u2028b", "a\x00b"])
def test_a_text_on_one_line_cannot_begin_another(quote, text):
    with pytest.raises(ValueError, match="control character"):
        quote(text)


def test_a_backslash_cannot_join_two_lines_of_a_unit():
    with pytest.raises(ValueError, match="backslash"):
        systemd_text("a\\")


@pytest.mark.parametrize("value", ["", "a b", "$HOME", "a'b", "a;b", "`id`", "a|b", "%n", "a\n", "é"])
def test_a_plain_word_needs_no_quotes_anywhere(value):
    with pytest.raises(ValueError, match="plain word"):
        word(value)


def test_plain_words_are_separated_by_blanks():
    assert words(["service_a", "../b/c.qcow2", 7]) == "service_a ../b/c.qcow2 7"


def test_a_cell_cannot_begin_another():
    assert markdown_cell("a|b") == r"a\|b"
