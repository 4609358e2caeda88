"""How OneGate and oned read, keep and write a USER_TEMPLATE, quirks and all.

A template is a dict of what GET shows: a text, a dict for ``KEY=[A=1, B=2]``, a list for a repeated key. The
files and lines are OpenNebula 7.4's; `tests/contract/onegate.py` asks a real server for the same.
"""

import re
from xml.etree import ElementTree as ET

# src/parsers/template_parser.l: flex takes the longest match, of equals the first; `.` is no newline.
_BETWEEN = {
    "": (re.compile(r"[ \t]*#.*\n"), re.compile(r"[ \t\n]+")),
    "VARIABLE": (re.compile(r"[A-Za-z0-9_]+"),),
    "EQUAL": (re.compile(r"[ \t]*=[ \t]*"),),
    "EQUAL_EMPTY": (re.compile(r"[ \t]*=[ \t]*\n"),),
    "COMMA": (re.compile(r"[ \t\n]*,[ \t\n]*"),),
    "CBRACKET": (re.compile(r"[ \t\n]*\][ \t\n]*"),),
}
_AFTER_EQUAL = {
    "OBRACKET": (re.compile(r"[ \t]*\[[ \t\n]*"),),
    "CCDATA": (re.compile(r".*\]\]>.*"),),
    # `"` ends a value unless a backslash stands before it; the longest match may run over many lines.
    "QUOTED": (re.compile(r'"(?:[^"\\]|\\"|\\)*"'),),
    "STRING": (re.compile(r"[^=# \t\n,\[\]]+"),),
}
_C_SPACES = " \t\n\v\f\r"
_XPATH_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)(?:/([A-Za-z_][A-Za-z0-9_.-]*))?")
# Control characters, bytes that are no UTF-8 (as Python decodes them) and characters beyond the BMP.
_NO_XML = re.compile(r"[\x00-\x08\v\f\x0e-\x1f\ud800-\udfff\U00010000-\U0010ffff]")


class MalformedError(ValueError):
    """The text is one that oned refuses."""


class XPathError(ValueError):
    """A key that libxml2 does not take for a path."""


def escape(body):
    """Quote values as OneGate does before it hands a body to oned: onegate-server.rb:512 (escape_attr)."""
    out, quoting = [], False
    for index, char in enumerate(body):
        before, after = body[index - 1], body[index + 1 : index + 2]
        if char == "=" and not quoting and after not in ("[", '"'):
            out.append('="')
            quoting = True
        elif char in ",[]\\\n" and before != '"' and not (char in "[]" and before == "="):
            out.append(f'"{char}')
            # A comma and an opening bracket leave it as it was: onegate-server.rb:535.
            quoting = quoting and char in ",["
        else:
            out.append(char)
    text = "".join(out).replace("\\n", "\n")
    return text + '"' if quoting and text[-1:] not in ("]", '"') else text


def parse(text):
    """Return (name, value) of each attribute, in order: src/parsers/template_syntax.y.

    Raises
    ------
    MalformedError
        A syntax error. Nothing of the text is taken then: VirtualMachine.cc:3037.
    """
    if _NO_XML.search(text):
        raise MalformedError("it cannot be sent to oned as XML")  # measured 7.4
    if text.startswith("<"):
        return _parse_xml(text)
    tokens, pairs = _Tokens(text), []
    while (token := tokens.take("VARIABLE", "END"))[0] != "END":
        name = _named(token[1])
        kind, value = tokens.take("EQUAL", "EQUAL_EMPTY")
        if kind == "EQUAL":
            kind, value = tokens.take("STRING", "OBRACKET")
            value = _vector(tokens) if kind == "OBRACKET" else _unescaped(value)
        else:
            value = ""
        pairs.append((name, value))
    return pairs


def _parse_xml(text):
    """Read the form that starts with ``<``: Template.cc:130. The name of its root is of no meaning."""
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise MalformedError(str(error)) from None
    pairs = [
        (_named(each.tag), {inner.tag.upper(): inner.text or "" for inner in each} or (each.text or ""))
        for each in root
    ]
    # Empty ones, and those that would end a CDATA section, are taken and vanish: measured 7.4.
    return [(name, value) for name, value in pairs if value and "]]>" not in value]


def append(template, pairs):
    """Return a template with attributes of an update: same names are replaced (Template.cc:675, merge)."""
    kept = {name: value for name, value in template.items() if name not in dict(pairs)}
    # An empty vector erases its name and sets nothing: Template.cc:686.
    return _collected(kept, [(name, value) for name, value in pairs if value != {}])


def replacement(pairs):
    """Return the template that a whole rewriting leaves: VirtualMachine.cc:2974."""
    return _collected({}, pairs)


def without(template, path):
    """Return the template without what an XPath below USER_TEMPLATE names, and whether that was anything.

    Names are compared as they are written, XPath knows no upper-casing: xml_element.rb:99 (delete_element).
    ``NAME/PART`` is a part of a vector.

    Raises
    ------
    XPathError
        The path is none.
    """
    first, *others = path.split("|")
    kept, found = _without_one(template, first.strip(" \t"))
    for other in others:
        # Only a path from the root of the VM reaches it, for what stands before is put before the first.
        if other.startswith("USER_TEMPLATE/"):
            kept, also = _without_one(kept, other.removeprefix("USER_TEMPLATE/"))
            found = found or also
    return kept, found


def _without_one(template, path):
    if path == "*":
        return {}, bool(template)
    if path == "..":
        return template, True
    found = _XPATH_NAME.fullmatch(path.removeprefix("/"))
    if found is None:
        raise XPathError(_libxml2_says(path))
    name, part = found.groups()
    if path.startswith("/"):
        return template, False
    kept = dict(template)
    value = kept.pop(name, None)
    if part is None or value is None:
        return kept, value is not None
    if not isinstance(value, dict) or part not in value:
        return template, False
    return {**kept, name: {key: text for key, text in value.items() if key != part}}, True


def _libxml2_says(path):
    """A comparison is an expression, but names nothing that could be removed: measured 7.4."""
    if re.fullmatch(r'\w+=".*"', path):
        return "node_set must be a Nokogiri::XML::NodeSet"
    what = "Unfinished literal" if re.fullmatch(r'\w+="', path) else "Invalid expression"
    return f"{what}: USER_TEMPLATE/{path}"


def written(template):
    """Write a template as OneGate does for a rewriting: xml_element.rb:263 (template_like_str).

    A backslash at the end of a value swallows the quote behind it, so that oned refuses the text or reads
    another one.
    """
    lines = []
    for name, values in sorted(template.items()):  # oned keeps them by name: a multimap
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, dict):
                inner = ",\n".join(f"  {key}={_quoted(text)}" for key, text in value.items())
                lines.append(f"{name}=[\n{inner} ]")
            else:
                lines.append(f"{name}={_quoted(value)}")
    return "\n".join(lines)


def _quoted(text):
    return '"' + text.replace('"', '\\"') + '"'


def _collected(template, pairs):
    """Put attributes behind others of their name; of several GET makes a list: xml_element.rb:486."""
    found = dict(template)
    for name, value in pairs:
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name] = [*found[name], value]
        else:
            found[name] = [found[name], value]
    return found


def _named(name):
    """Names are upper-cased, and made names of XML: Attribute.h:36."""
    bad_start = not (name[0].isalpha() or name[0] == "_") or name.startswith("XML")
    return f"ONE_{name.upper()}" if bad_start else name.upper()


def _unescaped(text):
    """Blanks around a value are lost, and a backslash before a quote: template_syntax.y, Attribute.h."""
    return text.replace('\\"', '"').strip(_C_SPACES)


def _vector(tokens):
    """Read ``A=1, B=2 ]``; of two with one name the first stays (template_syntax.y:172, insert)."""
    found = {}
    token = tokens.take("VARIABLE", "CBRACKET")
    while token[0] == "VARIABLE":
        tokens.take("EQUAL")
        found.setdefault(token[1].upper(), _unescaped(tokens.take("STRING")[1]))
        token = tokens.take("COMMA", "CBRACKET")
        if token[0] == "COMMA":
            token = tokens.take("VARIABLE")
    return found


class _Tokens:
    """The words of a text, by the rules of one of two states."""

    def __init__(self, text):
        # The scanner reads a C string.
        self._text = text.partition("\0")[0]
        self._at = 0
        self._rules = _BETWEEN

    def take(self, *kinds):
        """Return the next token as (kind, text), which has to be of one of these kinds."""
        kind, text = self._next()
        if kind not in kinds:
            raise MalformedError(f"syntax error, unexpected {kind}, expecting {' or '.join(kinds)}")
        return kind, text

    def _next(self):
        while self._at < len(self._text):
            found = [
                (match.end(), -number, kind, match.group())
                for number, (kind, rules) in enumerate(self._rules.items())
                for rule in rules
                if (match := rule.match(self._text, self._at))
            ]
            if not found:
                # flex's default rule: what nothing matches is passed over (template_parser.cc:1202).
                self._at += 1
                continue
            self._at, _, kind, text = max(found)
            if kind == "EQUAL":
                self._rules = _AFTER_EQUAL
            elif kind:
                self._rules = _BETWEEN
            if kind == "QUOTED":
                return "STRING", text[1:-1]
            if kind:
                return kind, text
        return "END", ""
