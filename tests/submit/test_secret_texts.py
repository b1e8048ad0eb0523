"""Secret values within texts: found where a name shows them, and nothing else is touched."""

from __future__ import annotations

import json
import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from daskjob.submit.records.secret_texts import without_secrets

SECRET = "hunter2"


def cleaned(text: str, *, is_code: bool = False) -> str:
    return without_secrets(text, lambda name: f"<{name}>", is_code=is_code)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Assignments of a shell.
        (
            "export DB_PASSWORD=hunter2; python a.py",
            "export DB_PASSWORD=<DB_PASSWORD>; python a.py",
        ),
        ("API_KEY='hunter2 x' python a.py", "API_KEY='<API_KEY>' python a.py"),
        ('A=1 GITHUB_TOKEN="hunter2" && run', 'A=1 GITHUB_TOKEN="<GITHUB_TOKEN>" && run'),
        ("A=1\nSECRET=hunter2\n", "A=1\nSECRET=<SECRET>\n"),
        # Options.
        ("tool --password hunter2 --out x", "tool --password <--password> --out x"),
        ("tool --api-key=hunter2", "tool --api-key=<--api-key>"),
        ("tool --token 'hunter2 x' y", "tool --token '<--token>' y"),
        # URLs.
        ("curl 'https://h/x?token=hunter2&n=3'", "curl 'https://h/x?token=<token>&n=3'"),
        ("https://h/x?n=3&access_key=hunter2#top", "https://h/x?n=3&access_key=<access_key>"),
        ("https://b.blob/x?sv=1&sig=hunter2&e=2", "https://b.blob/x?sv=1&sig=<sig>&e=2"),
        ("redis://:hunter2@cache:6379/0", "redis://<>@cache:6379/0"),
        # JSON and YAML.
        ('{"db": {"password": "hunter2", "n": 3}}', '{"db": {"password": "<password>", "n": 3}}'),
        ('[{"token": "hunter2\\"x"}]', '[{"token": "<token>"}]'),
        ('curl -d \'{"secret": "hunter2"}\' u', 'curl -d \'{"secret": "<secret>"}\' u'),
        ('x = "{\\"apiKey\\": \\"hunter2\\"}"', 'x = "{\\"apiKey\\": \\"<apiKey>\\"}"'),
        ("{'password': 'hunter2', 'n': n()}", "{'password': \"<password>\", 'n': n()}"),
        ("db:\n  password: hunter2\n  n: 3\n", 'db:\n  password: "<password>"\n  n: 3\n'),
        ("- token: |\n    hunter2\n    x\n- b\n", '- token: "<token>"\n- b\n'),
        ("cmd: [x, --password=hunter2]\npass: x\n", None),
    ],
)
def test_secret_value_is_replaced_by_the_name_that_shows_it(
    text: str, expected: str | None
) -> None:
    found = cleaned(text)
    assert SECRET not in found
    assert expected is None or found == expected
    assert cleaned(found) == found


@pytest.mark.parametrize(
    "text",
    [
        "PASSWORD=$OTHER python a.py",
        "PASSWORD=${OTHER} TOKEN=$(cat /run/token) run",
        "connect(password=os.environ['PW'], token=token)",
        "connect(password=get_password(), x=1)",
        "password=",
        "use_auth=true token=none secret=''",
        "--max-tokens 5 --tokenizer bert --sort-key id",
        "--password-file /run/pw --secret-name db --tokens=7",
        "tool --password --verbose",
        "class A:\n    token: str\n    n: int\n",
        "def f(token: str) -> None:\n    secret: int = 3\n",
        "Tokens: see the text. Password reset: by mail.",
        "https://h/x?page=2&signal=3&key=id",
        "postgres://db/x user@host:/path git@host:x.git",
        '{"n": 3, "tokens": [1, 2], "passwordFile": "/run/pw"}',
        '{"password": null, "auth": true, "secret": "$SECRET"}',
        "name: x\nsecretName: db\n",
        "if a == b: c = d",
        "x=1;y=2",
        "",
    ],
)
def test_other_text_is_left_alone(text: str) -> None:
    assert cleaned(text) == text


#: Words that are no names of secrets.
WORDS = st.text(string.ascii_letters + string.digits + "._/-+%", min_size=1, max_size=12).filter(
    lambda word: cleaned(f"{word}=x") == f"{word}=x" and not word.startswith("-")
)
PUNCTUATION = st.sampled_from([" ", "\n", "; ", " = ", "=", ": ", ", ", " | ", "(", ")", "'", '"'])


@given(st.lists(st.tuples(WORDS, PUNCTUATION), max_size=20))
def test_text_without_names_of_secrets_is_left_alone(parts: list[tuple[str, str]]) -> None:
    text = "".join(word + mark for word, mark in parts)
    assert cleaned(text) == text


@given(st.text(max_size=200))
def test_any_text_is_handled(text: str) -> None:
    cleaned(text)


VALUES = st.text(string.ascii_letters + string.digits + "!#%+/._-", min_size=7, max_size=20).map(
    lambda value: f"v{value}"
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abc :#-", max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "names"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES, PLAIN, st.sampled_from(["password", "API_KEY", "client-secret", "token"]))
def test_documents_lose_the_secret_member_and_nothing_else(
    value: str, other: object, name: str
) -> None:
    for write in (json.dumps, yaml.safe_dump, lambda found: json.dumps(found, indent=2)):
        text = write({"x": other, "deep": [{name: value, "y": other}]})
        found = cleaned(text)
        assert yaml.safe_load(found) == {"x": other, "deep": [{name: f"<{name}>", "y": other}]}


@given(VALUES, st.sampled_from(["PASSWORD", "API_KEY", "X_TOKEN", "my.secret"]))
def test_assignment_and_option_lose_the_value(value: str, name: str) -> None:
    for text in (f"a; {name}={value}; b", f"run --{name} {value} -v", f"h?a=1&{name}={value}&b"):
        assert value not in cleaned(text)


def test_code_keeps_what_may_be_an_expression() -> None:
    code = 'connect(password="hunter2", url="https://me:hunter3@h")'
    assert cleaned(code, is_code=True) == 'connect(password="hunter2", url="https://<>@h")'
