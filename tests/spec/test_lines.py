"""Where keys stand in a text: what the locator says agrees with what the parser of the standard library reads."""

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fuzz import ASKED, fuzz, garbled

from jepa_sweep.spec.lines import line_of, lines_of

few = settings(fuzz, max_examples=int(ASKED or 150))

# --- documents in every way of writing them -------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=5)
names = st.sampled_from(["a", "b", "x", "axes", "1", "k-_", ""]) | words
comments = st.sampled_from(["", " # a = 1, [b] \"c'"])


def quoted(name):
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Writer:
    """Writes one value after the other; each is a number of its own, so that it can be found again."""

    def __init__(self, draw):
        self.draw, self.count = draw, 1000

    def key(self, name):
        bare = name and all(c.isascii() and (c.isalnum() or c in "-_") for c in name)
        styles = [quoted(name), *([name] * 3 if bare else []), *([f"'{name}'"] if "'" not in name else [])]
        return self.draw(st.sampled_from(styles))

    def mark(self):
        """A value on the line on which it begins."""
        self.count += 1
        n = self.count
        styles = ["{n}", "{n}.5", '"{n} # ] }} = \\" \\\\"', "'{n} \\'", '"""{n}\n[x]\na = 1 " "" \\"""" "" b"""""',
                  "'''{n}\n''  = ['''", '"""{n}\\\n   ="""', "{n}-05-27 07:32:00Z"]  # fmt: skip
        return self.draw(st.sampled_from(styles)).format(n=n)

    def space(self):
        return self.draw(st.sampled_from(["", "", " ", "\n", "\n  # ], }\n\t", "\r\n"]))

    def value(self, depth, lines=True):
        kind = self.draw(st.sampled_from(["mark", "mark", "list", "table"])) if depth else "mark"
        if kind == "mark":
            return self.mark()
        gap = self.space if lines else lambda: " "
        if kind == "list":
            inside = [f"{gap()}{self.value(depth - 1)}{gap()}" for _ in range(self.draw(st.integers(0, 3)))]
            return f"[{','.join(inside)}{',' if inside and self.draw(st.booleans()) else ''}{gap()}]"
        used = self.draw(st.lists(names, max_size=3, unique=True))
        return "{ " + ", ".join(f"{self.key(n)} = {self.value(depth - 1)}" for n in used) + " }"

    def pairs(self):
        lines = []
        for name in self.draw(st.lists(names, max_size=3, unique=True)):
            dotted = [name, *self.draw(st.lists(names, max_size=2))]
            dots = self.draw(st.sampled_from([".", " . "])).join(map(self.key, dotted))
            lines.append(f"{dots} = {self.value(2)}{self.draw(comments)}")
        return lines


@st.composite
def texts(draw):
    """Texts of specs and of much that is none; those that are no TOML are left out later."""
    writer = Writer(draw)
    lines = writer.pairs()
    for _ in range(draw(st.integers(0, 4))):
        path = ".".join(map(writer.key, draw(st.lists(names, min_size=1, max_size=3))))
        lines += [draw(st.sampled_from([f"[{path}]", f"[[{path}]]", f"[[ {path} ]] # [x]", ""])), *writer.pairs()]
    return "\n".join(lines) + draw(st.sampled_from(["", "\n"]))


def keys_of(value, path=()):
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield (*path, key), inner
        yield from keys_of(inner, (*path, key))


def read(text):
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, ValueError, RecursionError):
        return None


@few
@given(texts() | garbled())
def test_every_key_of_a_document_has_a_line(text):
    """And nothing else has one."""
    document = read(text)
    if document is not None:
        assert set(lines_of(text)) == {key for key, _ in keys_of(document)}


@few
@given(texts())
def test_a_value_stands_on_the_line_of_its_key(text):
    document, lines = read(text), text.split("\n")
    for key, value in keys_of(document or {}):
        line = lines[lines_of(text)[key] - 1]
        if not isinstance(value, dict | list):
            assert str(value)[:4] in line
        elif isinstance(key[-1], str):
            assert any(style in line for style in (key[-1], quoted(key[-1])[1:-1]))


def test_both_are_asked_of_documents_of_all_kinds():
    """The texts that are drawn are not mostly refused."""
    taken = []

    @few
    @given(texts())
    def draw(text):
        taken.append(read(text) is not None)

    draw()
    assert sum(taken) > len(taken) / 3


TEXT = """name = "x"
axes.lam = [
  1.0,  # [a]
  2.0,
]

[axes.rho]
linear = [0.5,
          1.0]
[[block]]
axes = { L = 1, num = 3,
}
[[block]]
[block.axes]
L = 2
""".replace(",\n}", " }")


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("name",), 1),
        (("axes",), 2),
        (("axes", "lam"), 2),
        (("axes", "lam", 1), 4),
        (("axes", "rho"), 7),
        (("axes", "rho", "linear", 1), 9),
        (("axes", "rho", "num"), 7),  # not there: its table
        (("block", 0, "axes", "L"), 11),
        (("block", 0, "num"), 11),  # which may stand among the axes
        (("block", 1), 12),
        (("block", 1, "axes", "L"), 14),
        (("block", 1, "axes", "eps"), 13),
        (("solver", "rtol"), None),
    ],
)
def test_a_key_has_its_line_or_that_of_the_table_around_it(key, line):
    assert line_of(key, lines_of(TEXT)) == line
