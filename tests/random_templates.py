"""Chat templates that nobody would write: every construct of Jinja that could look into a content, put together at random."""

from __future__ import annotations

from random import Random

_WORDS = (
    "'a'", "'</think>'", "'<'", "'\\n'", "' '", "''", "'hello'", "'b<c>'", "'A'", "'%s'", "'{}'", "'0'", "'y'",
)  # fmt: skip
_CONTENTS = (
    "m.content", "m['content']", "(m | attr('content'))", "m.get('content')", "messages[0].content", "ns.kept",
    "kept", "messages[-1]['content']", "(messages | last).content", "(messages | first)['content']",
    "m.values() | list | last", "loop.previtem.content", "dict(m).content", "dict(x=m.content).x", "[m.content][0]",
    "said(m)", "block",
)  # fmt: skip
_FILTERS = (
    "trim", "trim('\\n')", "trim('<')", "upper", "lower", "title", "capitalize", "string", "safe", "e", "escape",
    "forceescape", "replace('<', '')", "replace('a', 'b')", "default('x')", "d('x', true)", "first", "last", "length",
    "count", "list", "reverse", "join", "join('')", "wordcount", "wordwrap(5)", "truncate(9, true)", "center(9)",
    "indent", "int", "float", "abs", "round", "urlize", "urlencode", "striptags", "tojson", "pprint", "sort | join",
    "unique | join", "format('x')", "batch(2) | list", "slice(2) | list", "map('upper') | join", "select | join",
    "reject | list", "min", "max", "random", "sum", "dictsort", "items | list", "groupby('x')", "xmlattr",
    "filesizeformat", "attr('upper')",
)  # fmt: skip
_METHODS = (
    "strip()", "lstrip()", "rstrip()", "strip('\\n')", "strip('<')", "upper()", "lower()", "swapcase()", "title()",
    "split('</think>')[-1]", "split('<')[0]", "split()[0]", "split('a', 1) | join", "rsplit('<')[0]",
    "splitlines()[0]", "replace('<', '')", "replace('<', '', 1)", "removeprefix('<')", "removesuffix('>')",
    "partition('<')[0]", "zfill(9)", "format('x')", "join(['a', 'b'])", "expandtabs()", "encode()", "casefold()",
    "capitalize()", "center(9)", "ljust(9)", "__str__()", "__class__", "watch", "is_content", "format", "strip",
    "content", "maketrans('a', 'b')",
)  # fmt: skip
_TESTS = (
    "defined", "undefined", "none", "string", "mapping", "iterable", "sequence", "number", "callable", "upper",
    "lower", "boolean", "true", "false", "integer", "float", "escaped", "filter", "test", "sameas 'y'", "eq 'hello'",
    "ne 'a'", "in 'abc'", "in ['a', 'hello']", "equalto 'hello'", "lt 'b'", "gt 'b'", "divisibleby 3", "odd",
    "sameas kept",
)  # fmt: skip


class TemplateMaker:
    """Makes templates.

    Args:
        seed: another one makes other templates.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def template(self) -> str:
        """A template with a loop over messages that prints contents."""
        body = "".join(self._statement(2) for _ in range(self._random.randint(1, 3)))
        printed = self._pick("{{ m.content }}", "{{ m['content'] | trim }}", "{{ self_said(m) }}", "{{- kept -}}", "")
        return (
            "{% macro said(m) %}{{ m.content }}{% endmacro %}"
            "{% macro self_said(m) %}{% set x = m.content %}{{ x }}{% endmacro %}"
            "{% macro wrapped() %}[{{ caller() }}]{% endmacro %}"
            "{% set ns = namespace(kept='', n=0) %}{% set cycle = cycler('a', 'b') %}{% set comma = joiner(', ') %}"
            "{% for m in messages %}{% set kept = m.content %}{% set block %}{{ m.content }}{% endset %}"
            f"<{{{{ m.role }}}}>{body}{printed}\n{{% endfor %}}"
        )

    def _pick(self, *choices: str) -> str:
        return self._random.choice(choices)

    def _statement(self, depth: int) -> str:
        if depth == 0:
            return f"{{{{ {self._text(1)} }}}}"
        inner, text, is_so = self._statement(depth - 1), self._text(depth), self._bool(depth)
        return self._pick(
            f"{{{{ {text} }}}}",
            f"{{{{ 'X' if {is_so} }}}}",
            f"{{{{ 'X' if {is_so} else '' }}}}",
            f"{{% if {is_so} %}}X{{% else %}}{inner}{{% endif %}}",
            f"{{% if {is_so} %}}{inner}{{% elif {self._bool(1)} %}}Y{{% endif %}}",
            f"{{% set kept = {text} %}}{inner}",
            f"{{% set ns.kept = {text} %}}{inner}",
            f"{{% set kept %}}{inner}{{% endset %}}{{{{ kept }}}}",
            f"{{% set kept | {self._pick(*_FILTERS)} %}}{inner}{{% endset %}}{{{{ 'X' if {self._bool(1)} }}}}",
            f"{{% filter {self._pick(*_FILTERS)} %}}{inner}{{% endfilter %}}",
            f"{{% for x in {self._list(depth)} %}}{{{{ x if loop.first }}}}{{% endfor %}}",
            f"{{% for x in {self._list(depth)} if {is_so} %}}.{{% endfor %}}",
            f"{{% for x in {self._list(depth)} %}}{{{{ 'X' if loop.changed(x) }}}}{{% endfor %}}",
            f"{{% for x in {text} %}}.{{% endfor %}}",
            f"{{% call wrapped() %}}{inner}{{% endcall %}}",
            f"{{% with x = {text} %}}{{{{ 'X' if x == {self._word()} }}}}{{% endwith %}}",
            f"{{% autoescape true %}}{inner}{{% endautoescape %}}",
            f"{{% generation %}}{inner}{{% endgeneration %}}",
            f"{{% if {is_so} %}}{{{{ raise_exception({self._text(1)}) }}}}{{% endif %}}{inner}",
            f"{{% if {is_so} %}}{{% continue %}}{{% endif %}}{inner}",
            f"{{% if {is_so} %}}{{% break %}}{{% endif %}}{inner}",
            f"{{% if comma() or {is_so} %}}{{{{ cycle.next() }}}}{{% endif %}}",
            f"{{% set a, b = {text}, {self._word()} %}}{{{{ 'X' if a == b }}}}",
        )

    def _word(self) -> str:
        return self._pick(*_WORDS)

    def _text(self, depth: int) -> str:
        if depth == 0:
            return self._pick(*_CONTENTS, *_CONTENTS, *_WORDS)
        one, other = self._text(depth - 1), self._text(depth - 1)
        return self._pick(
            one,
            self._pick(*_CONTENTS),
            f"({one} ~ {other})",
            f"({one} + {other})",
            f"({one} | {self._pick(*_FILTERS)})",
            f"({one} | {self._pick(*_FILTERS)} ~ '')",
            f"{self._pick(*_CONTENTS)}.{self._pick(*_METHODS)}",
            f"({one} if {self._bool(depth - 1)} else {other})",
            f"({one} or {other})",
            f"({one} and {other})",
            f"({one})[{self._pick('0', '-1', ':5', '1:', '::-1', 'kept')}]",
            f"({self._word()} % {one})",
            f"({one} * 2)",
            f"({self._word()}.format({one}))",
            f"({self._word()}.join([{one}, {other}]))",
            f"({self._list(depth - 1)} | join)",
            f"({self._list(depth - 1)} | {self._pick('first', 'last', 'string', 'tojson', 'length', 'max')})",
            f"({self._word()} | format({one}))",
            f"{{{one}: 1}}[{other}]",
            f"dict(a={one}).{self._pick('a', 'b', 'items() | list', 'values() | join')}",
            f"cycler({one}).next()",
            f"joiner({one})()",
            f"strftime_now({one})",
            f"namespace(x={one}).x",
            f"(messages | map(attribute='content') | {self._pick('join', 'first', 'list | last')})",
            f"(messages | selectattr('content', 'equalto', {one}) | list | length)",
            f"(''.maketrans({one}, {one}) | length)",
            f"({self._word()} | safe + {one})",
        )

    def _list(self, depth: int) -> str:
        one = self._text(max(depth - 1, 0))
        return self._pick(
            f"[{one}, {self._word()}]",
            f"[{one}]",
            f"({one}, {one})",
            f"{one}.split({self._word()})",
            "messages",
            "messages[1:]",
            "messages | reverse",
            "(messages + messages)",
            f"{{'a': {one}}}.values()",
            f"[{one}] * 2",
            f"[{one}, {self._word()}] | {self._pick('sort', 'unique', 'reverse', 'list', 'batch(1)', 'select', 'map')}",
            f"(messages | {self._pick('groupby', 'unique', 'sort', 'map')}(attribute='content'))",
        )

    def _bool(self, depth: int) -> str:
        one, other = self._text(max(depth - 1, 0)), self._text(max(depth - 1, 0))
        a_list = self._list(max(depth - 1, 0))
        return self._pick(
            one,
            f"not {one}",
            f"{one} {self._pick('==', '!=', '<', '>', '<=', '>=')} {other}",
            f"{self._word()} {self._pick('in', 'not in')} {one}",
            f"{one} {self._pick('in', 'not in')} {self._word()}",
            f"{one} {self._pick('in', 'not in')} {a_list}",
            f"{self._word()} in {self._word()} == {one}",
            f"{self._word()} == {self._word()} in {one}",
            f"{one} in ({self._word()} | {self._pick('safe', 'e', 'upper')})",
            f"({self._word()} | safe) == {one}",
            f"{one} is {self._pick('', 'not ')}{self._pick(*_TESTS)}",
            f"{one}.{self._pick('startswith', 'endswith')}({self._word()})",
            f"{one}.{self._pick('startswith', 'endswith')}(({self._word()}, {self._word()}))",
            f"{one}.{self._pick('isdigit', 'isupper', 'isalpha', 'isspace', 'isidentifier')}()",
            f"{one}.{self._pick('find', 'count', 'index')}({self._word()}) > 0",
            f"({one} | length) > {self._pick('0', '5', '30')}",
            f"loop.changed({one})",
            f"m {self._pick('in', 'not in')} messages[1:]",
            f"m == {{'role': 'user', 'content': {self._word()}}}",
            f"m == {self._pick('messages[-1]', 'messages[0]', 'loop.previtem')}",
            f"{one}{self._pick('.text', '.content', '.striptags')} is defined",
            f"{a_list} == [{self._word()}]",
            f"{a_list}.count({self._word()}) > 0",
            f"{one} is sameas {other}",
            f"({one}, {other}) == ('a', {self._word()})",
        )


_RECORD_CONTENTS = (
    "m.content", "m.reasoning_content", "m.reasoning_content", "(m.thinking or '')", "m.name", "m.tool_call_id",
    "ns.kept", "c.function.name", "c.function['name']", "c.id", "(c.function.arguments | tojson)",
    "(c.function.arguments | tojson)", "(c.function | tojson)", "(m.tool_calls | tojson)", "(tools | tojson)",
    "(c.function.arguments | tojson(indent=2))", "(messages[1].reasoning_content or '')",
    "({'a': c.function.arguments, 'n': c.function.name} | tojson)", "kept", "(c.function.arguments.city or '')",
    "c.function.arguments['city']", "(tools[0].function.name)", "(tools[0] | tojson)",
    "(tools[0].function | tojson(ensure_ascii=true))", "([c.id, m.content] | tojson)", "said(m)", "block",
)  # fmt: skip
_OBJECTS = (
    "c.function.arguments", "c.function", "c", "tools[0]", "tools[0].function", "tools[0].function.parameters",
    "(m.tool_calls or [])", "(tools or [])", "(messages | map(attribute='tool_calls') | list)", "m",
)  # fmt: skip
_OBJECT_TESTS = (
    "string", "mapping", "iterable", "sequence", "defined", "none", "number", "boolean", "callable", "sameas 1",
    "in []",
)  # fmt: skip


class RecordTemplateMaker(TemplateMaker):
    """Makes templates that print reasoning, calls of tools, their results and definitions."""

    def template(self, *, is_chat: bool = False) -> str:
        """A template with a loop over messages, and over the calls of each.

        Args:
            is_chat: whether it prints all that is said, between control tokens, whatever else it does, and is fit for
                conversations of any length.
        """
        body, calls = ("".join(self._statement(2) for _ in range(self._random.randint(0, 2))) for _ in range(2))
        printed = self._pick(
            "{{ m.content }}", "{{ m.content | trim }}", "{{ m.reasoning_content }}{{ m.content }}", ""
        )
        called = self._pick("{{ c.function.name }}{{ c.function.arguments | tojson }}", "{{ c.function | tojson }}", "")
        if is_chat:
            printed, called = self._content(), self._call()
        begin, end = ("<|im_start|>{{ m.role }}\n", "<|im_end|>\n") if is_chat else ("<{{ m.role }}>", "\n")
        first_call = "(m.tool_calls or messages[1].tool_calls)[0]"
        if is_chat:
            first_call = "m.tool_calls[0] if m.tool_calls else {'id': '', 'function': {'name': '', 'arguments': {}}}"
        prompt = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}" if is_chat else ""
        return (
            "{% macro said(m) %}{{ m.content }}{{ m.reasoning_content }}{% endmacro %}"
            "{% macro wrapped() %}[{{ caller() }}]{% endmacro %}"
            "{% set ns = namespace(kept='', n=0) %}{% set cycle = cycler('a', 'b') %}{% set comma = joiner(', ') %}"
            f"{{% for m in messages %}}{{% set kept = m.content %}}{{% set c = {first_call} %}}"
            "{% set block %}{{ m.content }}{{ m.reasoning_content }}{% endset %}"
            f"{begin}{body}{printed}{{% for c in m.tool_calls or [] %}}{calls}{called}{{% endfor %}}{end}{{% endfor %}}{prompt}"
        )

    def _content(self) -> str:
        """All of a content."""
        return "{{ m.content }}"

    def _call(self) -> str:
        """All of a call."""
        return "{{ c.function.name }}{{ c.function.arguments | tojson }}"

    def _text(self, depth: int) -> str:
        if self._random.random() < 0.6:
            field = self._pick(*_RECORD_CONTENTS)
            return self._pick(field, field, f"({field} | {self._pick(*_FILTERS)})", f"{field}.{self._pick(*_METHODS)}")
        if self._random.random() < 0.1:
            thing = self._pick(*_OBJECTS)
            return self._pick(
                f"({thing} | tojson({self._pick('indent=2', 'sort_keys=true', 'ensure_ascii=true', '')}))",
                f"({thing} | {self._pick('length', 'string', 'list | length', 'items | list', 'first', 'tojson | length')})",
                f"({thing} | tojson)[{self._pick('0', ':5', '1:-1')}]",
                f"({thing}.{self._pick('items()', 'keys()', 'city', 'name', 'text', 'get(0)')} | string)",
                f"({thing} ~ '')",
            )
        return super()._text(depth)

    def _bool(self, depth: int) -> str:
        if self._random.random() < 0.3:
            thing = self._pick(*_OBJECTS)
            return self._pick(
                f"{thing} is {self._pick('', 'not ')}{self._pick(*_OBJECT_TESTS)}",
                thing,
                f"{thing} == {self._pick('{}', 'none', *_OBJECTS)}",
                f"{self._word()} in {thing}",
                f"({thing} | length) > 1",
            )
        return super()._bool(depth)


_PART_BY_PART = (
    "k", "k", "v", "v", "(v | tojson)", "(k ~ v)", "c.function.arguments[k]", "c.function.arguments.get(k)", "loop.index",
    "c.function.arguments[v]", "(c.function.arguments | first)", "(c.function.arguments | length)", "t.function.name",
    "t.function.description", "(t.function.parameters | tojson)", "(t.function | tojson)", "(t | tojson)", "t.function['name']",
)  # fmt: skip
_ITEMS = ("c.function.arguments.items()", "c.function.arguments | items", "c.function.arguments | dictsort")


class PartByPartMaker(RecordTemplateMaker):
    """Makes templates for conversations that print arguments one by one, and fields of definitions; some of them as JSON."""

    def template(self, *, is_chat: bool = True) -> str:
        """As of any records."""
        described = self._pick("", "{{ t.function.description }}", "{{ t.function.description | tojson }}")
        printed = "{{ t.function.name }}" + described + "{{ t.function.parameters | tojson }}"
        defined = "{% for t in tools or [] %}" + self._statement(2) + printed + "{% endfor %}"
        return self._pick(defined, "") + super().template(is_chat=is_chat)

    def _call(self) -> str:
        going = self._pick(
            *("{% for k, v in " + items + " %}" for items in _ITEMS),
            "{% for k in c.function.arguments %}{% set v = c.function.arguments[k] %}",
            "{% for k in c.function.arguments.keys() %}{% set v = c.function.arguments.get(k) %}",
        )
        printed = self._pick(
            "{{ k }}={{ v if v is string else v | tojson }};",
            "{{ k }}={{ v | tojson }};",
            "{{ k }}={{ v | tojson | safe }};",
            "{{ k }}={{ v | string if v is string or v is number else v | tojson | safe }};",
            "{{ k | tojson }}: {{ v | tojson(ensure_ascii=true) }}, ",
        )
        return "{{ c.function.name }}" + going + self._statement(2) + printed + "{% endfor %}"

    def _content(self) -> str:
        return self._pick("{{ m.content }}", "{{ m.content | tojson if m.role == 'tool' else m.content }}")

    def _statement(self, depth: int) -> str:
        """Often none, so that some templates look into nothing."""
        return "" if depth == 2 and self._random.random() < 0.7 else super()._statement(depth)

    def _text(self, depth: int) -> str:
        if self._random.random() < 0.6:
            field = self._pick(*_PART_BY_PART)
            return self._pick(field, field, f"({field} | {self._pick(*_FILTERS)})", f"{field}.{self._pick(*_METHODS)}")
        return super()._text(depth)
