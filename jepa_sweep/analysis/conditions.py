"""Conditions on rows as a user types them: `lam > 1 and objective in (jepa, mae) and t_exact is not null`."""

import re
from typing import NamedTuple, NoReturn

from jepa_sweep.checks import plain, shown
from jepa_sweep.errors import SpecError

SIGNS = ("=", "!=", "<", "<=", ">", ">=")
_SAME = {"==": "=", "<>": "!="}
_TOKEN = re.compile(
    r"""\s*(?:(?P<sign><=|>=|==|!=|<>|[=<>])|(?P<mark>[(),])|'(?P<single>[^']*)'|"(?P<double>[^"]*)"|"""
    r"""(?P<word>[^\s(),<>=!'"]+))"""
)


class Condition(NamedTuple):
    """A column and what its values must be."""

    column: str
    sign: str  # one of `SIGNS`, or "null" and "not null", which take no value
    values: tuple[str, ...] = ()  # several for "=" (one of them) and "!=" (none of them)


class _Token(NamedTuple):
    kind: str  # "sign", "mark", "quoted", "word" or "end"
    text: str
    place: int  # where it begins

    def says(self, word: str) -> bool:
        """True if it is this mark or, in capitals or not, this word."""
        return self.kind in ("mark", "word") and self.text.lower() == word


def parse(text: str) -> list[Condition]:
    """The conditions that a text joins by `and`; raises `SpecError` where it does not read."""
    tokens, found = _Tokens(text), []
    while True:
        found += _condition(tokens)
        if tokens.at("end"):
            return found
        if not tokens.take("and"):
            hint = "; `or` between values is `in (1, 2)`, and else needs --sql" if tokens.next.says("or") else ""
            tokens.refuse(f"`and` or the end is expected there{hint}")


class _Tokens:
    """What is still to be read of a text."""

    def __init__(self, text: str) -> None:
        self._text, self._rest, place = text, [], 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if not match:
                place += len(text[place:]) - len(text[place:].lstrip())
                self._rest = [_Token("end", "", place)]
                self.refuse("a quote or sign stands there that does not read")
            kind = match.lastgroup or ""
            quoted = kind in ("single", "double")
            self._rest.append(_Token("quoted" if quoted else kind, match[kind], match.start(kind) - quoted))
            place = match.end()
        self._rest.append(_Token("end", "", len(text)))

    @property
    def next(self) -> _Token:
        return self._rest[0]

    def at(self, *kinds: str) -> bool:
        """True if the next token is of one of these kinds."""
        return self.next.kind in kinds

    def pop(self) -> str:
        """The text of the next token, which is then read."""
        return self._rest.pop(0).text

    def take(self, word: str) -> bool:
        """Read a mark or word if it comes next; False, and nothing read, if it does not."""
        return self.next.says(word) and self.pop() is not None

    def refuse(self, expected: str) -> NoReturn:
        """Raise a `SpecError` that points at the next token."""
        place = self.next.place
        where = f"from {shown(self._text[place:])} on" if self._text[place:].strip() else "at its end"
        raise SpecError(
            "A condition must read like `lam > 1`, `objective = jepa`, `L in (2, 3)` or `t_exact is null`, joined by "
            f"`and`, but `{plain(self._text)}` does not {where}: {expected}."
        )


def _condition(tokens: _Tokens) -> list[Condition]:
    if not tokens.at("word"):
        tokens.refuse("the name of a column is expected there")
    column = tokens.pop()
    if tokens.at("sign"):
        sign = tokens.pop()
        return [Condition(column, _SAME.get(sign, sign), (_value(tokens),))]
    if tokens.take("is"):
        sign = "not null" if tokens.take("not") else "null"
        if not tokens.take("null"):
            tokens.refuse("`null` or `not null` is expected there")
        return [Condition(column, sign)]
    if tokens.take("between"):
        low = _value(tokens)
        if not tokens.take("and"):
            tokens.refuse("`and` and the upper end are expected there")
        return [Condition(column, ">=", (low,)), Condition(column, "<=", (_value(tokens),))]
    sign = "!=" if tokens.take("not") else "="
    if not tokens.take("in"):
        tokens.refuse("a comparison is expected there: =, !=, <, <=, >, >=, `in`, `between` or `is`")
    return [Condition(column, sign, _values(tokens))]


def _values(tokens: _Tokens) -> tuple[str, ...]:
    """Values in parentheses, separated by commas."""
    if not tokens.take("("):
        tokens.refuse("a list like `(1, 2)` is expected there")
    found = [_value(tokens)]
    while tokens.take(","):
        found.append(_value(tokens))
    if not tokens.take(")"):
        tokens.refuse("a comma or the closing parenthesis is expected there")
    return tuple(found)


def _value(tokens: _Tokens) -> str:
    if not tokens.at("word", "quoted"):
        tokens.refuse("a number or word is expected there")
    return tokens.pop()
