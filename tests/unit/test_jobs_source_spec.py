"""One input made into a request: URLs and JSON specs, good and bad."""

from __future__ import annotations

import base64

import pytest

from paceline.jobs.spec import BadInput, Defaults, Request, read_spec
from paceline.jobs.urls import CheckedURL, Unusable, check_url, is_plain_url, shown

NO_DEFAULTS = Defaults()


def good(text: str, defaults: Defaults = NO_DEFAULTS) -> Request:
    item = read_spec(text.encode(), 7, 9, defaults)
    assert isinstance(item, Request), item
    return item


def why(text: str | bytes) -> str:
    item = read_spec(text.encode() if isinstance(text, str) else text, 7, 9, NO_DEFAULTS)
    assert isinstance(item, BadInput), item
    assert item.why.startswith("line 9: ")
    return item.why.removeprefix("line 9: ")


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8429/items/1?a=b%20c#top",
        "https://a.example",
        "https://a.example?x=1",
        "https://127.0.0.1:80/",
        'http://a.example/a|b"c^`{}<>\\',
        "https://a.example/@me:x",
    ],
)
def test_a_plain_url_is_sent_as_it_is(url: str) -> None:
    """Nothing of a usable ASCII URL is changed, not even what a stricter reader would encode."""
    assert is_plain_url(url.encode())
    assert check_url(url) == CheckedURL(url, None)


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("HTTPS://A.example/X", "https://A.example/X"),
        ("http://[::1]:8429/a", "http://[::1]:8429/a"),
        ("http://[2001:DB8:0::1]/", "http://[2001:db8::1]/"),
        ("http://a.example:65535/", "http://a.example:65535/"),
        ("http://a.example:00080/", "http://a.example:80/"),
        ("http://a.example:/x", "http://a.example/x"),
        ("http://my_host./x", "http://my_host./x"),
        ("https://BÜCHER.example/", "https://xn--bcher-kva.example/"),
        ("https://straße.example/ä?ö=%c3%a4", "https://xn--strae-oqa.example/%C3%A4?%C3%B6=%c3%a4"),
    ],
)
def test_a_url_is_mended_only_where_it_must_be(given: str, sent: str) -> None:
    """Characters beyond ASCII are encoded (IDNA 2008 in the host, UTF-8 elsewhere); the rest stays."""
    assert check_url(given) == CheckedURL(sent, None)


@pytest.mark.parametrize(
    ("given", "user_and_password"),
    [
        ("https://me:p%40ss@a.example/", b"me:p@ss"),
        ("https://me@a.example/", b"me:"),
        ("https://a@b:c@a.example/", b"a@b:c"),
        ("https://m%C3%BC:x:y@a.example/", b"m\xc3\xbc:x:y"),
    ],
)
def test_userinfo_becomes_a_basic_credential(given: str, user_and_password: bytes) -> None:
    """Userinfo leaves the URL and is sent as RFC 7617 says."""
    credential = "Basic " + base64.b64encode(user_and_password).decode()
    assert check_url(given) == CheckedURL("https://a.example/", credential)


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("example.com/1", "does not begin with http:// or https://"),
        ("/items/1", "does not begin with http:// or https://"),
        ("localhost:8080/x", "does not begin with http:// or https://"),
        ("ftp://a.example/", "the scheme 'ftp' cannot be fetched"),
        ("file:///etc/passwd", "the scheme 'file' cannot be fetched"),
        ("https:/a.example/", "has no // behind its scheme"),
        ("https://", "there is no host"),
        ("https:///x", "there is no host"),
        ("https://me:pw@/x", "there is no host"),
        ("https://a.example/a b", "a space in the URL 'https://a.example/a b' at position 20"),
        ("https://a.example/\tb", r"the control character '\t'"),
        ("https://a.example/\x7f", r"the control character '\x7f'"),
        ("https://a.exam\u00a0ple/", r"the control character '\xa0'"),
        ("https://a.example:0/", "the port of"),
        ("https://a.example:65536/", "the port of"),
        ("https://a.example:8o/", "the port of"),
        ("https://a.example:٣/", "the port of"),
        ("https://[::1/", "not an IPv6 address"),
        ("https://[fe80::1%25eth0]/", "not an IPv6 address"),
        ("https://[::1]x/", "is not a port"),
        ("https://a..example/", "not a valid host name"),
        ("https://a!b.example/", "not a valid host name"),
        ("https://" + "a" * 64 + ".example/", "not a valid host name"),
        ("https://ä\u3002\u3002b/", "not a valid international name"),
        ("https://a.example\\@evil.example/", "a backslash in the host"),
    ],
)
def test_an_unusable_url_says_what_is_wrong(url: str, part: str) -> None:
    """Each fault has its own message."""
    assert not is_plain_url(url.encode())
    with pytest.raises(Unusable) as caught:
        check_url(url)
    assert part in str(caught.value)
    assert "pw" not in str(caught.value)


def test_messages_show_no_secret() -> None:
    """Userinfo and queries are cut out of what messages show, however malformed the URL."""
    for text in (
        "https//me:secret@a.example/",
        "ftp://me:secret@x@y/?key=secret",
        "me:secret@x#secret",
        "?secret",
    ):
        assert "secret" not in shown(text)


def test_a_spec_takes_every_field() -> None:
    """All fields of a spec reach the request."""
    item = good(
        '{"url": "https://a.example/x?a=1#f", "id": "k", "method": "put", "headers": {"X-A": "b", "X-N": 5, "X-0": null},'
        ' "params": {"q": ["x y", 2], "t": true, "n": null, "é": "&"}, "json": {"a": [1, null]}, "cost": 2.5}'
    )
    assert item.url == "https://a.example/x?a=1&q=x%20y&q=2&t=true&%C3%A9=%26#f"
    assert (item.number, item.id, item.line, item.method, item.cost) == (7, "k", 9, "PUT", 2.5)
    assert item.headers == {"X-A": "b", "X-N": "5", "Content-Type": "application/json"}
    assert item.body == b'{"a":[1,null]}'
    assert item.given == item.url


def test_a_body_makes_a_post_unless_a_method_is_named() -> None:
    """With `json` or `data` and no method, the request is a POST, as with curl."""
    assert good('{"url": "https://a.example/", "data": "x"}').method == "POST"
    assert good('{"url": "https://a.example/", "data": "x", "method": "GET"}').method == "GET"
    assert good('{"url": "https://a.example/", "data": "x"}', Defaults(method="PATCH")).method == "PATCH"
    assert good('{"url": "https://a.example/"}').method == "GET"


def test_data_is_text_as_it_is_or_a_form() -> None:
    """Text goes out as UTF-8 without a content type; an object is form-encoded."""
    text = good('{"url": "https://a.example/", "data": "ä=1"}')
    assert (text.body, text.headers) == ("ä=1".encode(), {})
    form = good('{"url": "https://a.example/", "data": {"a b": "c&", "n": [1, 2.50]}}')
    assert form.body == b"a+b=c%26&n=1&n=2.50"
    assert form.headers == {"Content-Type": "application/x-www-form-urlencoded"}


def test_numbers_are_sent_as_written() -> None:
    """Digits beyond a double's or 64 bits are not rounded on their way, in bodies, queries and forms."""
    number = "0.10000000000000000001"
    item = good(
        f'{{"url": "https://a.example/", "params": {{"p": 123456789012345678901234, "q": 1.10}}, "json": [{number}, 1e300]}}'
    )
    assert item.url == "https://a.example/?p=123456789012345678901234&q=1.10"
    assert item.body == b"[%s,1e300]" % number.encode()


def test_an_own_header_takes_the_place_of_the_common_one() -> None:
    """Names compare without case; a content type that is given is kept; userinfo yields to an own credential."""
    defaults = Defaults(headers={"accept": "text/csv", "Authorization": "Bearer common", "X-B": "1"})
    item = good(
        '{"url": "https://me:pw@a.example/", "headers": {"Accept": "a/b", "content-type": "c/d"}, "json": 1}',
        defaults,
    )
    assert item.headers == {
        "Accept": "a/b",
        "content-type": "c/d",
        "X-B": "1",
        "Authorization": "Basic bWU6cHc=",
    }
    own = good('{"url": "https://me:pw@a.example/", "headers": {"authorization": "Bearer own"}}', defaults)
    assert own.headers == {"accept": "text/csv", "X-B": "1", "authorization": "Bearer own"}
    assert defaults.headers["accept"] == "text/csv"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "is not valid JSON"),
        ('{"url": "https://a.example/"} x', "is not valid JSON"),
        ('{"url": NaN}', "is not valid JSON"),
        (b'{"url": "https://a.example/\xff"}', "not valid"),
        ("{}", "it has no url"),
        ('{"url": null}', "it has no url"),
        ('{"url": 5}', "its url is a number, not text"),
        ('{"url": "x"}', "not an absolute URL"),
        ('{"url": "https://a.example/", "parms": {}}', "there is no field 'parms' (did you mean 'params'?)"),
        (
            '{"url": "https://a.example/", "zzz": 1}',
            "the fields are url, id, method, headers, params, json, data, cost",
        ),
        ('{"url": "https://a.example/", "id": 1.5}', "its id is a decimal number"),
        ('{"url": "https://a.example/", "id": true}', "its id is true or false"),
        ('{"url": "https://a.example/", "id": ""}', "its id is empty text"),
        ('{"url": "https://a.example/", "id": []}', "its id is a list"),
        ('{"url": "https://a.example/", "id": 99999999999999999999}', "its id is a decimal number"),
        ('{"url": "https://a.example/", "method": "GET /"}', "its method"),
        ('{"url": "https://a.example/", "method": "CONNECT"}', "its method"),
        ('{"url": "https://a.example/", "method": 1}', "its method"),
        ('{"url": "https://a.example/", "headers": ["a"]}', "its headers are a list"),
        ('{"url": "https://a.example/", "headers": {"a b": "c"}}', "'a b' is not a header's name"),
        ('{"url": "https://a.example/", "headers": {"a": "b\\r\\nc: d"}}', "holds a control character"),
        ('{"url": "https://a.example/", "headers": {"a": {}}}', "the header 'a' is an object"),
        ('{"url": "https://a.example/", "headers": {"a": "1", "A": "2"}}', "stands there twice"),
        ('{"url": "https://a.example/", "headers": {"Content-Length": "2"}}', "set by the connection itself"),
        ('{"url": "https://a.example/", "params": "a=b"}', "its params are text"),
        ('{"url": "https://a.example/", "params": {"a": {}}}', "'a' in its params is an object"),
        ('{"url": "https://a.example/", "data": 5}', "its data is a number"),
        ('{"url": "https://a.example/", "data": "a", "json": 1}', "both json and data"),
        ('{"url": "https://a.example/", "cost": -1}', "its cost"),
        ('{"url": "https://a.example/", "cost": "2"}', "its cost"),
        ('{"url": "https://a.example/", "cost": true}', "its cost"),
        ('{"url": "https://a.example/", "cost": 1e300}', "its cost"),
        ("[" * 2000 + "]" * 2000, "is not valid JSON"),
        (
            '{"url": "https://a.example/", "params": {}, "json": 1.5, "headers": '
            + '{"a":' * 1200
            + "1"
            + "}" * 1200
            + "}",
            "",
        ),
    ],
)
def test_a_bad_spec_says_what_is_wrong(text: str | bytes, part: str) -> None:
    """Each fault has its own message, which names the line."""
    assert part in why(text)


def test_a_bad_spec_keeps_its_id_and_its_text() -> None:
    """The record of an unusable input bears its own id; the failed inputs list it as given."""
    text = b'{"id": "k", "url": "ftp://me:pw@a.example/?key=1"}'
    item = read_spec(text, 7, 9, NO_DEFAULTS)
    assert isinstance(item, BadInput)
    assert (item.number, item.id, item.raw, item.given) == (7, "k", text, "ftp://***@a.example/?…")


def test_items_show_no_secret_when_printed() -> None:
    """The repr of an item, which a log may hold, has neither headers nor queries nor bodies."""
    item = good('{"url": "https://me:pw1@a.example/?key=pw2", "headers": {"X-Key": "pw3"}, "data": "pw4"}')
    bad = read_spec(b'{"url": "ftp://me:pw1@a.example/?key=pw2", "data": "pw4"}', 1, 1, NO_DEFAULTS)
    assert "pw" not in repr(item)
    assert "pw" not in repr(bad)
