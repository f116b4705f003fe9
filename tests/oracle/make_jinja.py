#!/usr/bin/env python3
"""Makes tests/oracle/data/jinja.json: what jinja2, set up as transformers sets it up for chat templates, makes of small templates.

    python tests/oracle/make_jinja.py            (needs jinja2 and transformers: the environment of `make oracles`)

A case is {template, context, expected} or {template, context, error: the exception, line: of a syntax error}. What is
left out on purpose: what prints an address or a Python object (generators, methods), integers beyond 64 bits that are
computed with or written in another base than ten, and where hybrid is laxer than jinja2 (length of a generator, names
for arguments that Python wants without)."""
import datetime, json, os, sys
import transformers.utils.chat_template_utils as chat

class Frozen(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2025, 7, 10, 12, 0, 0)

chat.datetime = Frozen

CONTEXT = {"d": {"a": 1, "b": [1, "x"], "c": None, "e": True}, "messages": [{"role": "user", "content": "c"}]}

SMALL = [
 "{% for i in [1,2,3] %}[{{ x }}]{% set x = i %}{% endfor %}",
 "{% set x=9 %}{% for i in [1,2,3] %}[{{ x }}]{% set x = i %}{{x}}{% endfor %}{{x}}",
 "{% macro m() %}{{ x }}{% endmacro %}{% set x=1 %}{{ m() }}{% set x=2 %}{{ m() }}",
 "{% set x=1 %}{% macro m() %}{{ x }}{% set x=5 %}{{x}}{% endmacro %}{{ m() }}{{ x }}",
 "{% for i in [1,2] %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}",
 "{% macro m() %}{{ loop }}{% endmacro %}{% for i in [1] %}{{ m() }}{% endfor %}",
 "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1,2,z=3) }}",
 "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1,2) }}",
 "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m }}",
 "{{ x.y.z }}", "{{ x.y }}", "{{ none.foo }}", "{{ (1).foo }}", "{{ 'a'.foo is defined }}","{{ 'a'[5] }}","{{ [1][7] is defined }}","{{ [1]['x'] is defined}}",
 "{{ x() }}","{{ 'a' + none }}","{{ 1 + none }}","{{ x + 1 }}","{{ 'a' ~ none ~ x }}","{{ 'a' * 3 }}","{{ [1]*2 }}","{{ 1/2 }}","{{ 4/2 }}","{{ 2**10 }}","{{ 2**-1 }}","{{ 7 % -3}}","{{ -7 % 3 }}","{{ 1//0 }}",
 "{{ d.items }}","{{ d.items() }}","{{ d.keys() }}","{{ d.values()|list }}","{{ [1,2]|map('string') }}","{{ [3,1]|reverse }}","{{ 'abc'|reverse }}","{{ {'a':1}|items }}","{{ {'a':1}.items()|list }}",
 "{{ range(200000) }}","{{ namespace(a=1) }}","{{ dict(a=1) }}","{{ 1 is number }}{{ true is number }}{{ true is integer }}{{ true == 1 }}{{ 1.0 == 1 }}",
 "{{ 1 < 2 < 3 }}{{ 3 > 2 > 2 }}","{{ 'a' < 1 }}","{{ 'b' in {'b':1} }}{{ 1 in 'abc' }}","{{ x in [1] }}","{{ 1 in x }}","{{ 1 in 5 }}",
 "{{ 'a\\x41\\u00e9\\101\\q' }}","{{ 1e3 }}{{ 1.5e-7 }} {{ 1_000 }} {{ 0x1F }} {{ 100000000000000000000.0 }}","{{ 1.0|int }} {{ '1e3'|float}} {{ '0x1F'|int(0,16)}}",
 "{{ 'x' if false }}|","{{ ('x' if false) is defined }}","{{ (1,) }}{{ () }}{{ 1,2 }}","{{ [1,2,3][::-1] }}{{ 'abc'[::-1] }}","{{ 5|string|length }}","{{ 'a,b'|list }}",
 "{{ [1,2,3]|sum }} {{ [1.5,2]|sum }} {{ [[1],[2]]|sum(start=[]) }}","{{ 3.7|round }} {{ 2.5|round }} {{ 3.14159|round(2) }} {{ 1234|round(-2) }} {{ 2.1|round(0,'ceil') }}",
 "{{ ['a','B']|join(', ', attribute='x') }}","{{ [{'a':1},{'a':2}]|join(',',attribute='a') }}","{{ [1,2,3,4]|batch(3,'x')|list }}","{{ [1,2,3,4]|slice(3)|list }}","{{ [{'a':1,'b':2},{'a':1,'b':3}]|groupby('a') }}",
 "{{ [none,1,'']|select|list }}","{{ [1,2,3]|select('odd')|list }}","{{ [1,2,3]|reject('gt',1)|list }}","{{ [1,2]|map('add',1)|list }}","{{ 'a'|foo }}","{% if false %}{{ 'a'|foo }}{% endif %}ok","{% if 1 is foo %}{% endif %}",
 "{{ 'Hello World foo'|truncate(9) }}|{{ 'Hello World foo'|truncate(9,true) }}|{{ 'a b'|wordcount }}|{{ '<a>'|e }}|{{ '<a href=\"x\">'|escape }}","{{ '%s and %05d %.2f %r %x %%'|format('a',42,3.14159,'q',255) }}","{{ '%s' % 'a' }} {{ '%d-%d' % (1,2) }}",
 "{{ '{} {1}'.format(1,2) }}","{{ '{} {} {x}'.format(1,'b',x=3) }}","{{ 'a{:>5}b'.format(1) }}",
 "{% set ns = namespace() %}{% set ns.a.b = 1 %}","{% set d = {} %}{% set d.x = 1 %}","{% set ns=namespace(x=1) %}{% set ns.x, y = 2, 3 %}{{ ns.x }}{{ y }}",
 "{{ [1,2].append(3) }}","{{ d.update({'z':1}) }}","{{ d.pop('a') }}","{{ [].index(1) }}",
 "{% for a in d %}{{ a }}{{ loop.index }}{{ loop.length }}{{ loop.last }}{{ loop.previtem }}{{ loop.nextitem }};{% endfor %}","{% for k,v in d|dictsort %}{{ k }}={{ v }},{% endfor %}","{% for k in 'héy' %}{{ k }},{% endfor %}","{% for x in none %}{% endfor %}","{% for x in 5 %}{% endfor %}","{% for a,b in [1] %}{% endfor %}","{% for a,b in [[1]] %}{% endfor %}",
 "{{ loop }}","{% for i in [1,[2,[3]]] recursive %}{{ loop(i) if i is iterable else i }},{% endfor %}","{% for i in range(5) if i is odd %}{{ loop.index }}{{ i }}{{ loop.changed(i) }}{{ loop.cycle('a','b') }}{% endfor %}",
 "{{ 'a' 'b' }}","{{ x | default('q') | upper }}","{{ none | default('q') }}","{{ '' | default('q', true) }}","{{ 'abc'|first }}{{ [1,2]|last }}{{ []|first }}|","{{ 'aBc'.swapcase() }}{{ 'hello world'.title() }}{{ \"it's\".title() }}{{ \"it's a-b\"|title }}",
 "{{ '\\n a\\t'|trim|tojson }}{{ 'xxaxx'|trim('x') }}{{ 'xyaxy'.strip('yx') }}","{{ 'a\\nb'.splitlines() }}{{ 'abc'.find('c') }}{{ 'a-b-c'.rsplit('-',1) }}{{ 'a.b'.partition('.') }}","{{ 'éA'.upper() }}{{ 'ß'.upper() }}{{ 'ÀÉ'|lower }}","{{ \"it's\" }}{{ [\"it's\", 'a\"b', 'a\\nb', 'é', '\\x00'] }}",
 "{{ x|tojson }}","{{ 1.0|tojson }}{{ 1e100|tojson }}{{ (1,2)|tojson }}{{ {1:2, none:3, true:4}|tojson }}","{{ 'é\"\\\\/\\u2028<>&'|tojson }}","{{ {'b':[],'a':{}}|tojson(indent=2) }}","{{ [1,[2]]|tojson(indent=1) }}",
 "{{ 'a' is string and 'a' is sequence and 'a' is iterable }}{{ {} is mapping }}{{ {} is sequence }}{{ x is iterable }}{{ 1 is iterable }}{{ none is none}}","{{ 3 is divisibleby 3 }}{{ 3 is divisibleby(2) }}{{ 1 is sameas 1 }}{{ 'x' is in ['x'] }}{{ 'x' is eq 'x' }}{{ range is callable }}",
 "{% generation %}a{% endgeneration %}","{% with a=1, b=2 %}{{ a+b }}{% endwith %}{{ a }}","{% print 1 %}","{% do 1 %}","{% set x | upper %}abc{% endset %}{{ x }}","{% filter upper | trim %} a{{1}} {% endfilter %}|","{% set x %}  a {% endset %}{{ x }}|",
 "{% call(u) m() %}{% endcall %}","{% raw %}{{ x }}{% endraw %}","{{ caller }}","{{ 1 if }}","{{ }}","{% if %}","{% endif %}","{% foo %}","{{ 'abc }}","{{ (1 }}","{% if 1 %}","a {# x","{{ 1 2 }}","{{ a. }}","{% for x in y %}","{{ [1,2 }}","{% raw %}a",
 "{{ 'a'.__class__ }}","{{ ''.__class__.__mro__ }}","{{ ({'a':1}).get('b','c') }}{{ {'a':1}['a'] }}{{ {'a':1}.a }}","{{ [1,2,3][1:] }}{{ (1,2,3)[:2] }}{{ 'abc'[-2:] }}{{ 'abc'[1] }}{{ 'abc'[-1] }}{{ [1][-2] is defined }}",
 "{{ {'items': 5}.items }}|{{ {'items': 5}['items'] }}|{{ {'zz': 5}['items'] is defined}}","{{ 1 and none }}{{ not x }}{{ [] or 'e' }}","{{ 'a' == 'a' != 'b' }}", "{{ [1,2] < [1,3] }}{{ [1] == (1,) }}","{{ 1.5|int }}{{ '  12 '|int }}{{ '12.7'|int }}{{ none|int }}{{ 'x'|int('d') }}{{ []|int(5) }}","{{ -3|abs }}{{ (-3)|abs }}", "{{ not 1 in [2] }}", "{{ - 3 ** 2 }}{{ 2 ** 3 ** 2 }}", "{{ 1 ~ 2 + 3 }}", "{{ 'a' in 'abc' and 'z' not in 'abc' }}", "{{ messages[0]['content'] }}", "{{ 'x'|indent(2, true) }}|{{ 'a\\n\\nb'|indent('>>') }}", "{{ [1,2,3]|max }}{{ ['b','A']|min }}{{ []|max }}", "{{ ['b','A','a']|unique|list }}{{ [{'a':1},{'a':1}]|unique(attribute='a')|list }}", "{{ {'a':{'b':3}}|attr('a') }}|{{ [{'a':{'b':3}}]|map(attribute='a.b')|list }}{{ [{}]|map(attribute='a', default='z')|list }}",
 "{% set a, b = [1,2,3] %}","{{ '3' * '2' }}", "{{ 'abc'|length }}{{ x|length }}", "{{ 5|length }}", "{{ 'a'|upper|lower }}{{ 1|upper }}{{ none|trim }}{{ none|string }}", "{{ 'abc'|replace('b', 1) }}", "{{ [1,'a',none,true,1.5,x]|join('-') }}", "{{ 'abc'|join('-') }}", "{{ 'Ab' is lower }}{{ '1'.isdigit() }}{{ 'ab'.isalpha() }}{{ ' '.isspace() }}", "{{ 1 is true }}{{ true is true}}", "{{ strftime_now('%Y') | length }}", "{{ raise_exception('boo') }}", "{{ [x,y]==[y,x] }} {{ x == y }} {{ x == none }}", "{% for m in [1,2,3] %}{% if loop.first %}{% continue %}{% endif %}{{ m }}{% break %}{% endfor %}", "{% break %}", "{% macro a(x) %}{% for i in x %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(i) a([1,2]) %}<{{ i }}>{% endcall %}","{% if x is defined and x.y %}{% else %}no{% endif %}", "{{ [1,2]|first + 1 }}", "{{ 'a'.join(['x','y']) }}{{ ','.join([1]) }}","{{ dict([('a',1)], b=2) }}{{ dict({'a':1}) }}", "{{ {'a':1} == {'a':1.0} }}", "{{ {**{}} }}", "{{ [*[1]] }}", "{{ {'a':1}|length }}{{ {'a':1}|list }}{{ {'a':1,'b':2}|first }}", "{{ (x for x in y) }}", "{{ [i for i in y] }}", "{{ lambda: 1 }}", "{{ x|selectattr('a')|list }}", "{{ 1 if x else 2 if y else 3 }}", "{{ 'a' | default }}|{{ zz|default }}|", "{{ now() }}", "{{ 'a' ~ 1.0 ~ true ~ [1,'b'] }}", "{{ 1 == '1' }}", "{{ 2 | pprint }}{{ ('a','b')|pprint }}", "{{ 'x y'|urlencode }}", "{{ 5 // 2 * 2.0 }}{{ 5.5 % 2 }}{{ -5.5 // 2 }}", "{{ 'a\nb' }}", "{{ '''a''' }}", "{{ \"a\\\nb\" }}",

 # formats, numbers, text
 "{{ '%5.1f|%-6s|%+d|%x|%%' % (3.14159, 'ab', 7, 255) }}", "{{ '%(a)s-%(b)s' % {'a': 1, 'b': 2} }}", "{{ '%s %s' % (1,) }}", "{{ '%d' % 'x' }}",
 "{{ '{:08.3f}|{:<6}|{:^7}|{:+}|{:,}|{:x}|{!r}|{{}}'.format(3.14159, 'ab', 'mid', 5, 1234567, 255, 'q') }}", "{{ '{a} {b!r}'.format(a=1, b='x') }}", "{{ '{}'.format() }}",
 "{{ 0.1 + 0.2 }} {{ 1e16 }} {{ 1e15 }} {{ 123456789.123 }} {{ 5e-324 }} {{ 1.7976931348623157e308 }} {{ 1e22 }} {{ 0.0001 }} {{ 0.00001 }}", "{{ 1e400 }} {{ -1e400 }}",
 "{{ 3.0 }} {{ 3.10 }} {{ 100.0 }} {{ 2.5e10 }} {{ 1/3 }} {{ 2/3 }} {{ 10/4 }} {{ 1e100 }}", "{{ 7.0 // 2 }} {{ -7 // 2.0 }} {{ 7 % 2.5 }} {{ -7 % 2.5 }} {{ 2 ** 0.5 }} {{ 2 ** 62 }}",
 "{{ 'ÄÖÜ ñ Ж'|lower }} {{ 'äöü ñ ж ÿ'|upper }} {{ 'éa ñb'|title }} {{ 'ÉA'|capitalize }}", "{{ 'ǆ'|length }}{{ '👋🏽'|length }}{{ '日本語'[1] }}{{ '日本語'[::-1] }}{{ '日本語'[1:] }}{{ '日本語'.find('語') }}",
 "{{ 'a,b,,c'.split(',') }} {{ ' a  b '.split() }} {{ 'a b c d'.split(' ', 2) }} {{ 'a b c d'.rsplit(None, 2) }} {{ ' a b '.rsplit(None, 1) }} {{ ''.split() }} {{ ''.split(',') }}",
 "{{ 'abcabc'.replace('b', '') }} {{ 'aaa'.replace('a', 'b', 2) }} {{ 'abc'.replace('', '-') }}", "{{ 'abc'.center(8, '*') }}|{{ 'abc'.ljust(5) }}|{{ 'abc'.rjust(5, '0') }}|{{ '-42'.zfill(6) }}|{{ 'abc'|center(9) }}|{{ 'abcd'.center(7, '*') }}|{{ 'abc'.center(6, '*') }}",
 "{{ 'a.b.c'.rpartition('.') }} {{ 'abc'.partition('x') }} {{ 'abc'.rpartition('x') }}", "{{ 'prefix-x'.removeprefix('prefix-') }} {{ 'x.py'.removesuffix('.py') }}", "{{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('bc') }} {{ ''.startswith('') }}",
 "{{ 'abc'.index('z') }}", "{{ 'banana'.count('an') }} {{ 'banana'.rfind('an') }} {{ 'banana'.find('an', 2) }} {{ 'banana'.find('an', 0, 2) }} {{ 'aaa'.count('') }}", "{{ 'Hello World'.swapcase() }} {{ 'x1'.isalnum() }} {{ ''.isalpha() }} {{ 'A1'.isupper() }} {{ '1'.isupper() }} {{ 'a'.isascii() }}",
 "{{ ' \t\n\r\x0b\x0cx\u00a0\u2003'|trim }}|", "{{ 'a\r\nb\rc\nd'.splitlines() }} {{ 'a\n'.splitlines(true) }}", "{{ 'x' * 0 }}|{{ 'x' * -1 }}|{{ 3 * 'ab' }}|{{ [1, 2] * 2 }}", "{{ (1, 2) + (3,) }} {{ [1] + [2] }}", "{{ [1] + (2,) }}", "{{ 'a' + 1 }}", "{{ none + 'a' }}",
 # containers, comparison
 "{{ [1, [2, {'a': 'b\\'c'}], (3,), none, true, 1.0, 'x\"y'] }}", "{{ {'a': {'b': []}, 1: 2, none: (1, 2), true: 'x'} }}", "{{ {} }}{{ [] }}{{ () }}", "{{ {'a': 1, 'a': 2} }} {{ {1: 'a', 1.0: 'b', true: 'c'} }}", "{{ {[]: 1} }}", "{{ {(1, 2): 3}[(1, 2)] }} {{ {(1, 2): 3} }}",
 "{{ 'a' < 'b' < 'c' }} {{ 'B' < 'a' }} {{ 'é' > 'z' }} {{ (1, 'a') < (1, 'b') }} {{ [1, 2] >= [1] }}", "{{ none < 1 }}", "{{ [1] < ['a'] }}", "{{ {} < {} }}", "{{ 1 == 1.0 == true }} {{ 'a' == 1 }} {{ none == none }} {{ [] == () }} {{ {} == [] }}", "{{ 2 in [1, 2.0] }} {{ none in [none] }} {{ 'a' in ('a',) }} {{ [1] in [[1]] }} {{ 'b' in d }} {{ (1) in (1,) }}", "{{ [] in {} }}",
 "{{ d.get('zz') }} {{ d.get('zz', 5) }} {{ d.get('a') }} {{ d['zz'] is defined }} {{ d.zz is defined }}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d.keys() %}{{ k }}{% endfor %}{% for v in d.values() %}{{ v }}{% endfor %}", "{{ d.items()|list|length }} {{ d|items|list|last }}",
 "{{ [3, 1, 2]|sort }} {{ [3, 1, 2]|sort(reverse=true) }} {{ ['b', 'A', 'c']|sort }} {{ ['b', 'A', 'c']|sort(case_sensitive=true) }} {{ [[2, 'a'], [1, 'b']]|sort }} {{ 'hello'|sort|join }}", "{{ [1, 'a']|sort }}", "{{ [{'a': 2}, {'a': 1}]|sort(attribute='a') }}", "{{ [3, 1]|min }} {{ [3, 1]|max }} {{ 'hello'|max }} {{ [{'a': 2}, {'a': 1}]|min(attribute='a') }}",
 "{{ [1, 2, 3, 4, 5]|batch(2)|list }} {{ range(7)|slice(3)|list }} {{ range(7)|slice(3, 'x')|list }} {{ range(4)|slice(2, 'x')|list }}", "{% for g in [{'t': 'b', 'n': 1}, {'t': 'a', 'n': 2}, {'t': 'B', 'n': 3}]|groupby('t') %}{{ g.grouper }}:{{ g.list|map(attribute='n')|join(',') }};{% endfor %}{% for t, l in [{'t': 1}]|groupby('t') %}{{ t }}{{ l }}{% endfor %}",
 "{{ ['a', 'b']|map('upper')|list }} {{ [1.5, 2.5]|map('round')|list }} {{ ['a-b', 'c-d']|map('replace', '-', '+')|list }} {{ [[1, 2], [3]]|map('length')|sum }} {{ [[1, 2], [3]]|map('first')|list }}", "{{ [1, 2, 3]|select('>', 1)|list }} {{ [1, 2]|reject('equalto', 2)|list }} {{ [{'a': 1}, {}]|selectattr('a', 'defined')|list }} {{ [{'a': 1}, {'a': 2}]|rejectattr('a', 'in', [2])|list }} {{ [{'a': {'b': 1}}]|selectattr('a.b')|list }}",
 "{% set it = [1, 2]|map('string') %}{% for x in it %}{{ x }}{% endfor %}|{% for x in it %}{{ x }}{% endfor %}|{% if []|select %}true{% endif %}", "{{ [0, 1]|first }} {{ 'abc'|last }} {{ {'a': 1}|first }} {{ []|last }}|{{ (1, 2)|reverse|list }} {{ 'añb'|reverse }}",
 "{{ [1, 2, 3]|join(', ') }} {{ ['a', none, 1.0]|join }} {{ {'a': 1, 'b': 2}|join('+') }} {{ 'abc'|list|join('.') }} {{ []|join(',') }}|", "{{ {'b': 2, 'A': 1, 'c': 0}|dictsort }} {{ {'b': 2, 'a': 3}|dictsort(by='value') }} {{ {'b': 2, 'A': 1}|dictsort(true) }} {{ {'b': 2, 'a': 1}|dictsort(reverse=true) }}",
 "{{ ['a', 'A', 'b']|unique|list }} {{ ['a', 'A']|unique(case_sensitive=true)|list }} {{ [1, 1.0, true, 2]|unique|list }}", "{{ [1, 2, 3][1:] }} {{ [1, 2, 3][-1] }} {{ [1, 2, 3][:-1] }} {{ 'hello'[1:4] }} {{ 'hello'[::2] }} {{ 'hello'[-3:-1] }} {{ [1, 2, 3, 4][3:0:-1] }} {{ [1, 2, 3][5:] }} {{ [1, 2, 3][-9:2] }} {{ 'abc'[2:0:-2] }} {{ [1,2,3][none:2] }}", "{{ [1][::0] }}", "{{ 'abc'['x':] }}",
 # JSON
 "{{ {'a': [1, 2.5, none, true, 'x\\ny'], 'é': '日本'}|tojson }}", "{{ {'a': [1, {'b': 2}], 'c': {}, 'd': []}|tojson(indent=4) }}", "{{ {'b': 1, 'a': 2}|tojson(sort_keys=true) }} {{ 'é👋'|tojson(ensure_ascii=true) }} {{ [1, {'a': 2}]|tojson(separators=(',', ':')) }} {{ [1, 2]|tojson(indent='\t') }}", "{{ '\\x00\\x1f\\x7f\\u2028<>&'|tojson }} {{ '/'|tojson }}", "{{ d|tojson }} {{ d.items()|list|tojson }} {{ 1e16|tojson }} {{ 0.1|tojson }}", "{{ raise_exception|tojson }}", "{{ {(1, 2): 3}|tojson }}", "{{ namespace()|tojson }}",
 # statements
 "{% for x in [1, 2, 3] -%}\n  {{ x }}\n{%- endfor %}|", "{% if false %}a{% elif 0 %}b{% elif 'x' %}c{% else %}d{% endif %}", "{% for x in [] %}a{% else %}empty{% endfor %}", "{% for x in range(10) if x % 2 == 0 and x > 2 %}{{ loop.index }}:{{ x }}{{ ',' if not loop.last }}{% else %}none{% endfor %}",
 "{% for a in [1, 2] %}{% for b in [3, 4] %}{{ a }}{{ b }}{{ loop.index }}{{ loop.depth }} {% endfor %}{{ loop.index }}{% endfor %}", "{% for a in [1, 2] %}{% set outer = loop %}{% for b in 'xy' %}{{ outer.index }}{{ b }}{% endfor %}{% endfor %}", "{% for i in range(5) %}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.previtem|default('-') }}{{ loop.nextitem|default('-') }};{% endfor %}",
 "{% for item in [{'n': 1, 'c': [{'n': 2, 'c': []}, {'n': 3, 'c': [{'n': 4, 'c': []}]}]}] recursive %}{{ item.n }}@{{ loop.depth }}({{ loop(item.c) }}){% endfor %}", "{% for x, (y, z) in [[1, [2, 3]]] %}{{ x }}{{ y }}{{ z }}{% endfor %}", "{% set ns = namespace(n=0, l=[]) %}{% for x in [1, 2, 3] %}{% set ns.n = ns.n + x %}{% set ns.l = ns.l + [x] %}{% endfor %}{{ ns.n }}{{ ns.l }}", "{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns['b'] }}{{ ns.c is defined }}",
 "{% macro f(a, b='x', c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }} {{ f(1, 2) }} {{ f(1, c=3) }} {{ f(b=5, a=6) }} {{ f() }}|", "{% macro f(x) %}{% if x > 0 %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(zz=1) }}", "{% macro a() %}[{{ caller() if caller else '' }}]{% endmacro %}{% call a() %}x{% endcall %}{{ a() }}", "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, *[2, 3], k=4, **{'z': 5}) }}",
 "{% macro t(n) -%}\n  <{{ n }}>\n{%- endmacro %}\n{% set out %}{{ t('a') }}{{ t('b') }}{% endset %}{{ out|length }}{{ out }}", "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}{% for i in [1] %}{% set x = 3 %}{% endfor %}{{ x }}{% with %}{% set x = 4 %}{% endwith %}{{ x }}{% filter upper %}{% set x = 5 %}{% endfilter %}{{ x }}{% generation %}{% set x = 6 %}{% endgeneration %}{{ x }}", "{% with a = 1, b = a|default('u') %}{{ a }}{{ b }}{% endwith %}", "{% set a, (b, c) = 1, (2, 3) %}{{ a }}{{ b }}{{ c }}", "{% set x | replace('a', 'b') | upper %}banana{% endset %}{{ x }}",
 "{% for i in [1, 2, 3, 4, 5] %}{% if i == 2 %}{% continue %}{% endif %}{% for k in [1, 2] %}{% if k == 2 %}{% break %}{% endif %}{{ i }}{{ k }} {% endfor %}{% if i == 4 %}{% break %}{% endif %}{% endfor %}", "{% for i in [1] %}{% macro f() %}{% break %}{% endmacro %}{% endfor %}",
 "a\n  {% if true %}\n  b\n  {% endif %}\nc", "  {%+ if true %}x{% endif %}", "{% if true +%}\nx{% endif %}", "x  {#- c -#}  y {# d #}\nz", "{{ 'a' -}}  \n b {{- 'c' }}", "a\r\nb\rc\n{% if 1 %}\r\nd{% endif %}\n", "{% raw %} {{ x }} {% if %} {% endraw %}x", "  {%- raw -%}  {{ y }}  {%- endraw -%}  z", "\n\n", "a\n\n", "{{ 'a\nb' }}\n", "x\n    {#\n comment #}\n    y", "   {{ 1 }}\n   {% set x = 1 %}\n   {{ x }}", "\t {% if 1 %}\n\ta{% endif %}", "a {% if 1 %} b {% endif %} c\n {% if 1 %} d", 
 "{{ strftime_now('%Y-%m-%d %H:%M:%S %j %a %A %b %B %d %-d %-m %I %p %y %U %w %%') }}", "{{ strftime_now('%d %b %Y') }}", "{{ messages[0].role }}{{ messages[-1]['content'] }}{{ messages|length }}{{ messages[5] is defined }}", "{{ not d.zz }} {{ d.zz or 'x' }} {{ d.c is none }} {{ d.e is true }} {{ d.a is number }}", "{{ d.zz.y }}", "{{ zz.y is defined }}", "{{ d.a() }}", "{{ 'abc'.nope() }}", "{{ 5.5 is integer }}{{ 5.0 is float }}{{ 'x' is lower }}{{ 4 is even }}{{ 1 is odd }}{{ 'tojson' is filter }}{{ 'nope' is filter }}{{ 'odd' is test }}", "{{ x is not defined and 1 is not none }} {{ not x is defined }}",
 "{{ 1 if true }}{{ 2 if false }}|{{ 3 if false else 4 if false else 5 }}", "{{ true and 'a' or 'b' }} {{ none or 0 }} {{ not true == false }}", "{{ -1|abs }} {{ -1.5|abs }} {{ 2 * -3 }} {{ - -3 }} {{ +true }} {{ -true }}", "{{ 1 - 1 }} {{ 1 -1 }} {{ 7//2*3 }} {{ 2+3*4-5 }} {{ (2+3)*4 }} {{ 10 - 2 - 3 }} {{ 'a' ~ 1 + 2 }}", "{{ 017 }}", "{{ 0b101 }} {{ 0o17 }} {{ 1_0.5_0 }} {{ 1.e5 }}", "{{ 1.foo }}", "{{ 'a'\"b\" 'c' }}", "{{ '\\u00e9\\x41\\n\\\\\\'' }}", "{{ \"\\d\\w\" }}",
 "{{ 'The quick brown fox'|truncate(10) }} {{ 'The quick'|truncate(9, true, '..', 0) }} {{ 'The quick brown'|truncate(8, false, '~', 0) }}", "{{ 'one two  three-four'|wordcount }} {{ 'a&b c/d?é'|urlencode }}", "{{ 'a\nb\n\nc'|indent }}|{{ 'a\nb'|indent(2, true) }}|{{ '\na\n'|indent(2, true, true) }}|", "{{ '12abc'|int }} {{ ' 7 '|int }} {{ '-3.9'|int }} {{ 'ff'|int(0, 16) }} {{ '1_000'|int }} {{ '0b11'|int(0, 2) }} {{ '1.5e3'|float }} {{ 'x'|float(2.5) }} {{ '.5'|float }} {{ '5.'|float }} {{ ''|int }} {{ none|float }} {{ 3.99|int }}",
 "{{ 2.675|round(2) }} {{ 0.5|round }} {{ 1.5|round }} {{ -2.5|round }} {{ 3.14159|round(3) }} {{ 42|round }} {{ 1250|round(-2) }} {{ 1350|round(-2) }} {{ 3.2|round(0, 'ceil') }} {{ 3.29|round(1, 'floor') }}", "{{ 'x'|round }}", "{{ 'x'|abs }}", "{{ [1]|sum(start=10) }} {{ [{'a': 1}, {'a': 2}]|sum(attribute='a') }}", "{{ ['a']|sum }}", "{{ 'a'|replace }}", "{{ 'a'|upper(1) }}", "{{ 'a'|indent(foo=1) }}", "{{ '<a href=\"x\">&\\'</a>'|e }} {{ '<b>'|safe }}",
 "{%- for message in messages %}{{ '<|' + message.role + '|>' + message.content + '\n' }}{% endfor %}", "{{ d.b[1] }} {{ d['b'][0] }} {{ d.b.0 }} {{ d.b[-3] is defined }}", "{{ loop is defined }}{% for x in [1] %}{{ loop is defined }}{% endfor %}", "{% set loop = 5 %}{{ loop }}", "{{ range(3)|list }} {{ range(1, 10, 3)|list }} {{ range(5, 0, -2)|list }} {{ range(0)|list }} {{ range(2, 1)|list }}", "{{ range(1, 2, 0) }}", "{{ range('x') }}", "{{ range() }}", "{{ dict(a=1, b=dict(c=2)) }} {{ dict([['x', 1]]) }}",
 "{{ [d, d]|map(attribute='a')|list }} {{ [d]|map(attribute='b.1')|list }} {{ [[1, 2]]|map(attribute=1)|list }} {{ [{}]|map(attribute='q')|list }}", "{{ 'ab' 'cd' ~ 'ef' }}", "{{ [1,2,] }} {{ {'a':1,} }} {{ (1,2,) }}", "{{ 'x' if d.a == 1 and d.b|length == 2 else 'y' }}", "{{ d.b is sequence }}{{ d is mapping }}{{ 'x' is iterable }}{{ 5 is iterable }}{{ d.b is string }}{{ (1,) is sequence }}{{ d.keys() is iterable }}",

 # integers beyond 64 bits, from text and from floats; against floats by their exact values
 "{{ '12345678901234567890'|int }} {{ ' -0_009223372036854775809 '|int }} {{ '٩٢٢٣٣٧٢٠٣٦٨٥٤٧٧٥٨٠٨'|int }} {{ '-9223372036854775808'|int - 0 }} {{ '99999999999999999999'|int(-1, 0) }}",
 "{{ 1e20|int }} {{ 9.22e18|int + 1 }} {{ '%d|%+5d|%i' % (1e300, -9.3e18, 9.22e18) }}", "{% set i = 'inf' %}{{ i|int }} {{ i|int(7) }} {{ ('nan'|float)|int(8) }}", "{% set i = 'inf' %}{{ i|float|int }}", "{% set i = 'inf' %}{{ '%d' % (i|float) }}", "{% set i = 'nan' %}{{ '%d' % (i|float) }}",
 "{% set b = '12345678901234567890123'|int %}{{ '{:.3e}|{:,.1f}|{:%}|{:n}|{:+,d}'.format(b, b, b, b, b) }} {{ '%.2f|%g|%d|%s' % (b, b, b, b) }}", "{{ '{:z}'.format('12345678901234567890123'|int) }}",
 "{% set b = '9223372036854775808'|int %}{{ b == 9223372036854775808.0 }}{{ b < 1e300 }}{{ -b > -1e19 }}{{ b <= 9223372036854775808.0 }}{{ {b: 1}[9223372036854775808.0] }}{{ b in [1, b|float] }}{{ -b|float >= -b }}",
 "{{ 9007199254740993 == 9007199254740992.0 }}{{ 9007199254740993 > 9007199254740992.0 }}{{ 1 < 1.5 }}{{ -1 > -1.5 }}{{ {9100000000000000000: 1}[9.1e18] }}{{ [9007199254740993, 9007199254740992.0]|unique|list|length }}",
 # round: by the exact value, half to even; no -0 from ceil and floor
 "{% set b = '99999999999999999999995'|int %}{{ b|round(-1) }} {{ -b|round(-1) }} {{ b|round(-25) }} {{ b|round(0, 'ceil') }} {{ b|round(-2, 'floor') }} {{ '12345678901234567850'|int|round(-2) }}", "{{ '99999999999999999999995'|int|round(0, 'x') }}",
 "{{ 1234567890123456785|round(-1) }} {{ 9223372036854775807|round(-2) }} {{ -25|round(-1) }} {{ -5|round(-1) }} {{ 85.0|round(-1) }} {{ 85.5|round(-1) }} {{ 1.5e20|round(-18) }} {{ true|round(-1) }}",
 "{{ -2.5|round(-1) }} {{ -0.0|round(-1) }} {{ -2.5|round(-1, 'ceil') }} {{ -0.0|round(0, 'ceil') }} {{ -0.0|round(2, 'floor') }} {{ -15|round(-2, 'ceil') }} {{ 1234567890123456789|round(2, 'floor') }}", "{% set i = 'inf' %}{{ i|float|round(0, 'ceil') }}",
 # what has no order has none where it is equal, either
 "{{ [none, none]|min }}", "{{ [{'a': 1}, {'a': 1}]|max }}", "{{ [zz, zz]|min }}", "{{ [{'a': 1}, {'a': 2}]|min(attribute='b') }}",
 "{{ {'a': none, 'b': none}|dictsort(by='value') }}", "{{ [[none], [none]]|groupby(0) }}",
 "{{ [none]|min }} {{ [none, none]|sort }} {{ [[none], [none]]|max }} {{ [{}, {}]|sort(attribute='a') }} {{ {'a': none}|dictsort(by='value') }}",
 # corners of format() and %
 "{{ '{:<08}|{:^08}|{:x<08}|{:08}|{:=+8}'.format(5, -7, 2.5, -1, 3) }} {{ '{:<08}|{:08}'.format('aé', 'b') }} {{ '{:5c}|'.format(65) }}", "{{ '%08.2f|%-8d|%08s' % ('inf'|float, 5, 'a') }}",
 "{{ '{:.0}|{:.0}|{:.1}|{:.3}|{:.3}|{:#.3}|{:.19}|{:.5}|{:.2}'.format(2.5, -0.0, 10.0, 123.456, -250.0, 250.0, 9.3e18, 12345.0, 99.9) }}", "{{ '%(b)s %s' % {'b': 1} }}", "{{ '%5%' % [1] }}",
 "{% set g = [1, 2]|map('string') %}{{ g|reverse }}{% for x in [1, 2, 3] %}{{ loop }}{{ [loop] }}{% endfor %}",
 # flags, widths and modifiers of strftime as in glibc
 "{{ strftime_now('%_d|%0e|%^a|%^B|%#p|%#b|%P|%^P|%Ey|%Ex|%Od|%5Y|%-5m|%_5H|%05k|%-j|%10A|%010A|%_3n|%10%|%C') }}", "{{ strftime_now('%10F|%^c|%^10r|%012T|%10R|%-10D|%_12X|%f|%-f|%z|%5z|%Z|%5Z|%s|%15s') }}",
 "{{ strftime_now('%Q|%5Q|%^q|%EA|%Oa|%OY|%Eb|%Ob|%E%|%#Ea|%#Eb|%+|%v|%10') }} {{ strftime_now('%') }} {{ strftime_now('%-') }} {{ strftime_now('%%z%E') }}",
] + [
 '{% if x',
 '{% if x %}',
 '{{ x',
 '{{ x }',
 '{% for x in %}{% endfor %}',
 '{% for in y %}{% endfor %}',
 '{% for x y %}{% endfor %}',
 '{% set %}',
 '{% set 1 = 2 %}',
 '{% set x %}',
 '{% macro %}{% endmacro %}',
 '{% macro f( %}{% endmacro %}',
 '{% macro f(a=1, b) %}{% endmacro %}',
 '{% call f %}{% endcall %}',
 '{% else %}',
 '{% endfor %}',
 '{% if 1 %}{% endfor %}',
 '{{ 1 + }}',
 '{{ * }}',
 '{{ a b }}',
 '{{ a.1b }}',
 '{{ a[ }}',
 '{{ a[1 }}',
 '{{ (1, }}',
 '{{ {1} }}',
 "{{ {'a': } }}",
 '{{ f(a=1, 2) }}',
 '{{ f(**a, b) }}',
 '{{ f(,) }}',
 "{{ 'a",
 '{{ "a',
 '{{ a | }}',
 '{{ a | 1 }}',
 '{{ a is }}',
 '{{ a is b is c }}',
 '{{ $ }}',
 '{{ a ? b }}',
 '{{ not }}',
 '{{ a if }}',
 '{# a',
 
 'line 1',
 'line 2 {{ ) }}',
 'a',
 '{% if x %}',
 '{% endif %}',
 '  {% foo %}',
 '{{ a }}',
 '{% for x in y %}',
 '  {{ x ] }}',
 '{% break %}',
 '{{ ] }}',
 '{{ 1 = 2 }}',
 '{{ a; b }}',
 '{{ 1..2 }}',
 '{% if true %}{% else %}{% else %}{% endif %}',
 '{% set a.b.c = 1 %}',
 '{% with a %}{% endwith %}',
 '{% filter %}{% endfilter %}',
 '{% set true = 1 %}',

]

# Whole templates in the manner of real ones, each with several conversations.
CHATS = {
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "alternating": """{{ bos_token }}{% for message in messages %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
    {{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}
{% endif %}
{% if message['role'] == 'user' %}
    {{ '[INST] ' + message['content'] | trim + ' [/INST]' }}
{% elif message['role'] == 'assistant' %}
    {{ message['content'] + eos_token }}
{% else %}
    {{ raise_exception('Only user and assistant roles are supported!') }}
{% endif %}
{% endfor %}""",
    "headers": """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start|>system<|end|>\n\n" }}
{%- if tools is not none %}
    {{- "Environment: tools\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\n\n" }}
{{- system_message }}{{- "<|eot|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start|>' + message['role'] + '<|end|>\n\n' + message['content'] | trim + '<|eot|>' }}
    {%- elif 'tool_calls' in message %}
        {%- for call in message.tool_calls %}
            {{- '<call>' + call.function.name + '(' + (call.function.arguments | tojson) + ')</call>' }}
        {%- endfor %}
    {%- else %}
        {{- "<tool>" }}{{ message.content | tojson }}{{ "</tool>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|end|>\n\n' }}
{%- endif %}""",
    "thinking": """{%- set ns = namespace(multi_step=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step and message.role == "user" and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- if tools %}
    {{- '<tools>' }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>" }}
{%- endif %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "assistant" %}
        {%- set reasoning = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning = message.reasoning_content %}
        {%- elif '</think>' in content %}
            {%- set reasoning = content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or reasoning) %}
            {{- '<|a|>\n<think>\n' + reasoning.strip('\n') + '\n</think>\n\n' + content.lstrip('\n') }}
        {%- else %}
            {{- '<|a|>\n' + content }}
        {%- endif %}
    {%- else %}
        {{- '<|' + message.role[0] + '|>\n' + content }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|a|>\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %}""",
    "macros": """{%- macro type_of(spec) -%}
  {%- if spec.type == "array" -%}
    {{- "list[" + type_of(spec['items']) + "]" -}}
  {%- elif spec.type == "object" -%}
    {%- if spec.properties -%}
      {{- "{" -}}{%- for name, p in spec.properties|dictsort -%}{{- name ~ ": " ~ type_of(p) -}}{{- ", " if not loop.last -}}{%- endfor -%}{{- "}" -}}
    {%- else -%}dict{%- endif -%}
  {%- elif spec.enum is defined -%}
    {{- spec.enum | map('tojson') | join(' | ') -}}
  {%- else -%}
    {{- {'string': 'str', 'integer': 'int', 'number': 'float', 'boolean': 'bool'}.get(spec.type, 'Any') -}}
  {%- endif -%}
{%- endmacro -%}
{%- for tool in tools or [] %}
{%- set f = tool.function %}
def {{ f.name }}({% for n, p in f.parameters.properties.items() %}{{ n }}: {{ type_of(p) }}{% if n not in f.parameters.required|default([]) %} = None{% endif %}{{ ', ' if not loop.last }}{% endfor %}):
    \"\"\"{{ f.description | indent(4) }}\"\"\"
{% endfor %}
{%- for m in messages %}{{ m.role|upper }}: {% if m.content is string %}{{ m.content }}{% elif m.content is iterable %}{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% else %}<{{ part.type }}>{% endif %}{% endfor %}{% endif %}
{% endfor %}""".replace('\\"', '"'),
}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "Says the weather.\nOf a <place> & time.", "parameters": {"type": "object",
    "properties": {"place": {"type": "string"}, "days": {"type": "array", "items": {"type": "integer"}}, "unit": {"type": "string", "enum": ["c", "f"]},
    "more": {"type": "object", "properties": {"b": {"type": "number"}, "a": {"type": "boolean"}}}}, "required": ["place"]}}}]
CONVERSATIONS = [
    [{"role": "user", "content": " Hello? "}],
    [{"role": "system", "content": " Be brief.\n"}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nYes"}, {"role": "user", "content": "Größe 👋 \"x\""}],
    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}, {"role": "assistant", "content": "d", "reasoning_content": "why"}],
    [{"role": "user", "content": "Weather?"}, {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"place": "Zürich", "days": [1, 2]}}}]},
        {"role": "tool", "content": "{\"t\": 20.5}"}, {"role": "assistant", "content": "Fine."}],
    [{"role": "user", "content": [{"type": "text", "text": "see "}, {"type": "image"}]}],
]


def run(template, context):
    case = {"template": template, "context": context}
    try:
        case["expected"] = chat._cached_compile_jinja_template(template).render(**context)
    except Exception as e:
        case["error"] = type(e).__name__
        if case["error"] == "TemplateSyntaxError":
            case["line"] = e.lineno
    return case


def main():
    cases = [c for c in (run(t, CONTEXT) for t in SMALL) if " at 0x" not in c.get("expected", "")]
    for case in cases:                                 # the common context is said once
        del case["context"]
    chats = []
    for name, template in CHATS.items():
        for i, messages in enumerate(CONVERSATIONS):
            for tools, extra in ((None, {}), (TOOLS, {"enable_thinking": False, "date_string": "1 Jan 2020"})):
                prompt = messages[-1]["role"] == "user"
                case = run(template, {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": prompt, "bos_token": "<s>", "eos_token": "</s>", **extra})
                case.update(template=name, context={"conversation": i, "tools": tools is not None, "add_generation_prompt": prompt})
                chats.append(case)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "jinja.json")
    note = "made by tests/oracle/make_jinja.py with jinja2 %s as transformers %s sets it up; the clock stands at 2025-07-10T12:00:00" % (chat.jinja2.__version__, sys.modules["transformers"].__version__)
    with open(path, "w") as f:
        f.write(json.dumps({"about": note, "context": CONTEXT, "templates": CHATS, "tools": TOOLS, "conversations": CONVERSATIONS, "extra": {"enable_thinking": False, "date_string": "1 Jan 2020"}}, ensure_ascii=False)[:-1] + ', "cases": [\n')
        f.write(",\n".join(json.dumps(c, ensure_ascii=False) for c in cases))
        f.write('\n], "chats": [\n')
        f.write(",\n".join(json.dumps(c, ensure_ascii=False) for c in chats))
        f.write("\n]}\n")
    print(len(cases), "cases,", len(chats), "chats,", sum("error" in c for c in cases), "errors,", os.path.getsize(path), "bytes")


main()
