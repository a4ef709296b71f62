"""Templates are bounded in time and size, and give the same text every time."""

import time
from dataclasses import replace

import pytest
from kits.matrix import covering
from kits.task_kit import task

from zobench.errors import ZobenchError
from zobench.tasks import sandbox

ITEM = {"sentence": "a fine film", "label": 1}

ENDLESS = [
    "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
    "{% for a in range(200) %}{% for b in range(200) %}x{% endfor %}{% endfor %}",
    "{% for a in range(10**9) %}{% endfor %}",
    "{{ range(10**8) | list }}",
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ [sentence] * 10**9 }}",
    "{{ 10**(10**10) }}",
    "{{ (9**9999)**9999 }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ '%1000000000d' | format(1) }}",
    "{{ sentence | center(10**9) }}",
    "{{ sentence | indent(10**9) }}",
    "{{ sentence.ljust(10**9) }}",
    "{{ sentence.zfill(10**9) }}",
    "{{ '\t'.expandtabs(10**9) }}",
    "{% set a = sentence %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "{% set a = sentence %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "{% set a = [1] %}" + "{% set a = [a, a] %}" * 60 + "{{ a }}",
    "{% set a = 'x' * 9000 %}{% set b = a.replace('x', a) %}{% set c = b.replace('x', a) %}{{ c }}",
    "{% set a = 'x' * 9000 %}{{ a | replace('x', a) | replace('x', a) }}",
    "{% set a = 'x' * 9000 %}{{ a.join(a.join(a)) }}",
    "{% set a = 'x' * 9000 %}{% for i in range(9999) %}{{ a }}{% endfor %}",
    "{% set a = 9**9 %}" + "{% set a = a * a %}" * 60 + "{{ a }}",
    "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
    "{{ (['x' * 10**6] * 300) | join | length }}",
    "{% for a in range(100) %}{% set b = 'x' * 10**7 %}{% endfor %}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "x" * 70_000,
]


@pytest.mark.parametrize(
    ("source", "key"),
    covering(ENDLESS, ["prompt", "text"]),
    ids=lambda said: said[:40].encode("unicode_escape").decode(),
)
def test_what_has_no_end_is_ended(source, key):
    began = time.process_time()
    with pytest.raises(ZobenchError, match=rf"task sst2: template\.{key}: ") as e:
        replace(task("sst2"), **{key: source}).render(ITEM, 3)
    assert "\n" not in str(e.value) and time.process_time() - began < 5


@pytest.mark.parametrize(
    "source",
    [
        "{{ ('x' * 1000).join('y' * 10**6) | length }}",
        "{{ ('y' * 10**6) | join('x' * 1000) | length }}",
        "{{ ([1] * 9 * 10**5) | join('x' * 1000) | length }}",
        "{{ ('\t' * 10**6).expandtabs(9999) | length }}",
        "{{ ('x\n' * 10**6) | indent(9999) | length }}",
        "{{ ('x\n' * 10**6) | indent('y' * 9999) | length }}",
        "{{ ('x ' * 10**6) | wordwrap(1, wrapstring='y' * 9999) | length }}",
        "{{ ('a' * 10**6).translate({97: 'b' * 9999}) | length }}",
        "{{ ('a' * 10**6).replace('a', 'b' * 9999) | length }}",
        "{{ ('a' * 10**6) | replace('a', 'b' * 9999) | length }}",
        "{{ ('{0}' * 9999).format('x' * 10**6) | length }}",
        "{{ ('{a}' * 9999).format_map({'a': 'x' * 10**6}) | length }}",
        "{{ ('%(a)s' * 9999) | format(a='x' * 10**6) | length }}",
        "{{ ('%(a)s' * 9999 % {'a': 'x' * 10**6}) | length }}",
    ],
)
def test_what_would_be_too_long_is_not_made_to_find_that_out(source):
    """What was made first is told as `a text or list of more than`."""
    with pytest.raises(ZobenchError, match=r"the template makes a text of more than 16,777,216 characters"):
        replace(task("sst2"), prompt=source).render(ITEM)


@pytest.mark.parametrize(
    "call",
    [
        "sentence | center({})",
        "sentence | center(width={})",
        "sentence.zfill({})",
        "'%{}d' % 1",
        "'{:{}}'.format(1)",
        "'%{}d' | format(1)",
        "range({}) | list",
    ],
)
def test_a_width_or_count_is_at_most_ten_thousand(call):
    text = "{{ (" + call + ") | length }}"
    assert replace(task("sst2"), prompt=text.replace("{}", "10000")).render(ITEM).prompt == "10000"
    with pytest.raises(
        ZobenchError, match=r"the number 10001 in a template is beyond 10,000|a range of more than 10,000"
    ):
        replace(task("sst2"), prompt=text.replace("{}", "10001")).render(ITEM)


@pytest.mark.parametrize(
    "value",
    [
        "[a, a]",
        "(a, a)",
        "{1: a, 2: a}",
        "[[a]] * 2",
        "[a] + [a]",
        "a ~ a",
        "dict(b=a, c=a)",
        "[a] | slice(2, a) | list",
    ],
)
def test_a_value_is_weighed_as_it_is_made_and_not_where_it_is_printed(value):
    """So that nothing that takes it, a comparison or a filter, has more before it than the bounds allow."""
    with pytest.raises(ZobenchError, match=r"a text or list of more than 16,777,216 characters or entries"):
        replace(task("sst2"), prompt="{% set a = 'x' * 9 * 10**6 %}{% set b = " + value + " %}" + "x").render(ITEM)


@pytest.mark.parametrize(("inner", "ends"), [(197, True), (198, False)])
def test_one_rendering_has_twenty_thousand_turns(inner, ends):
    ours = replace(
        task("sst2"),
        prompt="{% for a in range(100) %}{% for b in range(%d) %}{% endfor %}{% endfor %}".replace("%d", str(inner)),
    )
    if ends:
        assert ours.render(ITEM).prompt == ""
    else:
        with pytest.raises(ZobenchError, match="more than 20,000 turns of loops and operations for one item"):
            ours.render(ITEM)


def test_all_that_one_rendering_makes_is_bounded_together(monkeypatch):
    monkeypatch.setattr(sandbox, "MADE", 1000)
    many = "{% for i in range(9) %}{% set a = 'x' * 100 %}{% endfor %}"
    assert replace(task("sst2"), prompt=many + "ok").render(ITEM).prompt == "ok"
    with pytest.raises(ZobenchError, match="makes texts and lists of more than 1,000 characters and entries in all"):
        replace(task("sst2"), prompt=many.replace("9", "11") + "ok").render(ITEM)


@pytest.mark.parametrize("answer", ["range(10**8) | list", "[label] * 10**9", "'a' * 10**9", "10**(10**10)"])
def test_expressions_too(answer):
    with pytest.raises(ZobenchError, match=r"task sst2: template\.answer: "):
        replace(task("sst2"), answer=answer).render(ITEM, 3)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ sentence | random }}", "No filter named 'random'"),
        ("{{ [sentence, label] | random }}", "No filter named 'random'"),
        ("{{ lipsum() }}", "unknown field 'lipsum'"),
        ("{{ sentence | map('upper') }}", "generator has no text of its own"),
        ("{{ sentence.upper }}", "has no text of its own"),
        ("{{ range }}", "has no text of its own"),
        ("{{ sentence | truncate(2) }}", "expected length >= 3, got 2"),
        ("{% macro m() %}x{% endmacro %}{{ m() }}", "a macro has no place here"),
        ("{% include 'x' %}", "a include has no place here"),
        ("{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}", "a recursive loop has no place here"),
    ],
)
def test_what_would_give_another_text_each_time_is_refused(source, said):
    with pytest.raises(ZobenchError, match=said):
        replace(task("sst2"), prompt=source).render(ITEM, 3)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "{% for w in sentence.split() %}{{ loop.index }}{{ w }}{% if not loop.last %},{% endif %}{% endfor %}",
            "1a,2fine,3film",
        ),
        ("{{ sentence.split() | map('upper') | join('-') }}", "A-FINE-FILM"),
        ("{{ sentence ~ label ~ '!' }}", "a fine film1!"),
        ("{{ (sentence ~ label) | length }}", "12"),
        ("{{ '%s/%d' % (sentence, label) }}", "a fine film/1"),
        ("{{ 'ab' * 3 + 'c' }}", "abababc"),
        ("{% for a in range(100) %}{% for b in range(100) %}{% endfor %}{% endfor %}ok", "ok"),
        ("{{ sentence | replace('a', 'bb') | center(20) }}", "    bb fine film    "),
        ("{{ [1, 'x', none] }}{{ 1.5 }}{{ true }}", "[1, 'x', None]1.5True"),
        ("{% set n = namespace(t=0) %}{% for w in [1, 2] %}{% set n.t = n.t + w %}{% endfor %}{{ n.t }}", "3"),
        ("{% for a in [] %}x{% else %}none{% endfor %}", "none"),
        ("{{ 'x' * 10000 }}", "x" * 10000),
        ("{% for a, b in [(1, 2), (3, 4)] %}{{ a + b }}{% endfor %}{% set a, b = 5, 6 %}{{ a * b }}", "3730"),
        (
            "{{ {'a': [1, (2,)]} }}{{ {'a': 7}['a'] }}{{ 'film' in sentence.split() }}{{ 3 in [1, 2] }}",
            "{'a': [1, (2,)]}7TrueFalse",
        ),
        ("{{ '{}/{b}'.format(sentence, b=label) }}{{ '{a}'.format_map({'a': 1}) }}", "a fine film/11"),
        ("{{ 'abc'.translate({97: 'xy', 98: none}) }}{{ ', '.join(sentence.split()) }}", "xyca, fine, film"),
    ],
)
def test_what_is_small_is_as_jinja_has_it(source, text):
    assert replace(task("sst2"), prompt=source).render(ITEM).prompt == text


def test_each_item_has_bounds_of_its_own():
    ours = replace(task("sst2"), prompt="{% for a in range(9000) %}{% endfor %}{{ sentence }}", sfc=None)
    assert {ours.render(ITEM, index).prompt for index in range(5)} == {"a fine film"}
